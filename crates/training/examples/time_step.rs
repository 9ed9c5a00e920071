//! Where does the time of a training step go? (temporary)
#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::print_stdout)]
use std::path::Path;
use std::time::Instant;
use candle_core::Device;
use uard_core::random::Draws;
use uard_features::dataset::Split;
use uard_features::text::vocabulary::Vocabulary;
use uard_training::batches::Batches;
use uard_training::config::TrainConfig;
use uard_training::gradients::Gradients;
use uard_training::loss::{hinge, surrogate};
use uard_training::model::{ImageFeatures, Model};
use uard_training::negatives::Negatives;
use uard_training::optimizer::Optimizer;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let config = TrainConfig::from_toml(&std::fs::read_to_string(&args[1]).unwrap(), "c").unwrap();
    let steps: usize = args[3].parse().unwrap();
    let threshold: f64 = args[4].parse().unwrap();
    let train = Split::open(Path::new(&args[2]), "train").unwrap();
    let vocabulary = Vocabulary::build(train.captions.iter().map(String::as_str), 4);
    let model = Model::new(&config, train.regions.width(), &vocabulary, &Device::Cpu).unwrap();
    println!("parameters {} words {}", model.parameters().numbers(), vocabulary.len());
    let mut optimizer = Optimizer::new(&config.optimizer, model.parameters()).unwrap();
    let batches = Batches::new(&train.image_of_caption, config.training.batch, Draws::new(0), "t").unwrap();
    let mut total = [0f64; 9];
    for (k, batch) in batches.epoch(1, 0).into_iter().take(steps).enumerate() {
        let mut marks = vec![Instant::now()];
        let captions: Vec<_> = batch.captions.iter().map(|&c| vocabulary.encode(&train.captions[c])).collect();
        let features = ImageFeatures::read(&train.regions, &batch.images).unwrap();
        marks.push(Instant::now());
        let regions = model.encode_features(features).unwrap();
        marks.push(Instant::now());
        let words = model.encode_captions(&captions).unwrap();
        marks.push(Instant::now());
        let s = model.matcher().similarities(&regions, &words, threshold).unwrap();
        marks.push(Instant::now());
        let values = s.values.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let h = hinge(&values, &batch.pairing, &config.loss, Negatives::Hardest).unwrap();
        let scalar = surrogate(&s.values, &h).unwrap();
        marks.push(Instant::now());
        let mut store = scalar.backward().unwrap();
        marks.push(Instant::now());
        let gradients = Gradients::take(model.parameters(), &mut store).unwrap();
        marks.push(Instant::now());
        let norm = optimizer.step(model.parameters(), &gradients, 1.0).unwrap();
        marks.push(Instant::now());
        if k > 0 {
            for (t, w) in total.iter_mut().zip(marks.windows(2)) { *t += (w[1] - w[0]).as_secs_f64(); }
            total[8] += (*marks.last().unwrap() - marks[0]).as_secs_f64();
        }
        if k % 5 == 0 { println!("{k} loss {:.2} norm {norm:.3} W {}", h.value, words.longest()); }
    }
    for (name, t) in ["data", "image", "text", "matcher", "hinge", "backward", "take", "adam", "total"].iter().zip(total) {
        println!("{name:10} {:.1} ms", 1000.0 * t / (steps - 1) as f64);
    }
}
