//! Predicts the class, box and attribute of a region from its features.

use super::BottomUpAttention;
use super::limits::RegionLimits;
use crate::Result;
use crate::backbone::{Channels, Nonlinearity, Size, Stage};
use crate::detector::boxes::{all_finite, clipped, corrected};
use crate::detector::frozen::{DetectedRegions, Label};
use crate::detector::linear::Linear;
use crate::detector::softmax::{best, largest, softmax};
use uard_hub::weights::Weights;

/// The factors by which the corrections of proposals were multiplied in training.
const WEIGHTS: [f32; 4] = [10.0, 10.0, 5.0, 5.0];

/// The last layers. They compute in f32 even if maps are in bf16, because regions are chosen by
/// comparing their results.
#[derive(Debug)]
pub struct Predictor {
    /// F, the width of a region's features.
    pub width: usize,
    /// Number of classes without the background.
    classes: usize,
    class_logits: Linear,
    corrections: Linear,
    /// The embedding of each class and of the background, [classes + 1, F / 8].
    class_embeddings: Vec<f32>,
    hidden: Linear,
    attribute_logits: Linear,
}

/// A proposal that may become a region.
pub struct Candidate {
    pub corners: [f32; 4],
    /// The most likely class without the background.
    pub class: Label,
    /// The most likely class, which may be the background.
    pub class_with_background: usize,
}

impl Predictor {
    pub fn read(config: &BottomUpAttention, weights: &Weights) -> Result<Self> {
        let width = config.resnet.channels(Stage::C5);
        let (classes, embedding) = (config.classes, width / 8);
        let named = |name: &str| format!("roi_heads.box_predictor.{name}");
        let linear = |name, inputs, outputs| {
            let channels = Channels { outputs, inputs };
            Linear::read(weights, &named(name), channels, Nonlinearity::Identity)
        };
        let hidden = Channels {
            outputs: width / 4,
            inputs: width + embedding,
        };
        let class_embeddings = named("cls_embedding.weight");
        Ok(Self {
            width,
            classes,
            class_logits: linear("cls_score", width, classes + 1)?,
            corrections: linear("bbox_pred", width, 4 * classes)?,
            class_embeddings: weights.numbers(&class_embeddings, &[classes + 1, embedding])?,
            hidden: Linear::read(weights, &named("fc_attr"), hidden, Nonlinearity::Relu)?,
            attribute_logits: linear("attr_score", width / 4, config.attributes + 1)?,
        })
    }

    /// The regions of a photo, with boxes clipped to it.
    ///
    /// # Shapes
    /// R `proposals` with `features` [R, F].
    pub fn regions(
        &self,
        proposals: &[[f32; 4]],
        features: &[f32],
        photo: Size,
        limits: &RegionLimits,
    ) -> Result<DetectedRegions> {
        let candidates = self.candidates(proposals, features, photo)?;
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

    /// A candidate for each proposal.
    fn candidates(
        &self,
        proposals: &[[f32; 4]],
        features: &[f32],
        photo: Size,
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
                corners: clipped(corrected(*corners, corrections, WEIGHTS), photo),
                class,
                class_with_background: largest(logits),
            }
        });
        Ok(candidates.collect())
    }

    /// The most likely attribute of each region, from its features and the embedding of its most
    /// likely class.
    fn attributes(&self, kept: &[&Candidate], features: &[f32]) -> Vec<Label> {
        let width = self.class_embeddings.len() / (self.classes + 1);
        let rows = kept.iter().zip(features.chunks_exact(self.width));
        let rows = rows.flat_map(|(candidate, features)| {
            let class = candidate.class_with_background;
            let class = &self.class_embeddings[class * width..][..width];
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
