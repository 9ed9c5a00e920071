//! The region proposal network: predicts for each anchor whether it holds an object and a
//! correction of the box, then keeps the best boxes that do not overlap.

use serde::Serialize;

use super::boxes::{all_finite, clipped, corrected, is_at_least, quadruples};
use super::linear::convolution;
use super::nms::nms;
use crate::Result;
use crate::backbone::{Channels, Convolution, Maps, Nonlinearity, Number, Size, Window};
use uard_hub::weights::Weights;

/// The factors of the corrections of anchors in training: they were not scaled.
const WEIGHTS: [f32; 4] = [1.0; 4];

/// Which boxes become proposals, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProposalLimits {
    /// Number of anchors with the highest logits that may become proposals.
    pub before: usize,
    /// The most proposals of a photo.
    pub after: usize,
    /// A proposal that overlaps one with a higher logit by more than this is left out.
    pub overlap: f64,
    /// Boxes with a shorter side, in pixels of the scaled photo, are left out, and so are empty
    /// ones.
    pub least_side: f32,
}

/// Names of the layers, without `.weight`.
#[derive(Debug, Clone, Copy)]
pub struct ProposalNames<'a> {
    pub hidden: &'a str,
    pub logits: &'a str,
    pub corrections: &'a str,
}

/// A region proposal network.
///
/// Its last layers compute in f32 even if maps are in bf16, because proposals are chosen by
/// comparing their results.
///
/// # Source
/// Ren et al., Faster R-CNN, NeurIPS 2015, section 3.1.
#[derive(Debug)]
pub struct ProposalNetwork<T> {
    hidden: Convolution<T>,
    logits: Convolution<f32>,
    corrections: Convolution<f32>,
    limits: ProposalLimits,
}

impl<T: Number> ProposalNetwork<T> {
    /// Reads the weights; `channels` are those of the hidden layer, `anchors` is the number of
    /// anchors of a cell.
    pub fn read(
        weights: &Weights,
        names: ProposalNames<'_>,
        channels: Channels,
        anchors: usize,
        limits: ProposalLimits,
    ) -> Result<Self> {
        let (same, point) = (Window::same(3, 3), Window::square(1, 1, 0));
        let head = |name, outputs| {
            let channels = Channels {
                outputs,
                inputs: channels.outputs,
            };
            convolution(weights, name, channels, point, Nonlinearity::Identity)
        };
        Ok(Self {
            hidden: convolution(weights, names.hidden, channels, same, Nonlinearity::Relu)?,
            logits: head(names.logits, anchors)?,
            corrections: head(names.corrections, 4 * anchors)?,
            limits,
        })
    }

    /// The proposals of a photo, clipped to it, the highest logit first. `anchors` are those of all
    /// cells of the map.
    pub fn propose(
        &self,
        map: &Maps<T>,
        anchors: &[[f32; 4]],
        photo: Size,
    ) -> Result<Vec<[f32; 4]>> {
        let hidden = self.hidden.forward(map).widened();
        let logits = self.logits.forward(&hidden).into_values();
        let corrections = self.corrections.forward(&hidden).into_values();
        all_finite(&logits, "logits of proposals")?;
        all_finite(&corrections, "boxes of proposals")?;
        let corrections: Vec<[f32; 4]> = quadruples(&corrections).collect();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        let candidates = order.into_iter().take(self.limits.before);
        let candidates = candidates.map(|anchor| {
            let corners = corrected(anchors[anchor], corrections[anchor], WEIGHTS);
            (clipped(corners, photo), logits[anchor])
        });
        let (boxes, logits): (Vec<[f32; 4]>, Vec<f32>) = candidates
            .filter(|(corners, _)| is_at_least(*corners, self.limits.least_side))
            .unzip();
        let kept = nms(&boxes, &logits, self.limits.overlap);
        Ok(kept.take(self.limits.after).map(|at| boxes[at]).collect())
    }
}
