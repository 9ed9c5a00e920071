//! All pairs, lists, listed pairs and evidence from packed fragments.

use half::bf16;

use super::tiles::Fragments;
use super::{Pairs, Preserve, Preserved, Progress, TopK};
use crate::evidence::PairEvidence;
use crate::kernel::answers::{Above, Answers};
use crate::{Kept, MatcherConfig, Precision, Result, WeightRule};

/// Packed fragments of both sides, and how they are matched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PackedPairs<'a> {
    pub config: &'a MatcherConfig,
    /// The threshold that was given; the rule may have its own.
    pub threshold: f64,
    pub precision: Precision,
    pub fragments: Fragments<'a>,
}

impl PackedPairs<'_> {
    /// The rule as the kernel computes it.
    pub(crate) fn answers(&self) -> Answers {
        Answers::new(self.config, self.threshold, self.fragments.instructions)
    }

    /// Counts over all pairs from what was above the threshold.
    pub(crate) fn kept(&self, above: Above) -> Kept {
        let Fragments { regions, words, .. } = self.fragments;
        let totals = Kept::of_totals(regions.counts(), words.counts());
        match self.config.has_masks() {
            true => totals.with_above([above.word_queries, above.region_queries, above.cells]),
            false => totals.everything(),
        }
    }

    /// Whether f32 is asked for where bf16 can tell something about it.
    ///
    /// With scan every cell matters to all others; with a threshold at zero or below, cells that
    /// cancel may matter.
    fn screens(&self) -> bool {
        let tells = match self.config.rule {
            WeightRule::Masked | WeightRule::Nearest | WeightRule::Zero => {
                self.config.threshold(self.threshold) > 0.0
            }
            WeightRule::Scan => false,
            WeightRule::MaxSim => true,
        };
        self.precision == Precision::Exact && tells
    }
}

impl Pairs for PackedPairs<'_> {
    fn similarities(
        &self,
        preserve: Option<&Preserve<'_>>,
        out: &mut [f32],
        on_progress: Progress<'_>,
    ) -> Result<Preserved> {
        if let Some(preserve) = preserve.filter(|_| self.screens()) {
            return Ok(self.similarities_exactly(preserve, out, on_progress));
        }
        let kept = self.similarities_into(out, on_progress);
        Ok(Preserved {
            kept,
            recomputed: 0,
        })
    }

    fn top_k(&self, k: usize, on_progress: Progress<'_>) -> Result<TopK> {
        Ok(match self.screens() {
            true => self.lists_exactly(k, on_progress),
            false => self.lists(k, on_progress),
        })
    }

    fn listed(&self, pairs: &[(usize, usize)]) -> Result<Vec<f32>> {
        Ok(match self.precision {
            Precision::Bf16 => self.similarities_of::<bf16>(pairs),
            _ => self.similarities_of::<f32>(pairs),
        })
    }

    fn evidence(&self, image: usize, caption: usize) -> Result<PairEvidence> {
        Ok(match self.precision {
            Precision::Bf16 => self.evidence_of::<bf16>(image, caption),
            _ => self.evidence_of::<f32>(image, caption),
        })
    }
}
