//! How long do the epochs of a real run take? The trainer itself, on a made-up data set: reading,
//! steps, learning of the threshold, evaluation and checkpoints.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Context;
use candle_core::Device;
use tempfile::TempDir;
use uard_benches::step::Setup;
use uard_benches::workload::{REGIONS, word_counts};
use uard_core::random::{Draws, normal, uniform};
use uard_data::dataset::Split;
use uard_data::npy::F32Writer;
use uard_hub::Hub;
use uard_linalg::matmul::Matmul;
use uard_training::config::TrainConfig;
use uard_training::trainer::{Event, Run, Start, train};

use crate::report::{Requirement, seconds};
use crate::suites::Found;

/// Captions of an image.
const CAPTIONS: usize = 5;

/// Words that speak of the same thing.
const SYNONYMS: usize = 10;

/// Images that are made at a time.
const IMAGES_AT_ONCE: usize = 50;

/// Steps at the beginning of an epoch that say nothing of those to come: kernels are compiled,
/// memory grows.
const SETTLING: usize = 20;

/// Epochs of a published run, of which the first takes all negatives.
const EPOCHS: f64 = 20.0;

/// Steps of an epoch of Flickr30K: 145,000 captions, 128 at a time.
const STEPS: f64 = 1133.0;

/// Minutes that they may take.
const MOST_MINUTES: f64 = 10.0;

/// How much is made up.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Images to train on.
    pub train: usize,
    /// Images to evaluate on.
    pub dev: usize,
}

/// A tenth of Flickr30K's training images, 0.9 GB, for 117 steps an epoch; its whole dev split of
/// 1,014 images and 5,070 captions.
pub const SIZE: Size = Size {
    train: 3000,
    dev: 1014,
};

/// Runs two epochs in f32 and, as CUDA has it, in TF32, and tells what 20 of Flickr30K's size take.
/// Required are those in f32, which is what the settings say.
///
/// # Errors
/// When the data cannot be written, or the run fails.
pub fn run(
    device: &Device,
    (setup, size): (&Setup, Size),
    found: &mut Found,
) -> anyhow::Result<()> {
    let data = TempDir::new().context("making a folder for a data set")?;
    eprintln!(
        "making up {} images and {CAPTIONS} captions of each",
        size.train + size.dev
    );
    write_split(data.path(), ("train", size.train), setup)?;
    write_split(data.path(), ("dev", size.dev), setup)?;
    let about = |numbers: &str| format!("{EPOCHS} epochs of Flickr30K's size in {numbers}");
    let measured = Measured::of(data.path(), &config(setup, Matmul::F32), device)?;
    found.requirements.push(Requirement {
        about: about("f32"),
        must: format!("at most {MOST_MINUTES} minutes"),
        found: measured.to_string(),
        met: measured.minutes() <= MOST_MINUTES,
        fatal: false,
    });
    let measured = Measured::of(data.path(), &config(setup, Matmul::Bf16), device)?;
    found.promise(&about("tf32"), "no promise", measured.to_string());
    Ok(())
}

/// An epoch of all negatives, and one of the hardest.
fn config(setup: &Setup, matmul: Matmul) -> TrainConfig {
    let mut config = setup.config.clone();
    config.training.epochs = 2;
    config.loss.warm_up_epochs = 1;
    config.training.matmul = matmul;
    config
}

/// Writes a split whose captions name what its images show, so that there is something to learn.
fn write_split(folder: &Path, (split, images): (&str, usize), setup: &Setup) -> anyhow::Result<()> {
    let draws = Draws::new(0);
    let (width, things) = (setup.features, (setup.vocabulary / SYNONYMS).max(1));
    let looks = normal(&mut draws.stream("looks", &[]), 1.0, things * width);
    let look = |thing: usize| &looks[thing % things * width..][..width];
    let shown = |image: usize| -> Vec<usize> {
        let mut stream = draws.stream(split, &[image as u64]);
        let things = uniform(&mut stream, 0.0, things as f32, REGIONS);
        things.into_iter().map(|thing| thing as usize).collect()
    };
    let path = folder.join(format!("{split}_ims.npy"));
    let mut writer = F32Writer::create(&path, &[images, REGIONS, width])?;
    let numbers: Vec<usize> = (0..images).collect();
    for some in numbers.chunks(IMAGES_AT_ONCE) {
        let mut values = Vec::with_capacity(some.len() * REGIONS * width);
        for &image in some {
            for (region, thing) in shown(image).into_iter().enumerate() {
                let other = look(thing + image + region + 1);
                values.extend(look(thing).iter().zip(other).map(|(x, y)| x + 0.5 * y));
            }
        }
        writer.write(&values)?;
    }
    writer.finish()?;
    let mut text = String::new();
    for (caption, words) in word_counts(images * CAPTIONS, &draws)
        .into_iter()
        .enumerate()
    {
        let shown = shown(caption / CAPTIONS);
        let mut stream = draws.stream("words", &[caption as u64]);
        for at in uniform(&mut stream, 0.0, (REGIONS * SYNONYMS) as f32, words) {
            let at = at as usize;
            let word = shown[at / SYNONYMS] * SYNONYMS + at % SYNONYMS;
            text.push_str(&format!("word{word} "));
        }
        text.pop();
        text.push('\n');
    }
    let path = folder.join(format!("{split}_caps.txt"));
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

/// Seconds of the parts of a run.
#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    /// Of a step with all negatives, the mean.
    all_negatives: f64,
    /// Of a step with the hardest, the mean.
    hardest: f64,
    /// Of an evaluation.
    evaluation: f64,
    /// Of a checkpoint.
    saving: f64,
    /// Steps between checkpoints.
    saved_every: f64,
}

