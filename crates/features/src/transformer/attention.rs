//! Self-attention with several heads among the valid words of each caption, without padding.
//!
//! Vision transformers use it too: there a caption is a photo, and its words are patches.

mod operator;

use candle_core::{D, DType, Device, Tensor};
use uard_core::softmax::masked_softmax;
use uard_linalg::matmul::Matmul;

use super::MakeTensor;
use super::dense::Dense;
use crate::Result;

/// A finite logit so low that its weight is zero.
const ABSENT: f64 = -1e30;

/// To which words of its caption a word attends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visibility {
    /// All words.
    All,
    /// Itself, and those before it.
    Causal,
}

impl Visibility {
    /// How many of `count` words the word at `position` attends to, from the first word on.
    fn seen(self, position: usize, count: usize) -> usize {
        match self {
            Self::All => count,
            Self::Causal => position + 1,
        }
    }
}

/// The captions of a batch, whose words are rows one after the other, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spans {
    /// The number of words of each caption.
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

    /// How many weights all captions and heads have: a word has one for each word of its caption,
    /// attended to or not.
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
}

/// For each row of captions that are padded to `longest` words, the index of its word among the N
/// valid words; N for padding.
fn words_of_padded_rows(counts: &[usize], longest: usize) -> Vec<u32> {
    let words: usize = counts.iter().sum();
    let mut word_of_row = vec![words as u32; counts.len() * longest];
    let mut word = 0;
    for (caption, &count) in counts.iter().enumerate() {
        for row in &mut word_of_row[caption * longest..][..count] {
            *row = word;
            word += 1;
        }
    }
    word_of_row
}

/// Pads rows of the valid words [N, D] to [C, W, D], where W is `longest`; padding rows are zero.
///
/// # Errors
/// When a tensor operation fails.
pub(crate) fn padded(rows: &Tensor, counts: &[usize], longest: usize) -> Result<Tensor> {
    let (count, width) = rows.dims2()?;
    let shape = (counts.len(), longest, width);
    if count == counts.len() * longest {
        return Ok(rows.reshape(shape)?);
    }
    let word_of_row = Tensor::new(words_of_padded_rows(counts, longest), rows.device())?;
    let padding = Tensor::zeros((1, width), rows.dtype(), rows.device())?;
    let padded = Tensor::cat(&[rows, &padding], 0)?.index_select(&word_of_row, 0)?;
    Ok(padded.reshape(shape)?)
}

/// Attention with the linear layers before and after it.
#[derive(Debug, Clone)]
pub(super) struct SelfAttention {
    query: Dense,
    key: Dense,
    value: Dense,
    output: Dense,
}

impl SelfAttention {
    /// Makes the four layers; `names` are the names of the layers of query, key, value and output.
    pub(super) fn make(make: &mut MakeTensor, names: [String; 4], width: usize) -> Result<Self> {
        let [query, key, value, output] =
            names.map(|name| Dense::make(make, &name, [width, width]));
        Ok(Self {
            query: query?,
            key: key?,
            value: value?,
            output: output?,
        })
    }

    /// The output [N, H] for words [N, H]; `factors` are the factors of dropout, one for each cell.
    pub(super) fn forward(
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

/// The weighted sums of values of each head, side by side.
///
/// ```text
/// a_i = sum_j f_ij w_ij v_j        w_i = softmax_j(q_i · k_j / sqrt(H / heads)), over what i sees
/// ```
///
/// # Shapes
/// query, key, value and result are [N, H], where N is the number of valid words of all captions;
/// `factors` are the factors f of dropout, one for each cell (caption, head, i, j).
///
/// # Errors
/// When a tensor operation fails.
fn attend(words: &Projected, spans: &Spans, factors: Option<Vec<f32>>) -> Result<Tensor> {
    if !words.query.device().is_cpu() {
        return composed(words, spans, factors);
    }
    let Projected { query, key, value } = words;
    let words = Projected {
        query: query.contiguous()?,
        key: key.contiguous()?,
        value: value.contiguous()?,
    };
    Ok(match words.query.dtype() {
        DType::F64 => operator::attend::<f64>(&words, spans, factors)?,
        _ => operator::attend::<f32>(&words, spans, factors)?,
    })
}

/// [`attend`] on padded captions in candle's operations, for any device.
fn composed(words: &Projected, spans: &Spans, factors: Option<Vec<f32>>) -> Result<Tensor> {
    let width = words.query.dim(1)?;
    let (captions, longest) = (spans.counts.len(), spans.longest());
    let device = words.query.device();
    let heads = |tensor: &Tensor| -> Result<Tensor> {
        let padded = padded(tensor, &spans.counts, longest)?;
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
    let mask = mask(spans, device)?.to_dtype(logits.dtype())?;
    let mask = mask.broadcast_as(logits.shape())?.contiguous()?;
    // The softmax subtracts the largest logit, which must not be that of padding.
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

/// The mask [C, 1, W, W]: 1 if a word (third axis) attends to a valid word (fourth axis), else 0.
fn mask(spans: &Spans, device: &Device) -> candle_core::Result<Tensor> {
    let longest = spans.longest();
    let mut cells = Vec::with_capacity(spans.counts.len() * longest * longest);
    for &count in &spans.counts {
        for position in 0..longest {
            let seen = spans.visibility.seen(position, count).min(count);
            cells.extend((0..longest).map(|other| u8::from(other < seen)));
        }
    }
    Tensor::from_vec(cells, (spans.counts.len(), 1, longest, longest), device)
}

/// The factors of dropout of each cell as [C, heads, W, W]; zero for padding.
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
