//! What are the layers of torchvision's Faster R-CNN with a feature pyramid?

mod maps;
mod network;

use half::bf16;
use serde::Serialize;
use uard_linalg::matmul::Matmul;

use self::maps::Pyramid;
use self::network::Network;
use super::anchors::AnchorShapes;
use super::error::{at_least_one, refused};
use super::frozen::{Detector, DetectorSettings};
use super::linear::Linear;
use super::proposals::{ProposalLimits, ProposalNames, ProposalNetwork};
use super::scaling::{Colours, Rounding, Scaling};
use crate::Result;
use crate::backbone::{After, Family, Number, ResNet, Source, Stage};
use uard_hub::weights::Weights;

/// The stages that the pyramid stands on.
const STAGES: [Stage; 4] = [Stage::C2, Stage::C3, Stage::C4, Stage::C5];

/// Pixels of the network for each cell of the last stage.
const LAST_STRIDE: usize = 32;

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
#[derive(Debug, Clone, PartialEq, Serialize)]
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
                rounding: Rounding::Down,
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
        let settings = DetectorSettings::FasterRcnnFpn(self.clone());
        Ok(match matmul {
            Matmul::F32 => Detector::new(self.network::<f32>(weights)?, settings, matmul),
            Matmul::Bf16 => Detector::new(self.network::<bf16>(weights)?, settings, matmul),
        })
    }

    fn check(&self) -> Result<()> {
        at_least_one(&[
            ("resnet.width", self.resnet.width),
            ("resnet.blocks", self.resnet.fewest_blocks()),
            ("channels", self.channels),
            ("anchor_ratios", self.anchor_ratios.len()),
            ("parts", self.parts),
            ("samples", self.samples),
            ("width", self.width),
            ("classes", self.classes),
        ])?;
        let multiple = self.scaling.multiple;
        if multiple == 0 || !multiple.is_multiple_of(LAST_STRIDE) {
            let expected = "a multiple of 32, so that maps are halves of each other";
            return Err(refused("scaling.multiple", multiple.to_string(), expected));
        }
        Ok(())
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
            corrections: "rpn.head.bbox_pred",
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
            corrections: linear("roi_heads.box_predictor.bbox_pred", 4 * self.classes)?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_rounded_to_pixels() {
        let shapes = FasterRcnnFpn::default().shapes(32.0);
        assert_eq!(shapes[0], [-23.0, -11.0, 23.0, 11.0]);
        assert_eq!(shapes[1], [-16.0, -16.0, 16.0, 16.0]);
    }
}
