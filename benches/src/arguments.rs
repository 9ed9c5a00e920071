//! The command line of `uard-bench`.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Parser, ValueEnum};

use crate::workers::Job;
use crate::workload::Shape;

/// A group of races.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// All pairs: kernels, precisions, rules, peers.
    Kernels,
    /// The training operator, the text encoder, a whole step.
    Train,
    /// 5,000 x 25,000 pairs: time and memory.
    Coco,
    /// On a GPU: matching, and a training step where the build has CUDA.
    Gpu,
    /// Kernels and train.
    All,
}

impl Suite {
    /// Whether the suite includes another one.
    pub fn includes(self, other: Self) -> bool {
        self == other || (self == Self::All && !matches!(other, Self::Coco | Self::Gpu))
    }
}

/// The name of a race.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RaceName {
    /// Kernels: all pairs in bf16 and f32.
    AllPairs,
    /// Kernels: lists of the best, with exact.
    Lists,
    /// Kernels: the rules, and the product alone.
    Rules,
    /// Kernels: every kernel that runs here.
    Kernels,
    /// Kernels: the time that the mask saves.
    Mask,
    /// Kernels: PyTorch, candle, the reference.
    Peers,
    /// Kernels: one core, with NumKong.
    OneCore,
    /// Train: the matcher, forward and backward.
    Matcher,
    /// Train: the text encoder.
    Text,
    /// Train: a whole step.
    Step,
}

/// The device of our contestants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// The processor: every suite but gpu.
    Cpu,
    /// The first NVIDIA GPU: the suite gpu.
    Cuda,
}

/// Races our kernels and operators against their peers, on the same data in one run.
#[derive(Debug, Parser)]
#[command(
    name = "uard-bench",
    bin_name = "cargo xtask bench",
    after_help = "Ceilings are measured before and after; a noisy run is refused with exit code 1.\n\
    To race PyTorch too, set UARD_BENCH_PYTHON to a Python that has torch and numpy.\n\n\
    Examples:\n  \
    cargo xtask bench                                        kernels and training\n  \
    cargo xtask bench --suite kernels --images 200 --captions 1000 --rounds 3\n  \
    cargo xtask bench --suite coco --json coco.json\n  \
    cargo xtask bench --suite gpu --device cuda --json gpu.json\n  \
    cargo xtask bench --criterion kernels                    criterion's benches instead"
)]
pub struct Arguments {
    /// The races to run.
    #[arg(long, value_enum, default_value = "all")]
    pub suite: Suite,
    /// Only this race of the suite; may be given several times. Default: all races of the suite.
    #[arg(long = "race", value_enum, value_name = "RACE")]
    pub races: Vec<RaceName>,
    /// The device of our contestants. Default: that of the suite.
    #[arg(long, value_enum)]
    pub device: Option<Device>,
    /// Rounds of each race, of which the median counts; up to four times as many are run if ours are
    /// uneven. Default: 5, and 1 in the coco suite.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// Number of images, I. Default: 1,000, and 5,000 in the coco suite.
    #[arg(long, value_parser = at_least_one)]
    pub images: Option<usize>,
    /// Number of captions, C. Default: 5,000, and 25,000 in the coco suite.
    #[arg(long, value_parser = at_least_one)]
    pub captions: Option<usize>,
    /// Threads of our contestants and of the peers. Default: as many as this process may run at once.
    #[arg(long, value_parser = at_least_one)]
    pub threads: Option<usize>,
    /// Run the slow peers on all captions instead of the first ones.
    #[arg(long)]
    pub full: bool,
    /// Accept a noisy run with a warning; it is written to the file of --json, but not to that of
    /// --record.
    #[arg(long)]
    pub allow_noise: bool,
    /// File for everything that was measured.
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
    /// Record to append the medians to, as in benches/record/.
    #[arg(long, value_name = "CSV")]
    pub record: Option<PathBuf>,
    /// Serve rounds of one job over standard input and output; used by uard-bench itself.
    #[arg(long, hide = true, value_parser = |text: &str| serde_json::from_str::<Job>(text))]
    pub worker: Option<Job>,
}

impl Arguments {
    /// Whether a race is run.
    pub fn includes_race(&self, race: RaceName) -> bool {
        self.races.is_empty() || self.races.contains(&race)
    }

    /// Whether the races are run on a GPU.
    ///
    /// # Errors
    /// If the suite does not run on the device.
    pub fn on_gpu(&self) -> anyhow::Result<bool> {
        match (self.suite, self.device) {
            (Suite::Gpu, None | Some(Device::Cuda)) | (Suite::All, Some(Device::Cuda)) => Ok(true),
            (Suite::Gpu, Some(Device::Cpu)) => bail!("the suite gpu runs with --device cuda only"),
            (_, Some(Device::Cuda)) => bail!("--device cuda runs --suite gpu only"),
            (_, None | Some(Device::Cpu)) => Ok(false),
        }
    }

    /// The number of rounds, or a suite's default.
    pub fn rounds(&self, default: u32) -> u32 {
        self.rounds.unwrap_or(default)
    }

    /// The numbers of images and captions, or those of a suite's default; the width is always that of the
    /// default.
    pub fn shape(&self, default: Shape) -> Shape {
        Shape {
            images: self.images.unwrap_or(default.images),
            captions: self.captions.unwrap_or(default.captions),
            ..default
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("expected a whole number above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_suite_has_its_own_shape_unless_another_is_given() {
        let parsed = |texts: &[&str]| Arguments::try_parse_from(texts).unwrap();
        let default = Shape {
            images: 1000,
            captions: 5000,
            width: 8,
        };
        assert_eq!(parsed(&["uard-bench"]).shape(default), default);
        let given = parsed(&["uard-bench", "--captions", "7"]).shape(default);
        assert_eq!((given.images, given.captions), (1000, 7));
        assert!(Arguments::try_parse_from(["uard-bench", "--images", "0"]).is_err());
    }

    #[test]
    fn a_gpu_runs_only_its_own_suite() {
        let on_gpu = |texts: &[&str]| {
            let texts = ["uard-bench"].iter().chain(texts);
            Arguments::try_parse_from(texts).unwrap().on_gpu()
        };
        assert!(on_gpu(&["--device", "cuda"]).unwrap());
        assert!(on_gpu(&["--suite", "gpu"]).unwrap());
        assert!(!on_gpu(&["--suite", "kernels", "--device", "cpu"]).unwrap());
        assert!(on_gpu(&["--suite", "kernels", "--device", "cuda"]).is_err());
        assert!(on_gpu(&["--suite", "gpu", "--device", "cpu"]).is_err());
    }

    #[test]
    fn all_includes_kernels_and_train_only() {
        assert!(Suite::All.includes(Suite::Kernels) && Suite::All.includes(Suite::Train));
        assert!(!Suite::All.includes(Suite::Gpu));
        assert!(!Suite::All.includes(Suite::Coco) && !Suite::Kernels.includes(Suite::All));
    }
}
