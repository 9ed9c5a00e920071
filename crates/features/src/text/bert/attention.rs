//! How do the words of a caption look at each other? Self-attention with several heads, over the
//! valid words alone.

mod operator;

use candle_core::{D, DType, Device, Tensor};
use operator::SelfAttention;
use uard_core::softmax::masked_softmax;

use crate::Result;

/// A logit from which padding is as good as absent, and still finite.
const ABSENT: f64 = -1e30;

/// Which words belong together: captions one after the other, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spans {
    counts: Vec<usize>,
    heads: usize,
}

impl Spans {
    pub(super) fn new(counts: &[usize], heads: usize) -> Self {
        Self {
            counts: counts.to_vec(),
            heads,
        }
    }

    /// Weights of all captions and heads: each word with each of its caption.
    pub(super) fn cells(&self) -> usize {
        self.counts
            .iter()
            .map(|count| self.heads * count * count)
            .sum()
    }

    fn longest(&self) -> usize {
        self.counts.iter().copied().max().unwrap_or(0)
    }

    /// The padded row of each valid word.
    fn padded_rows(&self) -> Vec<u32> {
        let longest = self.longest();
        let rows = |(caption, &count): (usize, &usize)| {
            (caption * longest..caption * longest + count).map(|row| row as u32)
        };
        self.counts.iter().enumerate().flat_map(rows).collect()
    }

    /// The word of each padded row; the row behind the last word for padding.
    fn words_of_padded_rows(&self) -> Vec<u32> {
        let words: usize = self.counts.iter().sum();
        let mut of_rows = vec![words as u32; self.counts.len() * self.longest()];
        for (word, row) in (0..).zip(self.padded_rows()) {
            of_rows[row as usize] = word;
        }
        of_rows
    }
}

/// Queries, keys and values of the same words.
#[derive(Debug)]
pub(super) struct Projected {
    pub(super) query: Tensor,
    pub(super) key: Tensor,
    pub(super) value: Tensor,
}

/// The weighted values of each head, side by side.
///
/// ```text
/// a_i = sum_j f_ij w_ij v_j        w_i = softmax_j(q_i · k_j / sqrt(H / heads))
/// ```
///
/// # Shapes
/// query, key, value and result are [N, H], N the valid words of all captions; `factors` are those
/// of dropout, one for each cell (caption, head, i, j).
///
/// # Errors
/// When a tensor operation fails.
pub(super) fn attend(
    words: &Projected,
    spans: &Spans,
    factors: Option<Vec<f32>>,
) -> Result<Tensor> {
    if !words.query.device().is_cpu() {
        return composed(words, spans, factors);
    }
    let Projected { query, key, value } = words;
    let (query, key, value) = (query.contiguous()?, key.contiguous()?, value.contiguous()?);
    let spans = spans.clone();
    Ok(match query.dtype() {
        DType::F64 => query.apply_op3(&key, &value, SelfAttention::<f64>::new(spans, factors))?,
        _ => query.apply_op3(&key, &value, SelfAttention::<f32>::new(spans, factors))?,
    })
}

/// The same on padded captions in candle's operations, for any device.
fn composed(words: &Projected, spans: &Spans, factors: Option<Vec<f32>>) -> Result<Tensor> {
    let (count, width) = words.query.dims2()?;
    let (captions, longest) = (spans.counts.len(), spans.longest());
    let device = words.query.device();
    let of_rows = Tensor::new(spans.words_of_padded_rows(), device)?;
    let padding = Tensor::zeros((1, width), words.query.dtype(), device)?;
    let heads = |tensor: &Tensor| -> Result<Tensor> {
        let padded = Tensor::cat(&[tensor, &padding], 0)?.index_select(&of_rows, 0)?;
        let padded = padded.reshape((captions, longest, spans.heads, width / spans.heads))?;
        Ok(padded.transpose(1, 2)?.contiguous()?)
    };
    let (query, key, value) = (
        heads(&words.query)?,
        heads(&words.key)?,
        heads(&words.value)?,
    );
    let scale = 1.0 / ((width / spans.heads) as f64).sqrt();
    let logits = (query.matmul(&key.transpose(D::Minus2, D::Minus1)?.contiguous()?)? * scale)?;
    let valid = valid(&of_rows, count, (captions, longest))?.to_dtype(logits.dtype())?;
    let mask = valid.broadcast_as(logits.shape())?.contiguous()?;
    // Padding may not become the largest logit, from which the others are subtracted.
    let logits = (logits + mask.affine(-ABSENT, ABSENT)?)?;
    let mut weights = masked_softmax(&logits, &mask)?;
    if let Some(factors) = factors {
        let factors = padded_factors(&factors, spans, device)?.to_dtype(weights.dtype())?;
        weights = (weights * factors)?;
    }
    let attended = weights.matmul(&value)?.transpose(1, 2)?.contiguous()?;
    let attended = attended.reshape((captions * longest, width))?;
    let rows = Tensor::new(spans.padded_rows(), device)?;
    Ok(attended.index_select(&rows, 0)?)
}

/// 1 for valid words, [C, 1, 1, W].
fn valid(
    of_rows: &Tensor,
    words: usize,
    (captions, longest): (usize, usize),
) -> candle_core::Result<Tensor> {
    of_rows.lt(words as u32)?.reshape((captions, 1, 1, longest))
}

/// The factors of each cell as [C, heads, W, W]; zero for padding.
fn padded_factors(factors: &[f32], spans: &Spans, device: &Device) -> Result<Tensor> {
    let longest = spans.longest();
    let mut padded = vec![0.0; spans.counts.len() * spans.heads * longest * longest];
    let mut lines = factors;
    for (caption, &count) in spans.counts.iter().enumerate() {
        for head in 0..spans.heads {
            for word in 0..count {
                let (line, rest) = lines.split_at(count);
                let at = ((caption * spans.heads + head) * longest + word) * longest;
                padded[at..at + count].copy_from_slice(line);
                lines = rest;
            }
        }
    }
    let shape = (spans.counts.len(), spans.heads, longest, longest);
    Ok(Tensor::from_vec(padded, shape, device)?)
}

#[cfg(test)]
mod tests;
