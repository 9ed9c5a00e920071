//! How do our kernels enter a GPU's race? As jobs on fragments that are in its memory already.

use std::sync::Arc;

use uard_attention::search::Search;
use uard_attention::{MatcherConfig, WeightRule};
use uard_core::gpu::Machine;

use super::data::{self, OnDevice};
use crate::race::Contestant;
use crate::report::Row;

/// The longest list that recall asks for.
const LISTED: usize = 10;

/// What is wanted of all pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// The similarities, which stay in the GPU's memory.
    Similarities,
    /// The same, copied to the host.
    ToHost,
    /// The best of every image and caption, on the host.
    Lists,
}

/// A job, the rule, and the threshold where it is not the data's.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// What is wanted.
    pub job: Job,
    /// By which rule.
    pub rule: WeightRule,
    /// Zero instead of the threshold that keeps few cells.
    pub at_zero: bool,
}

impl Asked {
    /// The masked rule with the data's threshold.
    pub const fn masked(job: Job) -> Self {
        Self {
            job,
            rule: WeightRule::Masked,
            at_zero: false,
        }
    }

    /// Without times.
    pub fn row(&self) -> Row {
        let job = match self.job {
            Job::Similarities => "similarities on the GPU",
            Job::ToHost => "similarities to the host",
            Job::Lists => "lists of the best 10",
        };
        let at = match (self.rule, self.at_zero) {
            (WeightRule::Masked, true) => ", t = 0",
            _ => "",
        };
        Row {
            name: format!("ours, {job}"),
            rule: format!("{}{at}, both sides", self.rule),
            precision: "bf16".to_owned(),
            ours: true,
            ..Row::default()
        }
    }

    /// The settings of the matcher.
    pub fn config(&self) -> MatcherConfig {
        MatcherConfig {
            rule: self.rule,
            ..MatcherConfig::default()
        }
    }

    fn search(&self, machine: &Arc<dyn Machine>, data: &OnDevice) -> anyhow::Result<Search> {
        let threshold = if self.at_zero { 0.0 } else { data.threshold };
        data::search(machine, self.config(), threshold)
    }
}

/// Similarities [I, C] of all pairs, on the host.
///
/// # Errors
/// When the machine fails.
pub fn similarities(
    machine: &Arc<dyn Machine>,
    data: &OnDevice,
    asked: Asked,
) -> anyhow::Result<Vec<f32>> {
    let mut out = vec![0.0; data.pairs()];
    let search = asked.search(machine, data)?;
    search.similarities_into(&data.regions, &data.words, &mut out, &|_, _| ())?;
    Ok(out)
}

/// A contestant that does the job.
///
/// # Errors
/// When the settings are refused.
pub fn contestant<'a>(
    machine: &Arc<dyn Machine>,
    data: &'a OnDevice,
    asked: Asked,
) -> anyhow::Result<Contestant<'a>> {
    let search = asked.search(machine, data)?;
    let to_host = asked.job == Job::ToHost;
    let mut out = vec![0.0; if to_host { data.pairs() } else { 0 }];
    Ok(Contestant::new(asked.row().name, move || {
        // Each of them returns when the GPU has done it.
        let (regions, words) = (&data.regions, &data.words);
        match asked.job {
            // Lists of nothing: all that is left is the matching, in the GPU's memory.
            Job::Similarities => drop(search.top_k(regions, words, 0, &|_, _| ())?),
            Job::ToHost => {
                search.similarities_into(regions, words, &mut out, &|_, _| ())?;
            }
            Job::Lists => {
                std::hint::black_box(search.top_k(regions, words, LISTED, &|_, _| ())?);
            }
        }
        Ok(())
    }))
}
