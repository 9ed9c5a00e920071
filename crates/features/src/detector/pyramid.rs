//! What are the layers of torchvision's Faster R-CNN with a feature pyramid?

use uard_core::matmul::Matmul;

use super::anchors::{AnchorShapes, over_cells};
use super::boxes::{all_finite, area, clipped, corrected, is_at_least, quadruples};
use super::error::DetectorError;
use super::frozen::{DetectedRegions, Detector, Label, Layers};
use super::linear::{Linear, convolution};
use super::nms::batched_nms;
use super::proposals::{Level, ProposalLimits, ProposalNames, ProposalNetwork};
use super::roi_align::RoiAlign;
use super::scaling::{Colours, Scaled, Scaling, Sides};
use super::softmax::softmax;
use crate::Result;
use crate::backbone::trunk::Trunk;
use crate::backbone::{
    After, Convolution, Edge, Family, Maps, Number, Pool, Pooling, ResNet, Source, Stage, Window,
};
use crate::weights::Weights;

/// The stages that the pyramid stands on.
const STAGES: [Stage; 4] = [Stage::C2, Stage::C3, Stage::C4, Stage::C5];

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

/// Takes every second cell: the map above the pyramid, for the largest anchors.
const HALVED: Pool = Pool {
    window: Window::square(1, 2, 0),
    edge: Edge::Inside,
    pooling: Pooling::Max,
};

/// torchvision's Faster R-CNN with a feature pyramid. [`default`](Self::default) is
/// `fasterrcnn_resnet50_fpn` with the weights `COCO_V1`.
///
/// A region's features are what the last layer before the classes gives (`fc7`). Classes are those
/// of the weights, 0 is the background and never said. A region is a proposal with a class, so one
/// proposal may become regions of several classes, and suppression looks at each class by itself.
///
/// Weights have the names of torchvision (`backbone.body.conv1.weight`,
/// `backbone.fpn.inner_blocks.0.0.weight`, `rpn.head.conv.0.0.weight`, `roi_heads.box_head.fc6.weight`,
/// …), also those from before its version 0.13 (`backbone.fpn.inner_blocks.0.weight`,
/// `rpn.head.conv.weight`), which its published files have.
///
/// It computes what torchvision does, with two differences that published sizes do not show:
/// proposals of different maps are ordered by their logits, not by probabilities that f32 rounds to
/// one, and the maps' scales are 1/4 to 1/32, where torchvision guesses them from the first photo.
///
/// # Source
/// Lin et al., Feature pyramid networks, CVPR 2017; `torchvision.models.detection`.
#[derive(Debug, Clone, PartialEq)]
pub struct FasterRcnnFpn {
    /// The trunk.
    pub resnet: ResNet,
    /// Of its batch norms. torchvision takes zero for `COCO_V1`, and 1e-5 for whatever else.
    pub epsilon: f64,
    /// What photos are made into.
    pub scaling: Scaling,
    /// Channels of the pyramid.
    pub channels: usize,
    /// Sizes of the anchors of each map, the largest map first; corners are rounded to pixels.
    pub anchor_sizes: [f32; 5],
    /// Ratios of the anchors, height for each width.
    pub anchor_ratios: Vec<f32>,
    /// Proposals.
    pub proposals: ProposalLimits,
    /// In pixels of the network: a box of this side is cut from the third map, one of twice the
    /// side from the next.
    pub canonical_side: f32,
    /// Parts of a region, down and across.
    pub parts: usize,
    /// Points along each side of a part.
    pub samples: usize,
    /// F: the width of a region's features.
    pub width: usize,
    /// Classes, the background counted.
    pub classes: usize,
    /// A region is more confident.
    pub confidence: f32,
    /// A region that overlaps a more confident one of its class by more is left out.
    pub overlap: f64,
    /// Regions of a photo.
    pub most: usize,
}

