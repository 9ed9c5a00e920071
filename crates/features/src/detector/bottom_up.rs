//! What are the layers of bottom-up attention, the detector behind the features of this field?

use uard_core::matmul::Matmul;

use super::anchors::{AnchorShapes, over_cells};
use super::boxes::{all_finite, clipped, corrected, quadruples};
use super::error::DetectorError;
use super::frozen::{DetectedRegions, Detector, Label, Layers};
use super::linear::Linear;
use super::nms::nms;
use super::proposals::{Level, ProposalLimits, ProposalNames, ProposalNetwork};
use super::roi_pool::RoiPool;
use super::scaling::{Colours, Scaled, Scaling, Sides};
use super::softmax::{best, largest, softmax};
use crate::Result;
use crate::backbone::trunk::Trunk;
use crate::backbone::{
    After, Block, Buffers, EPSILON, Family, Maps, Number, ResNet, Source, Stage, StrideOn,
};
use crate::weights::Weights;

/// Pixels of the network for each cell of the fourth stage.
const STRIDE: usize = 16;

/// Regions whose features are computed together: few enough that their maps stay small (25 MB in
/// f32), enough that a kernel read from memory is used often.
const REGIONS_AT_ONCE: usize = 16;

/// What corrections of proposals were multiplied by in training.
const WEIGHTS: [f32; 4] = [10.0, 10.0, 5.0, 5.0];

const ANCHORS: &str = "proposal_generator.anchor_generator.cell_anchors.0";

/// Pixels by which anchors of a file may differ from those of the configuration.
const ANCHOR_TOLERANCE: f32 = 1e-2;

/// Bottom-up attention: Faster R-CNN on the fourth stage of a ResNet, trained on Visual Genome to
/// say what a region is and how it is. [`default`](Self::default) is the published network.
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
#[derive(Debug, Clone, PartialEq)]
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

