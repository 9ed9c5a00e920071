//! What may be said on the command line?

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

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
    /// Kernels and train.
    All,
}

impl Suite {
    /// Whether the suite holds another one.
    pub fn holds(self, other: Self) -> bool {
        self == other || (self == Self::All && other != Self::Coco)
    }
}

/// Where ours runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// The processor: the only one with kernels.
    Cpu,
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
    cargo xtask bench --criterion matcher                    criterion's benches instead"
)]
pub struct Arguments {
    /// What is raced.
    #[arg(long, value_enum, default_value = "all")]
    pub suite: Suite,
    /// Where ours runs.
    #[arg(long, value_enum, default_value = "cpu")]
    pub device: Device,
    /// Rounds of each race; the medians count.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Images I; the coco suite has its own.
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub images: usize,
    /// Captions C; the coco suite has its own.
    #[arg(long, default_value_t = 5000, value_parser = at_least_one)]
    pub captions: usize,
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
    fn all_holds_what_takes_minutes_and_not_what_takes_hours() {
        assert!(Suite::All.holds(Suite::Kernels) && Suite::All.holds(Suite::Train));
        assert!(!Suite::All.holds(Suite::Coco) && !Suite::Kernels.holds(Suite::All));
    }
}
