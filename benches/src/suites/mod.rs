//! The suites of races.

pub mod coco;
pub mod gpu;
pub mod kernels;
pub mod train;

use rayon::ThreadPool;

use crate::arguments::Arguments;
use crate::ceilings::Ceilings;
use crate::peers::python::Python;
#[cfg(feature = "cuda-kernels")]
use crate::report::Row;
use crate::report::{Missing, Promise, Race, Requirement};

/// The arguments, peers and ceilings of a run, which every suite uses.
pub struct BenchContext<'a> {
    /// The command line.
    pub arguments: &'a Arguments,
    /// The number of threads of our contestants and of the peers.
    pub threads: usize,
    /// A pool of one thread.
    pub single: &'a ThreadPool,
    /// PyTorch, if it takes part.
    pub python: Option<&'a Python>,
    /// The ceilings, measured before the races.
    pub ceilings: &'a Ceilings,
}

impl BenchContext<'_> {
    /// The number of rounds of a race whose rounds take seconds: that of `--rounds`, by default 5.
    pub fn rounds(&self) -> u32 {
        self.arguments.rounds(5)
    }
}

/// The results of the suites of a run.
#[derive(Default)]
pub struct SuiteResults {
    /// All races.
    pub races: Vec<Race>,
    /// The project's promises with the measured values.
    pub promises: Vec<Promise>,
    /// The requirements of a GPU with the measured values.
    pub requirements: Vec<Requirement>,
    /// The name of the GPU, if the races ran on one.
    pub gpu: Option<String>,
    /// Contestants that took no part.
    pub missing: Vec<Missing>,
}

impl SuiteResults {
    /// Prints a finished race and adds it.
    pub fn race(&mut self, race: Race) {
        println!("{}", race.table());
        self.races.push(race);
    }

    /// Adds a promise with the measured value.
    pub fn promise(&mut self, about: &str, promised: &str, found: String) {
        self.promises.push(Promise {
            about: about.to_owned(),
            promised: promised.to_owned(),
            found,
        });
    }

    /// Returns the rows of contestants that did not fail; the others are recorded as missing.
    #[cfg(feature = "cuda-kernels")]
    pub fn keep_completed(&mut self, rows: Vec<Row>, failures: Vec<Option<String>>) -> Vec<Row> {
        let mut completed = Vec::with_capacity(rows.len());
        for (row, failure) in rows.into_iter().zip(failures) {
            match failure {
                None => completed.push(row),
                Some(reason) => {
                    self.record_missing(format!("{}, {}", row.name, row.precision), reason);
                }
            }
        }
        completed
    }

    /// Runs a part of a suite. If it fails, the other parts and the results so far are kept: the failure is
    /// recorded as a requirement that is not met, and the run ends with exit code 1.
    #[cfg(feature = "cuda-kernels")]
    pub fn run_part(&mut self, part: &str, run: impl FnOnce(&mut Self) -> anyhow::Result<()>) {
        if let Err(error) = run(self) {
            self.requirements.push(Requirement {
                about: part.to_owned(),
                must: "reach its end".to_owned(),
                found: format!("{error:#}"),
                met: false,
                fatal: true,
            });
        }
    }

    /// Records a contestant that takes no part.
    pub fn record_missing(&mut self, who: impl Into<String>, reason: impl Into<String>) {
        self.missing.push(Missing {
            who: who.into(),
            reason: reason.into(),
        });
    }
}