/// Which proposals become regions, the most confident first.
#[derive(Debug, Clone, PartialEq)]
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
                sides: Sides::Nearest,
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
        Ok(match matmul {
            Matmul::F32 => Detector::new(self.network::<f32>(weights)?, self.scaling),
            Matmul::Bf16 => Detector::new(self.network::<half::bf16>(weights)?, self.scaling),
        })
    }

    fn network<T: Number>(&self, weights: &Weights) -> Result<Network<T>> {
        let source = |prefix| Source {
            weights,
            prefix,
            family: Family::Detectron,
            epsilon: EPSILON,
        };
        let names = ProposalNames {
            hidden: "proposal_generator.rpn_head.conv",
            logits: "proposal_generator.rpn_head.objectness_logits",
            deltas: "proposal_generator.rpn_head.anchor_deltas",
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
        let refused = |setting, found, expected| {
            Err(DetectorError::Setting {
                setting,
                found,
                expected,
            }
            .into())
        };
        if self.anchors.count() == 0 {
            let found = format!("{:?}", self.anchors);
            return refused("anchors", found, "at least one size and one ratio");
        }
        if self.parts == 0 {
            return refused("parts", "0".to_owned(), "at least 1");
        }
        let RegionLimits {
            overlaps,
            least,
            most,
            ..
        } = &self.regions;
        if overlaps.is_empty() {
            return refused("overlaps", "empty".to_owned(), "at least one");
        }
        if least > most {
            let found = format!("{least} to {most}");
            return refused("least", found, "no more than `most`");
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

/// The layers.
#[derive(Debug)]
struct Network<T> {
    trunk: Trunk<T>,
    /// Anchors around (0, 0).
    shapes: Vec<[f32; 4]>,
    proposals: ProposalNetwork<T>,
    pool: RoiPool,
    res5: Trunk<T>,
    predictor: Predictor,
    limits: RegionLimits,
}

impl<T: Number> Layers for Network<T> {
    fn width(&self) -> usize {
        self.predictor.width
    }

    fn maps(&self, pixels: &Maps<f32>) -> Result<Vec<Maps<f32>>> {
        let maps = self.trunk.of_pixels(pixels)?;
        Ok(maps.iter().map(Maps::widened).collect())
    }

    fn regions(&self, photo: &Scaled) -> Result<DetectedRegions> {
        let maps = self.trunk.of_pixels(&photo.pixels)?;
        let map = &maps[0];
        let level = Level {
            map,
            anchors: over_cells(&self.shapes, map.size(), (STRIDE, STRIDE)),
        };
        let proposals = self.proposals.propose(&[level], photo.size)?;
        let features = self.features(map, &proposals);
        Ok(self
            .predictor
            .regions(&proposals, &features, (photo.size, &self.limits))?)
    }
}

impl<T: Number> Network<T> {
    /// Means over the fifth stage of each box, in f32.
    fn features(&self, map: &Maps<T>, boxes: &[[f32; 4]]) -> Vec<f32> {
        let mut buffers = Buffers::new();
        let mut features = Vec::with_capacity(boxes.len() * self.width());
        for boxes in boxes.chunks(REGIONS_AT_ONCE) {
            let pooled = self.pool.forward(map, boxes);
            for maps in self.res5.forward(pooled, &mut buffers) {
                for region in 0..boxes.len() {
                    features.extend(mean(maps.photo(region), maps.channels()));
                }
                buffers.give(maps);
            }
        }
        features
    }
}

fn mean<T: Number>(map: &[T], channels: usize) -> Vec<f32> {
    let mut sums = vec![0.0; channels];
    for cell in map.chunks_exact(channels) {
        for (sum, number) in sums.iter_mut().zip(cell) {
            *sum += number.widen();
        }
    }
    let cells = (map.len() / channels) as f32;
    sums.iter_mut().for_each(|sum| *sum /= cells);
    sums
}

/// What features say. In f32, whatever the maps are: what is compared is never rounded.
#[derive(Debug)]
struct Predictor {
    width: usize,
    classes: usize,
    class_logits: Linear<f32>,
    deltas: Linear<f32>,
    /// A row for each class and the background.
    class_rows: Vec<f32>,
    hidden: Linear<f32>,
    attribute_logits: Linear<f32>,
}

/// A proposal that may become a region.
struct Candidate {
    corners: [f32; 4],
    class: Label,
    /// The most likely class, which may be the background.
    seen: usize,
}

impl Predictor {
    fn read(config: &BottomUpAttention, weights: &Weights) -> Result<Self> {
        let width = config.resnet.channels(Stage::C5);
        let (classes, row) = (config.classes, width / 8);
        let named = |name: &str| format!("roi_heads.box_predictor.{name}");
        let linear = |name, channels, after| {
            let name = named(name);
            Linear::read(weights, &name, channels, after)
        };
        let nothing = After::Nothing;
        Ok(Self {
            width,
            classes,
            class_logits: linear("cls_score", (classes + 1, width), nothing)?,
            deltas: linear("bbox_pred", (4 * classes, width), nothing)?,
            class_rows: weights.numbers(&named("cls_embedding.weight"), &[classes + 1, row])?,
            hidden: linear("fc_attr", (width / 4, width + row), After::Relu)?,
            attribute_logits: linear("attr_score", (config.attributes + 1, width / 4), nothing)?,
        })
    }

    fn regions(
        &self,
        proposals: &[[f32; 4]],
        features: &[f32],
        (size, limits): ((usize, usize), &RegionLimits),
    ) -> Result<DetectedRegions> {
        let candidates = self.candidates(proposals, features, size)?;
        let kept = limits.choose(&candidates);
        let rows = kept
            .iter()
            .map(|at| &features[at * self.width..][..self.width]);
        let features: Vec<f32> = rows.flatten().copied().collect();
        let kept: Vec<&Candidate> = kept.iter().map(|at| &candidates[*at]).collect();
        Ok(DetectedRegions {
            boxes: kept.iter().map(|candidate| candidate.corners).collect(),
            classes: kept.iter().map(|candidate| candidate.class).collect(),
            attributes: self.attributes(&kept, &features),
            features,
        })
    }

    /// One for each proposal.
    fn candidates(
        &self,
        proposals: &[[f32; 4]],
        features: &[f32],
        size: (usize, usize),
    ) -> Result<Vec<Candidate>> {
        let logits = self.class_logits.forward(features.to_vec());
        let deltas = self.deltas.forward(features.to_vec());
        all_finite(&logits, "logits of classes")?;
        all_finite(&deltas, "boxes of regions")?;
        let logits = logits.chunks_exact(self.classes + 1);
        let deltas = deltas.chunks_exact(4 * self.classes);
        let candidates = proposals.iter().zip(logits.zip(deltas));
        let candidates = candidates.map(|(corners, (logits, deltas))| {
            let class = best(&softmax(logits)[..self.classes]);
            let deltas = &deltas[4 * class.id..][..4];
            let deltas = [deltas[0], deltas[1], deltas[2], deltas[3]];
            Candidate {
                corners: clipped(corrected(*corners, deltas, WEIGHTS), size),
                class,
                seen: largest(logits),
            }
        });
        Ok(candidates.collect())
    }

    /// From the features of a region and the row of its most likely class.
    fn attributes(&self, kept: &[&Candidate], features: &[f32]) -> Vec<Label> {
        let row = self.class_rows.len() / (self.classes + 1);
        let rows = kept.iter().zip(features.chunks_exact(self.width));
        let rows = rows.flat_map(|(candidate, features)| {
            let class = &self.class_rows[candidate.seen * row..][..row];
            features.iter().chain(class).copied()
        });
        let hidden = self.hidden.forward(rows.collect());
        let logits = self.attribute_logits.forward(hidden);
        let attributes = logits.len() / kept.len().max(1);
        let labels = logits.chunks_exact(attributes.max(1));
        labels
            .map(|logits| best(&softmax(&logits[..attributes - 1])))
            .collect()
    }
}

impl RegionLimits {
    /// Places of the regions, the most confident first.
    fn choose(&self, candidates: &[Candidate]) -> Vec<usize> {
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
