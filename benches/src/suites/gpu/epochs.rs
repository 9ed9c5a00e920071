//! Times epochs of the trainer on a GPU with a random data set: reading, steps, updates of the threshold,
//! evaluation and checkpoints.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Context;
use candle_core::Device;
use tempfile::TempDir;
use uard_core::random::{Draws, normal, uniform};
use uard_data::dataset::Split;
use uard_data::npy::NpyWriter;
use uard_hub::Hub;
use uard_linalg::matmul::Matmul;
use uard_training::config::TrainConfig;
use uard_training::trainer::{Event, Run, Start, train};

use crate::report::{Requirement, seconds};
use crate::step::Setup;
use crate::suites::SuiteResults;
use crate::workload::{REGIONS, word_counts};

/// The number of captions of an image.
const CAPTIONS: usize = 5;

/// The number of words that name the same thing.
const SYNONYMS: usize = 10;

/// The number of images that are drawn at a time.
const IMAGES_AT_ONCE: usize = 50;

/// The number of steps at the beginning of an epoch that are not counted, because kernels are compiled and
/// memory grows.
const UNCOUNTED_STEPS: usize = 20;

/// The number of epochs of a published run, of which the first takes all negatives.
const EPOCHS: f64 = 20.0;

/// The number of steps of an epoch of Flickr30K: 145,000 captions, 128 at a time.
const STEPS: f64 = 1133.0;

/// The largest allowed time of [`EPOCHS`] epochs, in minutes.
const MOST_MINUTES: f64 = 10.0;

/// The numbers of images of the random data set.
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

/// Runs two epochs in f32 and two in TF32, and extrapolates to 20 epochs of Flickr30K's size. The
/// requirement is on f32, the type of the configuration.
///
/// # Errors
/// If the data cannot be written, or the run fails.
pub fn run(
    device: &Device,
    setup: &Setup,
    size: Size,
    results: &mut SuiteResults,
) -> anyhow::Result<()> {
    let data = TempDir::new().context("making a folder for a data set")?;
    eprintln!(
        "drawing {} images with {CAPTIONS} captions each",
        size.train + size.dev
    );
    write_split(data.path(), "train", size.train, setup)?;
    write_split(data.path(), "dev", size.dev, setup)?;
    let about = |numbers: &str| format!("{EPOCHS} epochs of Flickr30K's size in {numbers}");
    let measured = Measured::run(data.path(), &config(setup, Matmul::F32), device)?;
    results.requirements.push(Requirement {
        about: about("f32"),
        must: format!("at most {MOST_MINUTES} minutes"),
        found: measured.to_string(),
        met: measured.minutes() <= MOST_MINUTES,
        fatal: false,
    });
    let measured = Measured::run(data.path(), &config(setup, Matmul::Bf16), device)?;
    results.promise(&about("tf32"), "no promise", measured.to_string());
    Ok(())
}

/// The configuration with two epochs: one with all negatives, one with the hardest.
fn config(setup: &Setup, matmul: Matmul) -> TrainConfig {
    let mut config = setup.config.clone();
    config.training.epochs = 2;
    config.loss.warm_up_epochs = 1;
    config.training.matmul = matmul;
    config
}

/// Writes a split whose captions name the things in its images, so that there is something to learn.
fn write_split(folder: &Path, split: &str, images: usize, setup: &Setup) -> anyhow::Result<()> {
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
    let mut writer = NpyWriter::create(&path, &[images, REGIONS, width])?;
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

/// The mean seconds of the parts of a run.
#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    /// Seconds of a step with all negatives.
    all_negatives: f64,
    /// Seconds of a step with the hardest negatives.
    hardest: f64,
    /// Seconds of an evaluation.
    evaluation: f64,
    /// Seconds of saving a checkpoint.
    saving: f64,
    /// The number of steps between checkpoints.
    saved_every: f64,
}

impl Measured {
    /// Runs two epochs and measures their parts.
    fn run(data: &Path, config: &TrainConfig, device: &Device) -> anyhow::Result<Self> {
        let run = TempDir::new().context("making a run directory")?;
        let mut steps: [Vec<f64>; 2] = Default::default();
        let mut measured = Self {
            saved_every: config.training.checkpoint_every as f64,
            ..Self::default()
        };
        let mut ended = None;
        let mut observe = |event: &Event| match event {
            Event::Step(record) => steps[usize::from(record.epoch > 1)].push(record.seconds),
            Event::Epoch(record) => {
                let in_steps: f64 = steps[usize::from(record.epoch > 1)].iter().sum();
                measured.evaluation = record.seconds - in_steps;
                ended = Some(Instant::now());
            }
            Event::Saved { .. } => {
                if let Some(ended) = ended.take() {
                    measured.saving = Instant::elapsed(&ended).as_secs_f64();
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
        [measured.all_negatives, measured.hardest] =
            steps.each_ref().map(|steps| mean_of_counted(steps));
        Ok(measured)
    }

    /// The minutes of [`EPOCHS`] epochs of [`STEPS`] steps.
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

/// The mean of the steps after the first [`UNCOUNTED_STEPS`], or of the second half of fewer steps.
fn mean_of_counted(steps: &[f64]) -> f64 {
    let steps = &steps[UNCOUNTED_STEPS.min(steps.len() / 2)..];
    steps.iter().sum::<f64>() / steps.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_gives_a_requirement_with_its_minutes() {
        let mut setup = Setup::flickr30k().unwrap();
        (setup.features, setup.vocabulary) = (8, 60);
        setup.config.model.joint_width = 8;
        setup.config.text.word_width = 4;
        setup.config.training.batch = 20;
        setup.config.data.minimum_word_count = 1;
        let size = Size { train: 20, dev: 4 };
        let mut results = SuiteResults::default();
        run(&Device::Cpu, &setup, size, &mut results).unwrap();
        let requirement = &results.requirements[0];
        // Whether the requirement is met depends on the load of the machine, so the test does not
        // check it.
        assert!(
            requirement.found.contains("minutes: 1133 steps"),
            "{requirement}"
        );
        assert_eq!(results.promises.len(), 1);
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
        assert_eq!(mean_of_counted(&steps), 1.0);
        assert_eq!(mean_of_counted(&[5.0, 2.0]), 2.0);
        assert_eq!(SIZE.train * CAPTIONS / 128, 117);
    }
}
