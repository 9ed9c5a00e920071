//! Bottom-up attention, the detector whose features most papers on image-text matching use.

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
use super::scaling::Scaling;
use crate::Result;
use crate::backbone::{
    Block, Channels, Number, ResNet, ResNetNames, ResNetWeights, Size, Stage, StrideOn,
};
use uard_hub::weights::Weights;

/// Pixels of the scaled photo between the cells of stage C4, along each axis.
const STRIDE: usize = 16;

/// The tensor with the anchors of a cell, [anchors, 4].
const ANCHORS: &str = "proposal_generator.anchor_generator.cell_anchors.0";

/// The most pixels by which a file's anchors may differ from those of the configuration.
const ANCHOR_TOLERANCE: f32 = 1e-2;

/// Bottom-up attention: Faster R-CNN on stage C4 of a ResNet, trained on Visual Genome to predict
/// the class and the attribute of a region. [`default`](Self::default) is the published network,
/// with the numbers of its port's `config.yaml`.
///
/// A region's features are the mean of stage C5 over the region. Its box is the proposal with the
/// correction of its most likely class. Suppression is over all classes together.
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
    /// The network that computes the feature map.
    pub resnet: ResNet,
    /// How photos are scaled and normalised.
    pub scaling: Scaling,
    /// The anchors of each cell of stage C4.
    pub anchors: AnchorShapes,
    /// The number of channels of the proposal network's hidden layer.
    pub hidden: usize,
    /// Which boxes become proposals, and how many.
    pub proposals: ProposalLimits,
    /// The number of rows, and of columns, into which a region is pooled.
    pub parts: usize,
    /// Number of classes without the background, which is the last class of the weights.
    pub classes: usize,
    /// Number of attributes. The weights hold one more, which is never predicted.
    pub attributes: usize,
    /// Which proposals become regions.
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
    /// When a weight is missing or has another shape (the error names it); when the file's anchors
    /// are not those of the configuration; when a setting is impossible.
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
        let prefixed = |prefix| ResNetWeights {
            weights,
            prefix,
            names: ResNetNames::Detectron,
        };
        let names = ProposalNames {
            hidden: "proposal_generator.rpn_head.conv",
            logits: "proposal_generator.rpn_head.objectness_logits",
            corrections: "proposal_generator.rpn_head.anchor_deltas",
        };
        let channels = Channels {
            outputs: self.hidden,
            inputs: self.resnet.channels(Stage::C4),
        };
        let anchors = self.anchors.count();
        let proposals = ProposalNetwork::read(weights, names, channels, anchors, self.proposals)?;
        Ok(Network {
            trunk: self.resnet.trunk(prefixed("backbone."), Stage::C4)?,
            shapes: self.anchors.around_zero(),
            proposals,
            pool: RoiPool {
                size: Size::square(self.parts),
                scale: 1.0 / STRIDE as f32,
            },
            res5: self.resnet.dilated_c5(prefixed("roi_heads."))?,
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

    /// Compares the anchors that the network was trained with, where the file has them, with those
    /// of the configuration.
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
