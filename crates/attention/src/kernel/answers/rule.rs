//! Which numbers does a rule need, in f32, and when does one exponential serve both sides?

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

/// What is a side's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    /// Whether it asks.
    pub asks: bool,
    pub inverse_temperature: f32,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Weights {
    Masked(Masked),
    Scan { shift: Shift },
    MaxSim,
}

/// What a query sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct Masked {
    pub threshold: f32,
    pub shift: Shift,
    /// Whether a query below the threshold answers with its highest cell.
    pub answers_below: bool,
}

/// What is subtracted from a query's cells before the exponential.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shift {
    /// One number for all queries, which R does not notice. Under the masked rule both sides then
    /// weigh a cell alike.
    Constant(f32),
    /// The query's highest cell, where f32 could overflow otherwise.
    Best,
}

impl Rule {
    pub(super) fn new(config: &MatcherConfig, threshold: f64) -> Self {
        let side = |side| Side {
            asks: config.asks(side).is_some(),
            inverse_temperature: config.inverse_temperature(side) as f32,
        };
        let (words, regions) = (side(QuerySide::Words), side(QuerySide::Regions));
        let weights = match config.rule {
            WeightRule::Masked | WeightRule::Nearest | WeightRule::Zero => {
                let threshold = config.threshold(threshold);
                Weights::Masked(Masked {
                    threshold: threshold as f32,
                    answers_below: config.rule.answers_below(),
                    // One weight a cell serves both sides, or each query has a shift of its own.
                    shift: if words.inverse_temperature == regions.inverse_temperature {
                        shift((threshold, 1.0), [words, regions])
                    } else {
                        Shift::Best
                    },
                })
            }
            // Cells over their norm lie within plus and minus 1; each side has its own weights.
            WeightRule::Scan => Weights::Scan {
                shift: shift((-1.0, 1.0), [words, regions]),
            },
            WeightRule::MaxSim => Weights::MaxSim,
        };
        Self {
            weights,
            words,
            regions,
        }
    }

    /// How many sides ask.
    #[inline(always)]
    pub(super) fn sides(&self) -> f32 {
        f32::from(u8::from(self.words.asks) + u8::from(self.regions.asks))
    }

    /// The similarity from each side's sum of R and number of queries.
    #[inline(always)]
    pub(super) fn similarity(&self, words: (f32, usize), regions: (f32, usize)) -> f32 {
        let mut similarity = 0.0;
        if self.words.asks {
            similarity += words.0 / words.1 as f32;
        }
        if self.regions.asks {
            similarity += regions.0 / regions.1 as f32;
        }
        similarity
    }
}

/// The middle of the cells' range if their logits, on either side, stay within [`LOGIT_RANGE`].
fn shift((lowest, highest): (f64, f64), sides: [Side; 2]) -> Shift {
    let steepest = sides.map(|side| side.inverse_temperature);
    let steepest = f64::from(steepest[0].max(steepest[1]));
    let range = (highest - lowest).max(0.0);
    if range * steepest <= LOGIT_RANGE {
        Shift::Constant((0.5 * (lowest + highest)) as f32)
    } else {
        Shift::Best
    }
}
