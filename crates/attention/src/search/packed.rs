//! All pairs, lists, listed pairs and evidence of packed fragments.

use half::bf16;

use super::tiles::Fragments;
use super::{MatrixOutput, Pairs, Preserve, Preserved, TopK};
use crate::evidence::PairEvidence;
use crate::kept::Above;
use crate::kernel::answers::Answers;
use crate::{Kept, MatcherConfig, Precision, Result, WeightRule};

/// Packed regions and words, with the settings that they are matched by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PackedPairs<'a> {
    pub config: &'a MatcherConfig,
    /// The threshold of the search; the rule may replace it.
    pub threshold: f64,
    pub precision: Precision,
    pub fragments: Fragments<'a>,
}

impl PackedPairs<'_> {
    /// The rule, as a kernel computes it from relevance.
    pub(crate) fn answers(&self) -> Answers {
        Answers::new(self.config, self.threshold, self.fragments.instructions)
    }

    /// The counts over all pairs, from counts of what is above the threshold.
    pub(crate) fn kept(&self, above: Above) -> Kept {
        let Fragments { regions, words, .. } = self.fragments;
        Kept::new(self.config, regions.counts(), words.counts(), above)
    }

    /// Whether pairs are screened: the precision is `Exact`, and relevance in bf16 gives an upper
    /// bound of the similarity in f32.
    ///
    /// There is no such bound for scan, where each weight depends on all cells, or for a threshold
    /// at or below zero, where the summands of an attended vector may cancel.
    fn screens(&self) -> bool {
        let is_bounded = match self.config.rule {
            WeightRule::Masked | WeightRule::Nearest | WeightRule::Zero => {
                self.config.threshold(self.threshold) > 0.0
            }
            WeightRule::Scan => false,
            WeightRule::MaxSim => true,
        };
        self.precision == Precision::Exact && is_bounded
    }
}

impl Pairs for PackedPairs<'_> {
    fn similarities(
        &self,
        preserve: Option<&Preserve<'_>>,
        out: MatrixOutput<'_>,
    ) -> Result<Preserved> {
        if let Some(preserve) = preserve.filter(|_| self.screens()) {
            return Ok(self.similarities_exactly(preserve, out));
        }
        let kept = self.similarities_into(out);
        Ok(Preserved {
            kept,
            recomputed: 0,
        })
    }

    fn top_k(&self, k: usize) -> Result<TopK> {
        Ok(match self.screens() {
            true => self.lists_exactly(k),
            false => self.lists(k),
        })
    }

    fn listed(&self, pairs: &[(usize, usize)]) -> Result<Vec<f32>> {
        Ok(match self.precision {
            Precision::Bf16 => self.listed_similarities::<bf16>(pairs),
            _ => self.listed_similarities::<f32>(pairs),
        })
    }

    fn evidence(&self, image: usize, caption: usize) -> Result<PairEvidence> {
        Ok(match self.precision {
            Precision::Bf16 => self.pair_evidence::<bf16>(image, caption),
            _ => self.pair_evidence::<f32>(image, caption),
        })
    }
}
