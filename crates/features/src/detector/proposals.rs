//! Where in a photo may something be? A small network says it of each anchor, and the best boxes
//! that do not cover each other go on.

use serde::Serialize;

use super::boxes::{all_finite, clipped, corrected, is_at_least, quadruples};
use super::linear::convolution;
use super::nms::nms;
use crate::Result;
use crate::backbone::{After, Convolution, Maps, Number, Window};
use uard_hub::weights::Weights;

/// Corrections of anchors are those that the network says.
const WEIGHTS: [f32; 4] = [1.0; 4];

/// How many proposals there are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProposalLimits {
    /// Anchors of a map with the highest logits, which may become proposals.
    pub before: usize,
    /// Proposals of a photo.
    pub after: usize,
    /// A proposal that overlaps a better one by more is left out.
    pub overlap: f64,
    /// In pixels of the network: what is shorter is left out, and so is what is empty.
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
/// Its last layers compute in f32 whatever the maps are: what is compared is never rounded.
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
    /// For channels of the maps, channels inside, and anchors of a cell.
    pub fn read(
        weights: &Weights,
        names: ProposalNames<'_>,
        [inputs, hidden, anchors]: [usize; 3],
        limits: ProposalLimits,
    ) -> Result<Self> {
        let (same, point) = (Window::same(3, 3), Window::square(1, 1, 0));
        let head = |name, outputs| {
            let channels = (outputs, hidden);
            convolution(weights, name, channels, point, After::Nothing)
        };
        Ok(Self {
            hidden: convolution(weights, names.hidden, (hidden, inputs), same, After::Relu)?,
            logits: head(names.logits, anchors)?,
            corrections: head(names.corrections, 4 * anchors)?,
            limits,
        })
    }

    /// The proposals of a photo, the highest logit first, cut at its edges.
    ///
    /// `anchors`: of the cells of the map.
    pub fn propose(
        &self,
        map: &Maps<T>,
        anchors: &[[f32; 4]],
        size: (usize, usize),
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
            (clipped(corners, size), logits[anchor])
        });
        let (boxes, logits): (Vec<[f32; 4]>, Vec<f32>) = candidates
            .filter(|(corners, _)| is_at_least(*corners, self.limits.least_side))
            .unzip();
        let kept = nms(&boxes, &logits, self.limits.overlap);
        Ok(kept.take(self.limits.after).map(|at| boxes[at]).collect())
    }
}
