//! What is raced? A suite a question.

pub mod coco;
pub mod gpu;
pub mod kernels;
pub mod train;

use rayon::ThreadPool;

use crate::arguments::Arguments;
use crate::ceilings::Ceilings;
use crate::peers::python::Python;
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

    /// Notes who took no part.
    pub fn miss(&mut self, who: impl Into<String>, reason: impl Into<String>) {
        self.missing.push(Missing {
            who: who.into(),
            reason: reason.into(),
        });
    }
}
