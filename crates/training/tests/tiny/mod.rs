//! A seeded data set of a few images and a tiny configuration, for tests that train.

// Each test file uses its own part of this module.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use uard_core::random::{Draws, normal, permutation};
use uard_data::dataset::Split;
use uard_data::npy::write_f32;
use uard_hub::Hub;
use uard_training::config::{GroupConfig, TrainConfig};
use uard_training::trainer::{Event, Outcome, Run, Start, train};

const REGIONS: usize = 6;
const WIDTH: usize = 16;
const THINGS: [&str; 10] = [
    "dog", "ball", "tree", "car", "boat", "child", "house", "bird", "kite", "bench",
];

/// A data directory with `train` and `dev`.
pub struct Data {
    pub directory: tempfile::TempDir,
    pub train: Split,
    pub dev: Split,
}

/// A random data set: each image shows three things in regions of noise, and has two captions that
/// name these things.
pub fn data(seed: u64) -> Data {
    let directory = tempfile::tempdir().unwrap();
    write_split(directory.path(), "train", 40, seed);
    write_split(directory.path(), "dev", 12, seed);
    let train = Split::open(directory.path(), "train").unwrap();
    let dev = Split::open(directory.path(), "dev").unwrap();
    Data {
        directory,
        train,
        dev,
    }
}

pub fn config() -> TrainConfig {
    let text = "
        data.minimum_word_count = 1
        model = { joint_width = 24 }
        text = { word_width = 12 }
        threshold.minimum_samples = 10
        optimizer.learning_rate = 5e-3
        training = { epochs = 3, batch = 16, seed = 5, keep_last = 2 }
    ";
    TrainConfig::from_toml(text, "tiny").unwrap()
}

/// A published BERT of tiny widths.
pub fn bert_folder() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    crates.join("features/tests/goldens/transformers/bert")
}

/// [`config`] with the BERT of [`bert_folder`] as text encoder; all of its parameters are trained.
pub fn bert_config() -> TrainConfig {
    let mut config = config();
    config.text.encoder = "bert".parse().unwrap();
    config.text.model = Some(bert_folder().into());
    config.optimizer.groups.push(GroupConfig {
        prefix: "text.bert".to_owned(),
        learning_rate_scale: 0.5,
        weight_decay: 1e-4,
    });
    config
}

/// Trains in a directory, with the stop flag set after the given step.
pub fn train_until(
    data: &Data,
    config: &TrainConfig,
    directory: &Path,
    last_step: usize,
) -> uard_training::Result<Outcome> {
    let device = Device::Cpu;
    let run = Run {
        config,
        train: &data.train,
        dev: &data.dev,
        directory,
        device: &device,
        hub: &Hub::default(),
    };
    let stop = AtomicBool::new(false);
    let mut observer = |event: &Event| {
        if matches!(event, Event::Step(record) if record.step >= last_step) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    train(&run, Start::Resume, &mut observer, &stop)
}

/// Trains to the end.
pub fn train_whole(data: &Data, config: &TrainConfig, directory: &Path) -> Outcome {
    train_until(data, config, directory, usize::MAX).unwrap()
}

/// Every file of a directory with its bytes, by name.
pub fn file_bytes(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let name = |path: &PathBuf| PathBuf::from(path.file_name().unwrap());
    files
        .iter()
        .map(|path| (name(path), std::fs::read(path).unwrap()))
        .collect()
}

fn write_split(directory: &Path, split: &str, images: usize, seed: u64) {
    let draws = Draws::new(seed);
    let looks = normal(&mut draws.stream("looks", &[]), 1.0, THINGS.len() * WIDTH);
    let mut features = normal(&mut draws.stream(split, &[]), 0.3, images * REGIONS * WIDTH);
    let mut captions = String::new();
    for image in 0..images {
        let order = permutation(&mut draws.stream(split, &[image as u64]), THINGS.len());
        for (region, &thing) in order[..3].iter().enumerate() {
            let start = (image * REGIONS + region) * WIDTH;
            for (value, look) in features[start..]
                .iter_mut()
                .zip(&looks[thing * WIDTH..][..WIDTH])
            {
                *value += look;
            }
        }
        let [a, b, c] = [0, 1, 2].map(|place| THINGS[order[place]]);
        captions.push_str(&format!(
            "a {a} and a {b} near a {c}\nthe {c} with the {a} , {b}\n"
        ));
    }
    let path = directory.join(format!("{split}_ims.npy"));
    write_f32(&path, &[images, REGIONS, WIDTH], &features).unwrap();
    std::fs::write(directory.join(format!("{split}_caps.txt")), captions).unwrap();
}
