//! Which proposals become regions? The confident ones, as many as are asked for.

use serde::Serialize;

use super::predictor::Candidate;
use crate::detector::nms::nms;

/// Which proposals become regions, the most confident first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RegionLimits {
    /// A region that overlaps a more confident one by more is left out. The first of these that
    /// leaves `least` regions counts, or the last.
    pub overlaps: Vec<f64>,
    /// So many regions at least. A photo has fewer where it has fewer proposals.
    pub least: usize,
    /// So many regions at most.
    pub most: usize,
    /// Beyond `least`, only regions that are as confident.
    pub confidence: f32,
}

impl RegionLimits {
    /// 36 regions of every photo.
    pub fn fixed() -> Self {
        Self {
            overlaps: vec![0.5, 0.6, 0.7, 0.8, 0.9],
            least: 36,
            most: 36,
            confidence: 0.0,
        }
    }

    /// 10 to 100 regions: those with a confidence of 0.2.
    pub fn adaptive() -> Self {
        Self {
            least: 10,
            most: 100,
            confidence: 0.2,
            ..Self::fixed()
        }
    }

    /// Places of the regions, the most confident first.
    pub(super) fn choose(&self, candidates: &[Candidate]) -> Vec<usize> {
        let boxes: Vec<[f32; 4]> = candidates.iter().map(|one| one.corners).collect();
        let confidences: Vec<f32> = candidates.iter().map(|one| one.class.confidence).collect();
        let mut kept = Vec::new();
        for overlap in &self.overlaps {
            kept = nms(&boxes, &confidences, *overlap)
                .take(self.most)
                .collect();
            if kept.len() >= self.least {
                break;
            }
        }
        let confident = |at: &usize| confidences[*at] >= self.confidence;
        let sure = kept.iter().take_while(|at| confident(at)).count();
        kept.truncate(sure.max(self.least));
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::Label;

    fn candidates(confidences: &[f32], step: f32) -> Vec<Candidate> {
        let all = confidences.iter().enumerate();
        let all = all.map(|(at, &confidence)| Candidate {
            corners: [at as f32 * step, 0.0, at as f32 * step + 10.0, 10.0],
            class: Label { id: 0, confidence },
            seen: 0,
        });
        all.collect()
    }

    fn limits(overlaps: &[f64], least: usize, most: usize, confidence: f32) -> RegionLimits {
        RegionLimits {
            overlaps: overlaps.to_vec(),
            least,
            most,
            confidence,
        }
    }

    #[test]
    fn the_first_overlap_that_leaves_enough_counts() {
        // Neighbours overlap by 60 / 140.
        let five = candidates(&[0.9, 0.8, 0.7, 0.6, 0.5], 4.0);
        assert_eq!(limits(&[0.4, 0.5], 3, 5, 0.0).choose(&five), [0, 2, 4]);
        assert_eq!(limits(&[0.4, 0.5], 4, 4, 0.0).choose(&five), [0, 1, 2, 3]);
    }

    #[test]
    fn a_photo_of_few_proposals_has_few_regions() {
        let five = candidates(&[0.9, 0.8, 0.7, 0.6, 0.5], 4.0);
        assert_eq!(limits(&[0.3, 0.4], 36, 36, 0.0).choose(&five), [0, 2, 4]);
        assert!(RegionLimits::fixed().choose(&[]).is_empty());
    }

    #[test]
    fn beyond_the_least_only_the_confident_stay() {
        let five = candidates(&[0.1, 0.9, 0.4, 0.3, 0.2], 20.0);
        assert_eq!(limits(&[0.5], 1, 5, 0.3).choose(&five), [1, 2, 3]);
        assert_eq!(limits(&[0.5], 1, 2, 0.3).choose(&five), [1, 2]);
        assert_eq!(limits(&[0.5], 4, 5, 0.3).choose(&five), [1, 2, 3, 4]);
    }
}