impl Default for FasterRcnnFpn {
    fn default() -> Self {
        Self {
            resnet: ResNet::R50,
            epsilon: 0.0,
            scaling: Scaling {
                shorter: 800,
                longest: 1333,
                sides: Sides::Down,
                mean: [0.485, 0.456, 0.406].map(|mean| mean * 255.0),
                deviation: [0.229, 0.224, 0.225].map(|deviation| deviation * 255.0),
                colours: Colours::Rgb,
                multiple: 32,
            },
            channels: 256,
            anchor_sizes: [32.0, 64.0, 128.0, 256.0, 512.0],
            anchor_ratios: vec![0.5, 1.0, 2.0],
            proposals: ProposalLimits {
                before: 1000,
                after: 1000,
                overlap: 0.7,
                least_side: 1e-3,
            },
            canonical_side: 224.0,
            parts: 7,
            samples: 2,
            width: 1024,
            classes: 91,
            confidence: 0.05,
            overlap: 0.5,
            most: 100,
        }
    }
}

impl FasterRcnnFpn {
    /// Reads the weights.
    ///
    /// # Errors
    /// When a weight is missing or has another shape, by name, or a setting cannot be.
    pub fn load(&self, weights: &Weights, matmul: Matmul) -> Result<Detector> {
        self.check()?;
        Ok(match matmul {
            Matmul::F32 => Detector::new(self.network::<f32>(weights)?, self.scaling),
            Matmul::Bf16 => Detector::new(self.network::<half::bf16>(weights)?, self.scaling),
        })
    }

    fn check(&self) -> Result<()> {
        let least = [
            ("anchor_ratios", self.anchor_ratios.len()),
            ("parts", self.parts),
            ("samples", self.samples),
            ("classes", self.classes),
        ];
        match least.into_iter().find(|(_, count)| *count == 0) {
            Some((setting, _)) => Err(DetectorError::Setting {
                setting,
                found: "0".to_owned(),
                expected: "at least 1",
            }
            .into()),
            None => Ok(()),
        }
    }

    fn network<T: Number>(&self, weights: &Weights) -> Result<Network<T>> {
        let source = Source {
            weights,
            prefix: "backbone.body.",
            family: Family::Torchvision,
            epsilon: self.epsilon,
        };
        let names = ProposalNames {
            hidden: either(weights, "rpn.head.conv.0.0", "rpn.head.conv"),
            logits: "rpn.head.cls_logits",
            deltas: "rpn.head.bbox_pred",
        };
        let channels = [self.channels, self.channels, self.anchor_ratios.len()];
        let linear = |name, outputs| {
            let channels = (outputs, self.width);
            Linear::read(weights, name, channels, After::Nothing)
        };
        let map = [self.parts, self.parts, self.channels];
        let fc6 = "roi_heads.box_head.fc6";
        let inner = (self.width, self.width);
        Ok(Network {
            trunk: self.resnet.trunk(source, &STAGES)?,
            pyramid: Pyramid::read(self, weights)?,
            shapes: self.anchor_sizes.map(|size| self.shapes(size)),
            proposals: ProposalNetwork::read(weights, names, channels, self.proposals)?,
            fc6: Linear::over_maps(weights, fc6, (self.width, map), After::Relu)?,
            fc7: Linear::read(weights, "roi_heads.box_head.fc7", inner, After::Relu)?,
            class_logits: linear("roi_heads.box_predictor.cls_score", self.classes)?,
            deltas: linear("roi_heads.box_predictor.bbox_pred", 4 * self.classes)?,
            config: self.clone(),
        })
    }

    /// Anchors around (0, 0).
    fn shapes(&self, size: f32) -> Vec<[f32; 4]> {
        let shapes = AnchorShapes {
            sizes: vec![size],
            ratios: self.anchor_ratios.clone(),
        };
        let shapes = shapes.around_zero().into_iter();
        shapes
            .map(|corners| corners.map(f32::round_ties_even))
            .collect()
    }
}

/// The name that the file has.
fn either<'a>(weights: &Weights, name: &'a str, former: &'a str) -> &'a str {
    match weights.has(&format!("{name}.weight")) {
        true => name,
        false => former,
    }
}

/// Maps of one number of channels from maps of all stages.
#[derive(Debug)]
struct Pyramid<T> {
    /// For each stage.
    inner: Vec<Convolution<T>>,
    /// For each stage, after the sums.
    outer: Vec<Convolution<T>>,
}

