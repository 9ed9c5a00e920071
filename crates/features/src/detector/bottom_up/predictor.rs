//! What do features say of a region? Its class, its box, and how it is.

use super::BottomUpAttention;
use super::limits::RegionLimits;
use crate::Result;
use crate::backbone::{After, Stage};
use crate::detector::boxes::{all_finite, clipped, corrected};
use crate::detector::frozen::{DetectedRegions, Label};
use crate::detector::linear::Linear;
use crate::detector::softmax::{best, largest, softmax};
use uard_hub::weights::Weights;

/// What corrections of proposals were multiplied by in training.
const WEIGHTS: [f32; 4] = [10.0, 10.0, 5.0, 5.0];

/// What features say. In f32, whatever the maps are: what is compared is never rounded.
#[derive(Debug)]
pub struct Predictor {
    pub width: usize,
    classes: usize,
    class_logits: Linear,
    corrections: Linear,
    /// A row for each class and the background.
    class_rows: Vec<f32>,
    hidden: Linear,
    attribute_logits: Linear,
}

/// A proposal that may become a region.
pub struct Candidate {
    pub corners: [f32; 4],
    pub class: Label,
    /// The most likely class, which may be the background.
    pub seen: usize,
}

impl Predictor {
    pub fn read(config: &BottomUpAttention, weights: &Weights) -> Result<Self> {
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
            corrections: linear("bbox_pred", (4 * classes, width), nothing)?,
            class_rows: weights.numbers(&named("cls_embedding.weight"), &[classes + 1, row])?,
            hidden: linear("fc_attr", (width / 4, width + row), After::Relu)?,
            attribute_logits: linear("attr_score", (config.attributes + 1, width / 4), nothing)?,
        })
    }

    /// The regions among proposals of R features, cut at the edges of the photo.
    pub fn regions(
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
        let corrections = self.corrections.forward(features.to_vec());
        all_finite(&logits, "logits of classes")?;
        all_finite(&corrections, "boxes of regions")?;
        let logits = logits.chunks_exact(self.classes + 1);
        let corrections = corrections.chunks_exact(4 * self.classes);
        let candidates = proposals.iter().zip(logits.zip(corrections));
        let candidates = candidates.map(|(corners, (logits, corrections))| {
            let class = best(&softmax(logits)[..self.classes]);
            let corrections = &corrections[4 * class.id..][..4];
            let corrections = [
                corrections[0],
                corrections[1],
                corrections[2],
                corrections[3],
            ];
            Candidate {
                corners: clipped(corrected(*corners, corrections, WEIGHTS), size),
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
