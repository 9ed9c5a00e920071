//! What may be said on the command line?

use std::path::PathBuf;

use anyhow::bail;
use clap::{Parser, ValueEnum};
use uard_benches::workload::{Shape, WIDTH};

use crate::workers::Job;

/// Which races are run.
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
    /// Whether the suite holds another one.
    pub fn holds(self, other: Self) -> bool {
        self == other || (self == Self::All && !matches!(other, Self::Coco | Self::Gpu))
    }
}

/// One race.
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
    /// Kernels: what the mask saves.
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

/// Where ours runs.
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
    Set UARD_BENCH_PYTHON to a Python that has torch, and PyTorch takes part.\n\n\
    Examples:\n  \
    cargo xtask bench                                        kernels and training\n  \
    cargo xtask bench --suite kernels --images 200 --captions 1000 --rounds 3\n  \
    cargo xtask bench --suite coco --json coco.json\n  \
    cargo xtask bench --suite gpu --device cuda --json gpu.json\n  \
    cargo xtask bench --criterion matcher                    criterion's benches instead"
)]
pub struct Arguments {
    /// What is raced.
    #[arg(long, value_enum, default_value = "all")]
    pub suite: Suite,
    /// Only this race of the suite; may be repeated. Without it all of them.
    #[arg(long = "race", value_enum, value_name = "RACE")]
    pub races: Vec<RaceName>,
    /// Where ours runs; without it where the suite does.
    #[arg(long, value_enum)]
    pub device: Option<Device>,
    /// Rounds of each race, up to four times as many where ours are uneven; the medians count.
    /// Without it 5, and 1 in the coco suite.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// Images I; without it 1,000, and 5,000 in the coco suite.
    #[arg(long, value_parser = at_least_one)]
    pub images: Option<usize>,
    /// Captions C; without it 5,000, and 25,000 in the coco suite.
    #[arg(long, value_parser = at_least_one)]
    pub captions: Option<usize>,
    /// Threads of ours and of the peers; without it as many as this process may run at once.
    #[arg(long, value_parser = at_least_one)]
    pub threads: Option<usize>,
    /// Run the slow peers on all captions instead of a slice.
    #[arg(long)]
    pub full: bool,
    /// Print the figures of a noisy run as well, with a warning.
    #[arg(long)]
    pub allow_noise: bool,
    /// Write everything that was measured.
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
    /// Append the medians to a record, as in benches/record/.
    #[arg(long, value_name = "CSV")]
    pub record: Option<PathBuf>,
    /// Serve rounds of one job over standard input and output; for uard-bench itself.
    #[arg(long, hide = true)]
    pub worker: Option<Job>,
}

impl Arguments {
    /// Whether a race is to be run.
    pub fn wants(&self, race: RaceName) -> bool {
        self.races.is_empty() || self.races.contains(&race)
    }

    /// Whether the races are run on a GPU.
    ///
    /// # Errors
    /// When the suite does not run on the device.
    pub fn on_gpu(&self) -> anyhow::Result<bool> {
        match (self.suite, self.device) {
            (Suite::Gpu, None | Some(Device::Cuda)) | (Suite::All, Some(Device::Cuda)) => Ok(true),
            (Suite::Gpu, Some(Device::Cpu)) => bail!("the suite gpu runs with --device cuda only"),
            (_, Some(Device::Cuda)) => bail!("--device cuda has one suite: --suite gpu"),
            (_, None | Some(Device::Cpu)) => Ok(false),
        }
    }

    /// Rounds, where a suite has its own usual number.
    pub fn rounds(&self, usual: u32) -> u32 {
        self.rounds.unwrap_or(usual)
    }

    /// Images and captions of all pairs, where a suite has its own usual ones.
    pub fn shape(&self, (images, captions): (usize, usize)) -> Shape {
        Shape {
            images: self.images.unwrap_or(images),
            captions: self.captions.unwrap_or(captions),
            width: WIDTH,
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
    fn a_suite_has_its_own_size_where_none_is_given() {
        let parsed = |texts: &[&str]| Arguments::try_parse_from(texts).unwrap();
        let usual = parsed(&["uard-bench"]).shape((1000, 5000));
        assert_eq!((usual.images, usual.captions), (1000, 5000));
        let given = parsed(&["uard-bench", "--captions", "7"]).shape((1000, 5000));
        assert_eq!((given.images, given.captions), (1000, 7));
        assert!(Arguments::try_parse_from(["uard-bench", "--images", "0"]).is_err());
    }

    #[test]
    fn a_gpu_has_one_suite() {
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
    fn all_holds_what_takes_minutes_and_not_what_takes_hours() {
        assert!(Suite::All.holds(Suite::Kernels) && Suite::All.holds(Suite::Train));
        assert!(!Suite::All.holds(Suite::Gpu));
        assert!(!Suite::All.holds(Suite::Coco) && !Suite::Kernels.holds(Suite::All));
    }
}