impl<T: Number> Pyramid<T> {
    fn read(config: &FasterRcnnFpn, weights: &Weights) -> Result<Self> {
        let read = |kind: &str, at: usize, inputs, window| {
            let former = format!("backbone.fpn.{kind}.{at}");
            let name = format!("{former}.0");
            let name = either(weights, &name, &former);
            let channels = (config.channels, inputs);
            convolution(weights, name, channels, window, After::Nothing)
        };
        let stages = || STAGES.into_iter().enumerate();
        let inner = stages().map(|(at, stage)| {
            let inputs = config.resnet.channels(stage);
            read("inner_blocks", at, inputs, Window::square(1, 1, 0))
        });
        let outer =
            stages().map(|(at, _)| read("layer_blocks", at, config.channels, Window::same(3, 3)));
        Ok(Self {
            inner: inner.collect::<Result<_>>()?,
            outer: outer.collect::<Result<_>>()?,
        })
    }

    /// One map for each stage and a halved one, the largest first.
    fn forward(&self, stages: &[Maps<T>]) -> Vec<Maps<T>> {
        let mut maps = Vec::new();
        let mut above: Option<Maps<T>> = None;
        for ((inner, outer), stage) in self.inner.iter().zip(&self.outer).zip(stages).rev() {
            let sums = match &above {
                Some(above) => inner.forward_plus(stage, &doubled(above)),
                None => inner.forward(stage),
            };
            maps.push(outer.forward(&sums));
            above = Some(sums);
        }
        maps.reverse();
        let top = maps.last().map(|map| HALVED.forward(map));
        maps.extend(top);
        maps
    }
}

/// Each cell twice, down and across: the sides of stages are exact halves of each other, because
/// pixels come in multiples of 32.
fn doubled<T: Number>(map: &Maps<T>) -> Maps<T> {
    let ((height, width), channels) = (map.size(), map.channels());
    let shape = [map.photos(), 2 * height, 2 * width, channels];
    let rows = map.values().chunks_exact(width * channels);
    let values = rows.flat_map(|row| {
        let cells = row.chunks_exact(channels);
        let wide: Vec<T> = cells.flat_map(|cell| [cell, cell].concat()).collect();
        [wide.as_slice(), wide.as_slice()].concat()
    });
    Maps::new(values.collect(), shape)
}

/// The layers.
#[derive(Debug)]
struct Network<T> {
    trunk: Trunk<T>,
    pyramid: Pyramid<T>,
    /// Anchors of each map around (0, 0).
    shapes: [Vec<[f32; 4]>; 5],
    proposals: ProposalNetwork<T>,
    fc6: Linear<T>,
    fc7: Linear<f32>,
    class_logits: Linear<f32>,
    deltas: Linear<f32>,
    config: FasterRcnnFpn,
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
            .forward(hidden.into_iter().map(Number::widen).collect())
    }

    fn candidates(
        &self,
        proposals: &[[f32; 4]],
        features: &[f32],
        size: (usize, usize),
    ) -> Result<Candidates> {
        let logits = self.class_logits.forward(features.to_vec());
        let deltas = self.deltas.forward(features.to_vec());
        all_finite(&logits, "logits of classes")?;
        all_finite(&deltas, "boxes of regions")?;
        let mut found = Candidates::default();
        let logits = logits.chunks_exact(self.config.classes);
        let deltas = deltas.chunks_exact(4 * self.config.classes);
        for (proposal, (logits, deltas)) in logits.zip(deltas).enumerate() {
            let classes = softmax(logits)
                .into_iter()
                .zip(quadruples(deltas))
                .enumerate();
            for (class, (confidence, deltas)) in classes.skip(1) {
                let corners = corrected(proposals[proposal], deltas, WEIGHTS);
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

    #[test]
    fn a_doubled_map_has_each_cell_four_times() {
        let map = Maps::new(vec![1.0_f32, 2.0, 3.0, 4.0], [1, 1, 2, 2]);
        let found = doubled(&map);
        assert_eq!(found.shape(), [1, 2, 4, 2]);
        let row = [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0];
        assert_eq!(found.values(), [row, row].concat());
    }

    #[test]
    fn anchors_are_rounded_to_pixels() {
        let shapes = FasterRcnnFpn::default().shapes(32.0);
        assert_eq!(shapes[0], [-23.0, -11.0, 23.0, 11.0]);
        assert_eq!(shapes[1], [-16.0, -16.0, 16.0, 16.0]);
    }
}