impl Measured {
    /// Runs two epochs.
    fn of(data: &Path, config: &TrainConfig, device: &Device) -> anyhow::Result<Self> {
        let run = TempDir::new().context("making a run directory")?;
        let mut steps: [Vec<f64>; 2] = Default::default();
        let mut found = Self {
            saved_every: config.training.checkpoint_every as f64,
            ..Self::default()
        };
        let mut ended = None;
        let mut observe = |event: &Event| match event {
            Event::Step(record) => steps[usize::from(record.epoch > 1)].push(record.seconds),
            Event::Epoch(record) => {
                let of_steps: f64 = steps[usize::from(record.epoch > 1)].iter().sum();
                found.evaluation = record.seconds - of_steps;
                ended = Some(Instant::now());
            }
            Event::Saved { .. } => {
                if let Some(ended) = ended.take() {
                    found.saving = Instant::elapsed(&ended).as_secs_f64();
                }
            }
            _ => {}
        };
        let job = Run {
            config,
            train: &Split::open(data, "train")?,
            dev: &Split::open(data, "dev")?,
            directory: &run.path().join("run"),
            device,
            hub: &Hub::default(),
        };
        train(&job, Start::Fresh, &mut observe, &AtomicBool::new(false))?;
        [found.all_negatives, found.hardest] = steps.each_ref().map(|steps| settled(steps));
        Ok(found)
    }

    /// Minutes of all epochs, as many steps as Flickr30K has.
    fn minutes(&self) -> f64 {
        let steps = STEPS * (self.all_negatives + (EPOCHS - 1.0) * self.hardest);
        let saved = match self.saved_every > 0.0 {
            true => EPOCHS * (1.0 + STEPS / self.saved_every),
            false => EPOCHS,
        };
        (steps + EPOCHS * self.evaluation + saved * self.saving) / 60.0
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(
            f,
            "{:.1} minutes: {STEPS} steps an epoch of {} ({} in the first), evaluation {}, \
             checkpoint {}",
            self.minutes(),
            seconds(self.hardest),
            seconds(self.all_negatives),
            seconds(self.evaluation),
            seconds(self.saving)
        )
    }
}

/// The mean of the steps that are like those to come.
fn settled(steps: &[f64]) -> f64 {
    let steps = &steps[SETTLING.min(steps.len() / 2)..];
    steps.iter().sum::<f64>() / steps.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_by_its_parts() {
        let mut setup = Setup::flickr30k().unwrap();
        (setup.features, setup.vocabulary) = (8, 60);
        setup.config.model.joint_width = 8;
        setup.config.text.word_width = 4;
        setup.config.training.batch = 20;
        setup.config.data.minimum_word_count = 1;
        let size = Size { train: 20, dev: 4 };
        let mut found = Found::default();
        run(&Device::Cpu, (&setup, size), &mut found).unwrap();
        let told = &found.requirements[0];
        // Whether it is met depends on what else the machine does.
        assert!(told.found.contains("minutes: 1133 steps"), "{told}");
        assert_eq!(found.promises.len(), 1);
    }

    #[test]
    fn minutes_are_those_of_all_epochs() {
        let measured = Measured {
            all_negatives: 0.2,
            hardest: 0.1,
            evaluation: 3.0,
            saving: 1.5,
            saved_every: 1133.0,
        };
        let expected = (1133.0 * (0.2 + 19.0 * 0.1) + 60.0 + 60.0) / 60.0;
        assert!((measured.minutes() - expected).abs() < 1e-9);
        let steps: Vec<f64> = (0..117).map(|at| if at < 20 { 9.0 } else { 1.0 }).collect();
        assert_eq!(settled(&steps), 1.0);
        assert_eq!(settled(&[5.0, 2.0]), 2.0);
        assert_eq!(SIZE.train * CAPTIONS / 128, 117);
    }
}
