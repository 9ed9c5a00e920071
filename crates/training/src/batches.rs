//! Cuts the captions of a split into batches, in a new seeded order each epoch.

use uard_core::random::{Draws, permutation};

use crate::negatives::Pairing;
use crate::{Error, Result};

/// The indices of a batch: its captions, and the images they belong to, each image once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Indices of captions of the split, in the order of the batch.
    pub captions: Vec<usize>,
    /// Indices of images of the split, in the order of their first caption in the batch.
    pub images: Vec<usize>,
    /// For each caption the index into `images` of its image.
    pub pairing: Pairing,
}

/// Cuts the captions of a split into the batches of each epoch.
///
/// The order is a seeded permutation of all captions, a new one each epoch. The last, partial
/// batch is used when it has more captions than any one image has, because then it holds at least
/// two images; otherwise its captions are left out of that epoch. Every epoch has the same number
/// of batches.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    image_of_caption: &'a [usize],
    size: usize,
    per_epoch: usize,
    draws: Draws,
}

impl<'a> Batches<'a> {
    /// Batches of `size` captions. `split` is its name, for errors.
    ///
    /// # Errors
    /// When a batch of `size` captions may hold one image only, or when the split has too few
    /// captions for one batch.
    pub fn new(
        image_of_caption: &'a [usize],
        size: usize,
        draws: Draws,
        split: &str,
    ) -> Result<Self> {
        let captions = image_of_caption.len();
        let most = most_captions_of_an_image(image_of_caption);
        let too_little = |cause: String| Error::TooLittleData {
            split: split.to_owned(),
            captions,
            cause,
        };
        if size <= most {
            return Err(too_little(format!(
                "one image has {most}, so a batch of {size} may hold captions of one image only \
                 and no negative; set training.batch above {most}"
            )));
        }
        let per_epoch = captions / size + usize::from(captions % size > most);
        if per_epoch == 0 {
            return Err(too_little(format!(
                "expected more than {most}, so that a batch holds at least two images"
            )));
        }
        Ok(Self {
            image_of_caption,
            size,
            per_epoch,
            draws,
        })
    }

    /// Number of batches in every epoch.
    pub fn per_epoch(&self) -> usize {
        self.per_epoch
    }

    /// The batches of an epoch, starting with batch `from`, counted from 0.
    pub fn epoch(&self, epoch: usize, from: usize) -> Vec<Batch> {
        let captions = self.image_of_caption.len();
        let order = permutation(
            &mut self.draws.stream("epoch order", &[epoch as u64]),
            captions,
        );
        let chunks = order.chunks(self.size).take(self.per_epoch).skip(from);
        chunks.map(|chunk| self.batch(chunk.to_vec())).collect()
    }

    fn batch(&self, captions: Vec<usize>) -> Batch {
        let mut images: Vec<usize> = Vec::new();
        let mut image_of_caption = Vec::with_capacity(captions.len());
        for &caption in &captions {
            let image = self.image_of_caption[caption];
            let position = images
                .iter()
                .position(|&seen| seen == image)
                .unwrap_or_else(|| {
                    images.push(image);
                    images.len() - 1
                });
            image_of_caption.push(position);
        }
        Batch {
            captions,
            images,
            pairing: Pairing::new(image_of_caption),
        }
    }
}

fn most_captions_of_an_image(image_of_caption: &[usize]) -> usize {
    let images = image_of_caption
        .iter()
        .map(|&image| image + 1)
        .max()
        .unwrap_or(0);
    let mut captions = vec![0usize; images];
    image_of_caption
        .iter()
        .for_each(|&image| captions[image] += 1);
    captions.into_iter().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_each(images: usize) -> Vec<usize> {
        (0..2 * images).map(|caption| caption / 2).collect()
    }

    #[test]
    fn an_epoch_holds_every_caption_once_and_each_image_once_a_batch() {
        let owners = two_each(10);
        let batches = Batches::new(&owners, 8, Draws::new(0), "train").unwrap();
        assert_eq!(batches.per_epoch(), 3);
        let mut seen = Vec::new();
        for batch in batches.epoch(1, 0) {
            for (&caption, &image) in batch.captions.iter().zip(batch.pairing.image_of_caption()) {
                assert_eq!(batch.images[image], owners[caption]);
            }
            let mut images = batch.images.clone();
            images.sort_unstable();
            images.dedup();
            assert_eq!(images.len(), batch.images.len());
            seen.extend(batch.captions);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn an_epoch_can_start_at_any_batch_and_differs_from_the_next() {
        let owners = two_each(10);
        let batches = Batches::new(&owners, 8, Draws::new(0), "train").unwrap();
        assert_eq!(batches.epoch(2, 0)[1..], batches.epoch(2, 1));
        assert_ne!(batches.epoch(1, 0), batches.epoch(2, 0));
    }

    #[test]
    fn a_last_batch_that_may_hold_one_image_only_is_dropped() {
        let owners = two_each(9);
        let batches = Batches::new(&owners, 8, Draws::new(0), "train").unwrap();
        assert_eq!(batches.epoch(1, 0).len(), 2);
    }

    #[test]
    fn too_few_captions_are_refused_with_advice() {
        let error = Batches::new(&[0, 0, 0], 3, Draws::new(0), "train").unwrap_err();
        assert!(
            error.to_string().contains("set training.batch above 3"),
            "{error}"
        );
        let error = Batches::new(&[0, 0], 3, Draws::new(0), "train").unwrap_err();
        assert!(error.to_string().contains("two images"), "{error}");
    }
}
