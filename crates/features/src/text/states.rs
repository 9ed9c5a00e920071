//! How do the states of a language model become words of the joint space? Through a linear layer, as
//! unit rows, padded.

use candle_core::Tensor;
use uard_core::Words;
use uard_core::parameters::Parameters;
use uard_core::random::{Draws, uniform};
use uard_linalg::matmul::Matmul;

use crate::Result;
use crate::text::gru::CaptionBatch;
use crate::transformer::Dense;

/// What the names of the projection's parameters begin with.
const PREFIX: &str = "text.projection";

/// The linear layer from states to the joint width: `text.projection.weight` [D, H] and
/// `text.projection.bias` `[D]`.
///
/// # Source
/// It is drawn like SCAN's of images: uniform in ±√6/√(H + D), biases zero.
#[derive(Debug, Clone)]
pub(super) struct Projection(Dense);

impl Projection {
    /// Creates the parameters, from states of a width to the joint width.
    pub(super) fn new(
        parameters: &mut Parameters,
        (width, joint_width): (usize, usize),
        draws: &Draws,
    ) -> Result<Self> {
        let shape = [joint_width, width];
        let bound = 6f32.sqrt() / (shape.iter().sum::<usize>() as f32).sqrt();
        let make = &mut |name: &str, shape: &[usize]| {
            let count = shape.iter().product();
            let numbers = match shape {
                [_] => vec![0.0; count],
                _ => uniform(&mut draws.stream(name, &[]), -bound, bound, count),
            };
            Ok(parameters.create(name, numbers, shape)?)
        };
        Ok(Self(Dense::make(make, PREFIX, shape)?))
    }

    /// The states of the valid words, [N, H], as unit rows of their captions.
    pub(super) fn words(
        &self,
        states: &Tensor,
        batch: &CaptionBatch,
        matmul: Matmul,
    ) -> Result<Words> {
        let rows = self.0.forward(states, matmul)?;
        let rows = padded(&rows, batch)?;
        Ok(Words::normalized(&rows, batch.counts().to_vec())?)
    }
}

/// The place of each valid word in its caption.
pub(super) fn places(counts: &[usize]) -> Vec<u32> {
    counts.iter().flat_map(|&count| 0..count as u32).collect()
}

/// Rows of the valid words [N, D] as [C, W, D]; padding rows are zero.
pub(super) fn padded(rows: &Tensor, batch: &CaptionBatch) -> Result<Tensor> {
    let (count, width) = rows.dims2()?;
    let (captions, longest) = batch.ids().dims2()?;
    if count == captions * longest {
        return Ok(rows.reshape((captions, longest, width))?);
    }
    let mut of_rows = vec![count as u32; captions * longest];
    let mut word = 0;
    for (caption, &count) in batch.counts().iter().enumerate() {
        for row in &mut of_rows[caption * longest..][..count] {
            *row = word;
            word += 1;
        }
    }
    let padding = Tensor::zeros((1, width), rows.dtype(), rows.device())?;
    let of_rows = Tensor::new(of_rows, rows.device())?;
    let padded = Tensor::cat(&[rows, &padding], 0)?.index_select(&of_rows, 0)?;
    Ok(padded.reshape((captions, longest, width))?)
}
