//! Our contestants in the races of a GPU: matching tasks on fragments that are in its memory.

use uard_attention::search::Search;
use uard_attention::{MatcherConfig, WeightRule};

use super::data::{self, FragmentsOnGpu};
use crate::race::Contestant;
use crate::report::Row;

/// The length of the lists, which is the largest K of R@K.
const LISTED: usize = 10;

/// The output of a matching task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Similarities of all pairs, which stay in the GPU's memory.
    Similarities,
    /// Similarities of all pairs, copied to the host.
    ToHost,
    /// The lists of the best of every image and caption, on the host.
    Lists,
}

/// A matching task of all pairs.
#[derive(Debug, Clone, Copy)]
pub struct MatchingTask {
    /// The output.
    pub output: Output,
    /// The rule.
    pub rule: WeightRule,
    /// Whether the threshold is 0, above which half of the cells lie, instead of that of the data,
    /// above which few lie.
    pub at_zero: bool,
}

impl MatchingTask {
    /// The masked rule with the data's threshold.
    pub const fn masked(output: Output) -> Self {
        Self {
            output,
            rule: WeightRule::Masked,
            at_zero: false,
        }
    }

    /// The row of the task, without times.
    pub fn row(&self) -> Row {
        let output = match self.output {
            Output::Similarities => "similarities on the GPU",
            Output::ToHost => "similarities to the host",
            Output::Lists => "lists of the best 10",
        };
        let at = match (self.rule, self.at_zero) {
            (WeightRule::Masked, true) => ", t = 0",
            _ => "",
        };
        Row {
            name: format!("ours, {output}"),
            rule: format!("{}{at}, both sides", self.rule),
            precision: "bf16".to_owned(),
            ours: true,
            ..Row::default()
        }
    }

    /// The configuration of the matcher.
    pub fn config(&self) -> MatcherConfig {
        MatcherConfig {
            rule: self.rule,
            ..MatcherConfig::default()
        }
    }

    fn search(&self, data: &FragmentsOnGpu) -> anyhow::Result<Search> {
        let threshold = if self.at_zero { 0.0 } else { data.threshold };
        data::search(&data.gpu, self.config(), threshold)
    }
}

/// Similarities [I, C] of all pairs, on the host.
///
/// # Errors
/// If the GPU fails.
pub fn similarities(data: &FragmentsOnGpu, task: MatchingTask) -> anyhow::Result<Vec<f32>> {
    let mut out = vec![0.0; data.pairs()];
    let search = task.search(data)?;
    search.similarities_into(&data.regions, &data.words, &mut out)?;
    Ok(out)
}

/// A contestant that runs the task.
///
/// # Errors
/// If the configuration is invalid.
pub fn contestant(data: &FragmentsOnGpu, task: MatchingTask) -> anyhow::Result<Contestant<'_>> {
    let search = task.search(data)?;
    let to_host = task.output == Output::ToHost;
    let mut out = vec![0.0; if to_host { data.pairs() } else { 0 }];
    Ok(Contestant::new(task.row().name, move || {
        // Each call returns after the GPU has finished.
        let (regions, words) = (&data.regions, &data.words);
        match task.output {
            // With lists of length 0 only the similarities are computed, in the GPU's memory.
            Output::Similarities => drop(search.top_k(regions, words, 0)?),
            Output::ToHost => {
                search.similarities_into(regions, words, &mut out)?;
            }
            Output::Lists => {
                std::hint::black_box(search.top_k(regions, words, LISTED)?);
            }
        }
        Ok(())
    }))
}
