//! How do the words of a caption, or the patches of a photo, look at each other? Self-attention with
//! several heads, over the valid ones alone.
//!
//! What is said of words and captions here holds for patches and photos too.

mod operator;

use candle_core::{D, DType, Device, Tensor};
use operator::{Attend, Backward};
use uard_core::softmax::masked_softmax;
use uard_linalg::matmul::Matmul;

use super::dense::Dense;
use super::initial::Make;
use crate::Result;

/// A logit from which padding is as good as absent, and still finite.
const ABSENT: f64 = -1e30;

/// Which words of its caption a word sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visibility {
    /// All of them.
    All,
    /// Itself, and those before it.
    Causal,
}

impl Visibility {
    /// How many of `count` words the word at a place sees: they are the first ones.
    fn seen(self, place: usize, count: usize) -> usize {
        match self {
            Self::All => count,
            Self::Causal => place + 1,
        }
    }
}

/// Which words belong together: captions one after the other, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spans {
    counts: Vec<usize>,
    heads: usize,
    visibility: Visibility,
}

impl Spans {
    pub(crate) fn new(counts: &[usize], heads: usize, visibility: Visibility) -> Self {
        Self {
            counts: counts.to_vec(),
            heads,
            visibility,
        }
    }

    /// Weights of all captions and heads: each word with each of its caption, seen or not.
    pub(crate) fn cells(&self) -> usize {
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

/// Attention with the linear layers before and behind it.
#[derive(Debug, Clone)]
pub(crate) struct SelfAttention {
    query: Dense,
    key: Dense,
    value: Dense,
    output: Dense,
}

impl SelfAttention {
    /// Of the names of its layers: query, key, value, output.
    pub(crate) fn make(make: &mut Make, names: [&str; 4], width: usize) -> Result<Self> {
        let mut dense = |name: &str| Dense::make(make, name, [width, width]);
        let [query, key, value, output] = names;
        Ok(Self {
            query: dense(query)?,
            key: dense(key)?,
            value: dense(value)?,
            output: dense(output)?,
        })
    }

    /// What each word makes of those that it sees, [N, H] like `words`.
    pub(crate) fn forward(
        &self,
        words: &Tensor,
        spans: &Spans,
        factors: Option<Vec<f32>>,
        matmul: Matmul,
    ) -> Result<Tensor> {
        let projected = Projected {
            query: self.query.forward(words, matmul)?,
            key: self.key.forward(words, matmul)?,
            value: self.value.forward(words, matmul)?,
        };
        let attended = attend(&projected, spans, factors)?;
        self.output.forward(&attended, matmul)
    }
}

/// Queries, keys and values of the same words.
#[derive(Debug)]
struct Projected {
    query: Tensor,
    key: Tensor,
    value: Tensor,
}

/// The weighted values of each head, side by side.
///
/// ```text
/// a_i = sum_j f_ij w_ij v_j        w_i = softmax_j(q_i · k_j / sqrt(H / heads)), over what i sees
/// ```
///
/// # Shapes
/// query, key, value and result are [N, H], N the valid words of all captions; `factors` are those
/// of dropout, one for each cell (caption, head, i, j).
///
/// # Errors
/// When a tensor operation fails.
fn attend(words: &Projected, spans: &Spans, factors: Option<Vec<f32>>) -> Result<Tensor> {
    if !words.query.device().is_cpu() {
        return composed(words, spans, factors);
    }
    let Projected { query, key, value } = words;
    let (query, key, value) = (query.contiguous()?, key.contiguous()?, value.contiguous()?);
    let spans = spans.clone();
    let backward = match [&query, &key, &value].map(Tensor::track_op) {
        [false, false, false] => Backward::Never,
        _ => Backward::Follows,
    };
    Ok(match query.dtype() {
        DType::F64 => {
            query.apply_op3(&key, &value, Attend::<f64>::new(spans, factors, backward))?
        }
        _ => query.apply_op3(&key, &value, Attend::<f32>::new(spans, factors, backward))?,
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
    let seen = seen(spans.visibility, longest, device)?.to_dtype(logits.dtype())?;
    let mask = valid.broadcast_mul(&seen)?.broadcast_as(logits.shape())?;
    let mask = mask.contiguous()?;
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

/// 1 for each word that a word sees, [1, 1, W, W].
fn seen(visibility: Visibility, longest: usize, device: &Device) -> candle_core::Result<Tensor> {
    let cells = (0..longest).flat_map(|place| {
        let seen = visibility.seen(place, longest);
        (0..longest).map(move |other| u8::from(other < seen))
    });
    Tensor::from_vec(cells.collect(), (1, 1, longest, longest), device)
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
