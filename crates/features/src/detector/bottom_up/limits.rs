//! Chooses which proposals become regions: the most confident that do not overlap, within a range
//! of numbers.

use serde::Serialize;

use super::predictor::Candidate;
use crate::detector::nms::nms;

/// Which proposals become regions, the most confident first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RegionLimits {
    /// Limits of overlap, tried in order. A region that overlaps a more confident one by more than
    /// the limit is left out. The first limit that leaves at least `least` regions is used, or the
    /// last if none does.
    pub overlaps: Vec<f64>,
    /// The fewest regions of a photo. A photo with fewer proposals has fewer.
    pub least: usize,
    /// The most regions of a photo.
    pub most: usize,
    /// The lowest confidence of regions beyond the first `least`.
    pub confidence: f32,
}

impl RegionLimits {
    /// 36 regions for every photo.
    pub fn fixed() -> Self {
        Self {
            overlaps: vec![0.5, 0.6, 0.7, 0.8, 0.9],
            least: 36,
            most: 36,
            confidence: 0.0,
        }
    }

    /// 10 to 100 regions, those beyond the tenth with a confidence of at least 0.2.
    pub fn adaptive() -> Self {
        Self {
            least: 10,
            most: 100,
            confidence: 0.2,
            ..Self::fixed()
        }
    }

    /// Indices of the candidates that become regions, the most confident first.
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
        let most_confident = kept.iter().take_while(|at| confident(at)).count();
        kept.truncate(most_confident.max(self.least));
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
            class_with_background: 0,
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
    fn the_first_overlap_that_leaves_enough_regions_is_used() {
        // Neighbouring boxes overlap by 60 / 140.
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
    fn regions_beyond_the_fewest_are_confident() {
        let five = candidates(&[0.1, 0.9, 0.4, 0.3, 0.2], 20.0);
        assert_eq!(limits(&[0.5], 1, 5, 0.3).choose(&five), [1, 2, 3]);
        assert_eq!(limits(&[0.5], 1, 2, 0.3).choose(&five), [1, 2]);
        assert_eq!(limits(&[0.5], 4, 5, 0.3).choose(&five), [1, 2, 3, 4]);
    }
}
