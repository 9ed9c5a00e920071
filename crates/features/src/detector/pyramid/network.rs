//! How do the layers of torchvision's detector follow each other?

use uard_linalg::panels::Element;

use super::maps::Pyramid;
use super::{FasterRcnnFpn, STAGES};
use crate::Result;
use crate::backbone::trunk::Trunk;
use crate::backbone::{Maps, Number};
use crate::detector::anchors::over_cells;
use crate::detector::boxes::{all_finite, area, clipped, corrected, is_at_least, quadruples};
use crate::detector::frozen::{DetectedRegions, Label, Layers};
use crate::detector::linear::Linear;
use crate::detector::nms::batched_nms;
use crate::detector::proposals::{Level, ProposalNetwork};
use crate::detector::roi_align::RoiAlign;
use crate::detector::scaling::Scaled;
use crate::detector::softmax::softmax;

/// Pixels of the network for each cell of the largest map; each further map has half as many cells.
const FIRST_STRIDE: usize = 4;

/// What corrections of proposals were multiplied by in training.
const WEIGHTS: [f32; 4] = [10.0, 10.0, 5.0, 5.0];

/// Pixels of the network: a region with a shorter side is left out.
const LEAST_SIDE: f32 = 1e-2;

/// The map that a box of the canonical side belongs to, counted from the largest.
const CANONICAL_LEVEL: f32 = 2.0;

/// A side that is short of a whole power of two by rounding belongs to the larger one.
const LEVEL_TOLERANCE: f32 = 1e-6;

/// The layers.
#[derive(Debug)]
pub struct Network<T> {
    pub trunk: Trunk<T>,
    pub pyramid: Pyramid<T>,
    /// Anchors of each map around (0, 0).
    pub shapes: [Vec<[f32; 4]>; 5],
    pub proposals: ProposalNetwork<T>,
    pub fc6: Linear<T>,
    pub fc7: Linear<f32>,
    pub class_logits: Linear<f32>,
    pub corrections: Linear<f32>,
    pub config: FasterRcnnFpn,
}

/// Proposals with a class, that may become regions.
#[derive(Default)]
struct Candidates {
    proposals: Vec<usize>,
    boxes: Vec<[f32; 4]>,
    classes: Vec<usize>,
    confidences: Vec<f32>,
}

impl<T: Number> Layers for Network<T> {
    fn width(&self) -> usize {
        self.config.width
    }

    fn maps(&self, pixels: &Maps<f32>) -> Result<Vec<Maps<f32>>> {
        let maps = self.pyramid.forward(&self.trunk.of_pixels(pixels)?);
        Ok(maps.iter().map(Maps::widened).collect())
    }

    fn regions(&self, photo: &Scaled) -> Result<DetectedRegions> {
        let maps = self.pyramid.forward(&self.trunk.of_pixels(&photo.pixels)?);
        let (height, width) = photo.pixels.size();
        let levels = maps.iter().zip(&self.shapes).map(|(map, shapes)| {
            let (down, across) = map.size();
            let stride = (height / down, width / across);
            Level {
                map,
                anchors: over_cells(shapes, (down, across), stride),
            }
        });
        let levels: Vec<Level<'_, T>> = levels.collect();
        let proposals = self.proposals.propose(&levels, photo.size)?;
        let features = self.features(&maps, &proposals);
        let candidates = self.candidates(&proposals, &features, photo.size)?;
        Ok(self.chosen(&candidates, &features))
    }
}

impl<T: Number> Network<T> {
    /// What `fc7` gives of each box, in f32.
    fn features(&self, maps: &[Maps<T>], boxes: &[[f32; 4]]) -> Vec<f32> {
        let (parts, side) = (self.config.parts, self.config.canonical_side);
        let row = parts * parts * self.config.channels;
        let mut pooled = vec![T::zeroed(); boxes.len() * row];
        for (level, map) in maps.iter().take(STAGES.len()).enumerate() {
            let align = RoiAlign {
                size: (parts, parts),
                scale: 1.0 / (FIRST_STRIDE << level) as f32,
                samples: self.config.samples,
            };
            let of_level = (0..boxes.len()).filter(|at| level_of(boxes[*at], side) == level);
            let of_level: Vec<usize> = of_level.collect();
            let some: Vec<[f32; 4]> = of_level.iter().map(|at| boxes[*at]).collect();
            let aligned = align.forward(map, &some);
            for (at, values) in of_level.into_iter().zip(aligned.values().chunks_exact(row)) {
                pooled[at * row..][..row].copy_from_slice(values);
            }
        }
        let hidden = self.fc6.forward(pooled);
        self.fc7
            .forward(hidden.into_iter().map(Element::to_f32).collect())
    }

    fn candidates(
        &self,
        proposals: &[[f32; 4]],
        features: &[f32],
        size: (usize, usize),
    ) -> Result<Candidates> {
        let logits = self.class_logits.forward(features.to_vec());
        let corrections = self.corrections.forward(features.to_vec());
        all_finite(&logits, "logits of classes")?;
        all_finite(&corrections, "boxes of regions")?;
        let mut found = Candidates::default();
        let logits = logits.chunks_exact(self.config.classes);
        let corrections = corrections.chunks_exact(4 * self.config.classes);
        for (proposal, (logits, corrections)) in logits.zip(corrections).enumerate() {
            let classes = softmax(logits)
                .into_iter()
                .zip(quadruples(corrections))
                .enumerate();
            for (class, (confidence, corrections)) in classes.skip(1) {
                let corners = corrected(proposals[proposal], corrections, WEIGHTS);
                let corners = clipped(corners, size);
                if confidence > self.config.confidence && is_at_least(corners, LEAST_SIDE) {
                    found.proposals.push(proposal);
                    found.boxes.push(corners);
                    found.classes.push(class);
                    found.confidences.push(confidence);
                }
            }
        }
        Ok(found)
    }

    fn chosen(&self, candidates: &Candidates, features: &[f32]) -> DetectedRegions {
        let Candidates {
            proposals,
            boxes,
            classes,
            confidences,
        } = candidates;
        let mut regions = DetectedRegions::default();
        let kept = batched_nms(boxes, confidences, classes, self.config.overlap);
        for at in kept.take(self.config.most) {
            let width = self.config.width;
            regions
                .features
                .extend(&features[proposals[at] * width..][..width]);
            regions.boxes.push(boxes[at]);
            regions.classes.push(Label {
                id: classes[at],
                confidence: confidences[at],
            });
        }
        regions
    }
}

/// The map that a box is cut from.
///
/// ```text
/// level = floor(2 + log2(sqrt(area) / canonical side)), from 0 to 3
/// ```
fn level_of(corners: [f32; 4], canonical_side: f32) -> usize {
    let size = libm::log2f(area(corners).sqrt() / canonical_side);
    let level = (CANONICAL_LEVEL + size + LEVEL_TOLERANCE).floor();
    level.clamp(0.0, (STAGES.len() - 1) as f32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_boxes_are_cut_from_smaller_maps() {
        let level = |side: f32| level_of([10.0, 20.0, 10.0 + side, 20.0 + side], 224.0);
        assert_eq!([1.0, 111.0, 112.0, 223.0].map(level), [0, 0, 1, 1]);
        assert_eq!([224.0, 447.0, 448.0, 9000.0].map(level), [2, 2, 3, 3]);
    }
}
