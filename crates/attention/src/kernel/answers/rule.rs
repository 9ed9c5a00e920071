//! A rule with its numbers in f32, and the condition under which both sides share one exponential
//! of each cell.

use std::ops::RangeInclusive;

use super::AnswerSums;
use crate::config::{MatcherConfig, QuerySide, WeightRule};

/// The widest range of logits whose weights may be scaled by one factor for all queries.
///
/// Logits then lie within plus and minus 28, and the smallest squared length times the square of a
/// weight, and the sum of squares over a million cells, are normal numbers of f32:
/// `e^-56 1e-12 = 5e-37`, `e^56 1e12 = 2e36`.
const LOGIT_RANGE: f64 = 56.0;

/// A rule with its numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub weights: Weights,
    pub words: Side,
    pub regions: Side,
}

/// The numbers of a rule for one side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    /// Whether its fragments are queries.
    pub is_query: bool,
    pub inverse_temperature: f32,
}

/// How cells become weights.
#[derive(Debug, Clone, Copy)]
pub(super) enum Weights {
    Masked(Masked),
    Scan { shift: Shift },
    MaxSim,
}

/// The numbers of a rule with a threshold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Masked {
    pub threshold: f32,
    pub shift: Shift,
    /// Whether R of a query with nothing above the threshold is its highest cell, and not 0.
    pub answers_below: bool,
}

/// What is subtracted from a query's cells before the exponential.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shift {
    /// One number for all queries, which leaves R as it is. Under the masked rule a cell then has
    /// the same weight for both sides.
    Constant(f32),
    /// The highest cell of each query, where f32 could overflow otherwise.
    Best,
}

impl Rule {
    pub(super) fn new(config: &MatcherConfig, threshold: f64) -> Self {
        let side = |side| Side {
            is_query: config.query_temperature(side).is_some(),
            inverse_temperature: config.inverse_temperature(side) as f32,
        };
        let (words, regions) = (side(QuerySide::Words), side(QuerySide::Regions));
        let weights = match config.rule {
            WeightRule::Masked | WeightRule::Nearest | WeightRule::Zero => {
                let threshold = config.threshold(threshold);
                Weights::Masked(Masked {
                    threshold: threshold as f32,
                    answers_below: config.rule.answers_below(),
                    // Sides of different inverse temperatures cannot share the weight of a cell.
                    shift: if words.inverse_temperature == regions.inverse_temperature {
                        shift(threshold..=1.0, [words, regions])
                    } else {
                        Shift::Best
                    },
                })
            }
            // Cells divided by their norm lie within plus and minus 1; each side has its own
            // weights.
            WeightRule::Scan => Weights::Scan {
                shift: shift(-1.0..=1.0, [words, regions]),
            },
            WeightRule::MaxSim => Weights::MaxSim,
        };
        Self {
            weights,
            words,
            regions,
        }
    }

    /// How many sides have queries.
    #[inline(always)]
    pub(super) fn sides(&self) -> f32 {
        f32::from(u8::from(self.words.is_query) + u8::from(self.regions.is_query))
    }

    /// The similarity of a pair, from the sums of R over its words and over its regions.
    #[inline(always)]
    pub(super) fn similarity(&self, sums: AnswerSums, words: usize, regions: usize) -> f32 {
        let mut similarity = 0.0;
        if self.words.is_query {
            similarity += sums.words / words as f32;
        }
        if self.regions.is_query {
            similarity += sums.regions / regions as f32;
        }
        similarity
    }
}

/// The shift for cells of this range: the middle of the range if the logits of both sides then stay
/// within [`LOGIT_RANGE`], or else the highest cell of each query.
fn shift(cells: RangeInclusive<f64>, sides: [Side; 2]) -> Shift {
    let (lowest, highest) = cells.into_inner();
    let steepest = sides.map(|side| side.inverse_temperature);
    let steepest = f64::from(steepest[0].max(steepest[1]));
    let range = (highest - lowest).max(0.0);
    if range * steepest <= LOGIT_RANGE {
        Shift::Constant((0.5 * (lowest + highest)) as f32)
    } else {
        Shift::Best
    }
}
