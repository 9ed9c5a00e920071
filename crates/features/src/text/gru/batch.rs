//! `CaptionBatch`: padded word ids with the number of words of each caption.

use candle_core::{Device, Tensor};

use crate::text::TextError;
use crate::{Error, Result};

/// The word ids of a batch of captions.
///
/// # Shapes
/// ids [C, W] u32; for `w >= counts[c]`, `ids[c, w]` is padding, which no encoder reads.
#[derive(Debug, Clone)]
pub struct CaptionBatch {
    ids: Tensor,
    /// The ids of the valid words, caption after caption, in host memory.
    words: Vec<u32>,
    counts: Vec<usize>,
}

impl CaptionBatch {
    /// A batch of ids that are padded already. Ids on a GPU are copied to host memory once.
    ///
    /// # Shapes
    /// `ids` [C, W] u32; `counts` C numbers from 1 to W.
    ///
    /// # Errors
    /// When a caption has no words, or the counts do not fit the ids.
    pub fn new(ids: Tensor, counts: Vec<usize>) -> Result<Self> {
        let rows = ids.to_vec2::<u32>()?;
        let valid = rows.iter().zip(&counts);
        let words = valid
            .flat_map(|(row, &count)| row.iter().take(count).copied())
            .collect();
        Self::checked(ids, words, counts)
    }

    fn checked(ids: Tensor, words: Vec<u32>, counts: Vec<usize>) -> Result<Self> {
        let (captions, longest) = ids.dims2()?;
        if counts.len() != captions {
            return Err(Error::Core(uard_core::Error::ShapeMismatch {
                tensor: "counts of captions".to_owned(),
                axis: "C",
                expected: captions,
                found: counts.len(),
            }));
        }
        for (caption, &count) in counts.iter().enumerate() {
            if count == 0 {
                return Err(Error::Text(TextError::CaptionWithoutWords { caption }));
            }
            if count > longest {
                return Err(Error::Core(uard_core::Error::CountOutOfRange {
                    tensor: "captions",
                    index: caption,
                    count,
                    longest,
                }));
            }
        }
        Ok(Self { ids, words, counts })
    }

    /// Pads captions to the longest among them.
    ///
    /// # Errors
    /// When there is no caption, or one has no words.
    ///
    /// ```
    /// use candle_core::Device;
    /// use uard_features::text::gru::CaptionBatch;
    ///
    /// let batch = CaptionBatch::pad(&[vec![1, 5, 2], vec![1, 2]], 0, &Device::Cpu)?;
    /// assert_eq!(batch.ids().to_vec2::<u32>()?, [[1, 5, 2], [1, 2, 0]]);
    /// assert_eq!(batch.counts(), [3, 2]);
    /// # Ok::<(), uard_features::Error>(())
    /// ```
    pub fn pad(captions: &[Vec<u32>], pad_id: u32, device: &Device) -> Result<Self> {
        let counts: Vec<usize> = captions.iter().map(Vec::len).collect();
        let longest = counts.iter().copied().max().ok_or(TextError::EmptyBatch)?;
        let mut ids = Vec::with_capacity(captions.len() * longest);
        for caption in captions {
            ids.extend_from_slice(caption);
            ids.resize(ids.len() + longest - caption.len(), pad_id);
        }
        let ids = Tensor::from_vec(ids, (captions.len(), longest), device)?;
        Self::checked(ids, captions.concat(), counts)
    }

    /// The padded ids.
    pub fn ids(&self) -> &Tensor {
        &self.ids
    }

    /// The number of words of each caption.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// The ids of the N valid words, caption after caption.
    pub(in crate::text) fn words(&self) -> &[u32] {
        &self.words
    }

    /// Checks that no caption has more words than a model has positions.
    pub(in crate::text) fn check_lengths(&self, positions: usize) -> Result<()> {
        let is_too_long = |&count: &usize| count > positions;
        match self.counts.iter().position(is_too_long) {
            Some(caption) => Err(Error::Text(TextError::CaptionTooLong {
                caption,
                words: self.counts[caption],
                positions,
            })),
            None => Ok(()),
        }
    }

    /// Checks that every word has a row in an embedding of `vocabulary` rows.
    pub(in crate::text) fn check_vocabulary(&self, vocabulary: usize) -> Result<()> {
        let is_unknown = |&id: &u32| id as usize >= vocabulary;
        let Some(row) = self.words.iter().position(is_unknown) else {
            return Ok(());
        };
        let (mut caption, mut word) = (0, row);
        while word >= self.counts[caption] {
            word -= self.counts[caption];
            caption += 1;
        }
        Err(Error::Text(TextError::WordOutOfVocabulary {
            caption,
            word,
            id: self.words[row],
            vocabulary,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_without_words_is_refused_by_number() {
        let error = CaptionBatch::pad(&[vec![3], vec![]], 0, &Device::Cpu).unwrap_err();
        assert!(error.to_string().contains("caption 1"), "{error}");
        assert!(CaptionBatch::pad(&[], 0, &Device::Cpu).is_err());
    }

    #[test]
    fn counts_that_do_not_fit_the_ids_are_refused() {
        let ids = Tensor::zeros((2, 3), candle_core::DType::U32, &Device::Cpu).unwrap();
        assert!(CaptionBatch::new(ids.clone(), vec![1]).is_err());
        let error = CaptionBatch::new(ids, vec![1, 4]).unwrap_err();
        assert!(error.to_string().contains("expected 1 to 3"), "{error}");
    }

    #[test]
    fn an_id_beyond_the_vocabulary_is_refused_unless_it_is_padding() {
        let batch = CaptionBatch::pad(&[vec![3, 1], vec![4]], 99, &Device::Cpu).unwrap();
        batch.check_vocabulary(5).unwrap();
        let error = batch.check_vocabulary(4).unwrap_err().to_string();
        assert!(
            error.contains("caption 1") && error.contains("id 4"),
            "{error}"
        );
    }
}
