//! What is raced? A suite a question.

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

/// What every suite is given.
pub struct Setting<'a> {
    /// The command line.
    pub arguments: &'a Arguments,
    /// Threads of ours and of the peers.
    pub threads: usize,
    /// A pool of one thread.
    pub single: &'a ThreadPool,
    /// PyTorch, where it takes part.
    pub python: Option<&'a Python>,
    /// What is possible, measured before.
    pub ceilings: &'a Ceilings,
}

impl Setting<'_> {
    /// Rounds of a race whose rounds take seconds.
    pub fn rounds(&self) -> u32 {
        self.arguments.rounds(5)
    }
}

/// What a suite found.
#[derive(Default)]
pub struct Found {
    /// Race by race.
    pub races: Vec<Race>,
    /// Promises that it speaks to.
    pub promises: Vec<Promise>,
    /// What a GPU must do.
    pub requirements: Vec<Requirement>,
    /// The GPU that ran the races.
    pub gpu: Option<String>,
    /// Who took no part.
    pub missing: Vec<Missing>,
}

impl Found {
    /// Prints a race that is over, and keeps it.
    pub fn race(&mut self, race: Race) {
        println!("{}", race.table());
        self.races.push(race);
    }

    /// Notes what was promised about something, and what was found.
    pub fn promise(&mut self, about: &str, promised: &str, found: String) {
        self.promises.push(Promise {
            about: about.to_owned(),
            promised: promised.to_owned(),
            found,
        });
    }

    /// Keeps the rows of those who stayed in a race; who left is noted with the reason.
    #[cfg(feature = "cuda-kernels")]
    pub fn stayed(&mut self, rows: Vec<Row>, left: Vec<Option<String>>) -> Vec<Row> {
        let mut stayed = Vec::with_capacity(rows.len());
        for (row, left) in rows.into_iter().zip(left) {
            match left {
                None => stayed.push(row),
                Some(reason) => self.miss(format!("{}, {}", row.name, row.precision), reason),
            }
        }
        stayed
    }

    /// Lets a part of a suite fail without those that follow, and without what was measured: the
    /// failure is a requirement that is not met, and ends the run with exit code 1.
    #[cfg(feature = "cuda-kernels")]
    pub fn survive(&mut self, part: &str, run: impl FnOnce(&mut Self) -> anyhow::Result<()>) {
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

    /// Notes who took no part.
    pub fn miss(&mut self, who: impl Into<String>, reason: impl Into<String>) {
        self.missing.push(Missing {
            who: who.into(),
            reason: reason.into(),
        });
    }
}
