//! What are the layers of bottom-up attention, the detector behind the features of this field?

mod limits;
mod network;
mod predictor;

use half::bf16;
use serde::Serialize;
use uard_linalg::matmul::Matmul;

pub use self::limits::RegionLimits;
use self::network::Network;
use self::predictor::Predictor;
use super::anchors::AnchorShapes;
use super::boxes::quadruples;
use super::error::{DetectorError, at_least_one, refused};
use super::frozen::Detector;
use super::proposals::{ProposalLimits, ProposalNames, ProposalNetwork};
use super::roi_pool::RoiPool;
use super::scaling::{Colours, Scaling};
use crate::Result;
use crate::backbone::{Block, Family, Number, ResNet, Source, Stage, StrideOn};
use uard_hub::weights::Weights;

/// Pixels of the network for each cell of the fourth stage.
const STRIDE: usize = 16;

const ANCHORS: &str = "proposal_generator.anchor_generator.cell_anchors.0";

/// Pixels by which anchors of a file may differ from those of the configuration.
const ANCHOR_TOLERANCE: f32 = 1e-2;

/// Bottom-up attention: Faster R-CNN on the fourth stage of a ResNet, trained on Visual Genome to
/// say what a region is and how it is. [`default`](Self::default) is the published network, with
/// the numbers that its port reads from `config.yaml`.
///
/// A region's features are the mean of the fifth stage over the region. Its box is the proposal,
/// corrected for its most likely class, and suppression looks at all classes together.
///
/// Weights have the names of the PyTorch port of LXMERT's authors (`backbone.stem.conv1.weight`,
/// `proposal_generator.rpn_head.conv.weight`, `roi_heads.res5.0.conv1.weight`,
/// `roi_heads.box_predictor.cls_score.weight`, …).
///
/// # Source
/// Anderson et al., Bottom-up and top-down attention, CVPR 2018; `modeling_frcnn.py` in the LXMERT
/// example of `transformers`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BottomUpAttention {
    /// The trunk.
    pub resnet: ResNet,
    /// What photos are made into.
    pub scaling: Scaling,
    /// Of each cell of the fourth stage.
    pub anchors: AnchorShapes,
    /// Channels inside of the proposal network.
    pub hidden: usize,
    /// Proposals.
    pub proposals: ProposalLimits,
    /// Parts of a region, down and across.
    pub parts: usize,
    /// Classes, the background not counted; it is the last one of the weights.
    pub classes: usize,
    /// Attributes; the weights hold one more, which is never said.
    pub attributes: usize,
    /// Regions of a photo.
    pub regions: RegionLimits,
}

impl Default for BottomUpAttention {
    fn default() -> Self {
        Self {
            resnet: ResNet {
                block: Block::Bottleneck(StrideOn::First),
                ..ResNet::R101
            },
            scaling: Scaling {
                shorter: 800,
                longest: 1333,
                mean: [102.9801, 115.9465, 122.7717],
                deviation: [1.0; 3],
                colours: Colours::Bgr,
                multiple: 1,
            },
            anchors: AnchorShapes {
                sizes: vec![64.0, 128.0, 256.0, 512.0],
                ratios: vec![0.5, 1.0, 2.0],
            },
            hidden: 512,
            proposals: ProposalLimits {
                before: 6000,
                after: 300,
                overlap: 0.7,
                least_side: 0.0,
            },
            parts: 14,
            classes: 1600,
            attributes: 400,
            regions: RegionLimits::fixed(),
        }
    }
}

impl BottomUpAttention {
    /// Reads the weights.
    ///
    /// # Errors
    /// When a weight is missing or has another shape, by name; when the file's anchors are not
    /// those of the configuration, or a setting cannot be.
    pub fn load(&self, weights: &Weights, matmul: Matmul) -> Result<Detector> {
        self.check()?;
        self.check_anchors(weights)?;
        let settings = self.clone();
        Ok(match matmul {
            Matmul::F32 => Detector::new(self.network::<f32>(weights)?, settings, matmul),
            Matmul::Bf16 => Detector::new(self.network::<bf16>(weights)?, settings, matmul),
        })
    }

    fn network<T: Number>(&self, weights: &Weights) -> Result<Network<T>> {
        let source = |prefix| Source {
            weights,
            prefix,
            family: Family::Detectron,
        };
        let names = ProposalNames {
            hidden: "proposal_generator.rpn_head.conv",
            logits: "proposal_generator.rpn_head.objectness_logits",
            corrections: "proposal_generator.rpn_head.anchor_deltas",
        };
        let channels = [
            self.resnet.channels(Stage::C4),
            self.hidden,
            self.anchors.count(),
        ];
        Ok(Network {
            trunk: self.resnet.trunk(source("backbone."), &[Stage::C4])?,
            shapes: self.anchors.around_zero(),
            proposals: ProposalNetwork::read(weights, names, channels, self.proposals)?,
            pool: RoiPool {
                size: (self.parts, self.parts),
                scale: 1.0 / STRIDE as f32,
            },
            res5: self.resnet.dilated_c5(source("roi_heads."))?,
            predictor: Predictor::read(self, weights)?,
            limits: self.regions.clone(),
        })
    }

    fn check(&self) -> Result<()> {
        let RegionLimits {
            overlaps,
            least,
            most,
            ..
        } = &self.regions;
        at_least_one(&[
            ("resnet.width", self.resnet.width),
            ("resnet.blocks", self.resnet.fewest_blocks()),
            ("anchors", self.anchors.count()),
            ("hidden", self.hidden),
            ("parts", self.parts),
            ("classes", self.classes),
            ("attributes", self.attributes),
            ("regions.overlaps", overlaps.len()),
        ])?;
        if least > most {
            let found = format!("{least} to {most}");
            return Err(refused("regions.least", found, "no more than `most`"));
        }
        Ok(())
    }

    /// A file holds the anchors that it was trained with.
    fn check_anchors(&self, weights: &Weights) -> Result<()> {
        if !weights.is_stored(ANCHORS) {
            return Ok(());
        }
        let stored = weights.numbers(ANCHORS, &[self.anchors.count(), 4])?;
        let pairs = self
            .anchors
            .around_zero()
            .into_iter()
            .zip(quadruples(&stored));
        for (anchor, (expected, found)) in pairs.enumerate() {
            let mut differences = expected.iter().zip(&found).map(|(a, b)| (a - b).abs());
            if differences.any(|difference| difference > ANCHOR_TOLERANCE) {
                return Err(DetectorError::Anchors {
                    path: weights.path().to_owned(),
                    tensor: ANCHORS.to_owned(),
                    anchor,
                    expected,
                    found,
                }
                .into());
            }
        }
        Ok(())
    }
}
