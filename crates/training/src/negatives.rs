//! The negatives of a batch: which mismatched pairs enter the loss of a matched one.

/// Which negatives enter the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negatives {
    /// Every mismatched pair. Used in the warm-up, when similarities are still noise.
    All,
    /// Only the most similar mismatched pair; of equally similar ones the first.
    Hardest,
}

/// The captions of a batch and the images they belong to, each image once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairing {
    image_of_caption: Vec<usize>,
    images: usize,
}

impl Pairing {
    /// Makes a pairing from the index of each caption's image in the batch.
    ///
    /// The number of images is the largest index plus one.
    pub fn new(image_of_caption: Vec<usize>) -> Self {
        let images = image_of_caption
            .iter()
            .map(|&image| image + 1)
            .max()
            .unwrap_or(0);
        Self {
            image_of_caption,
            images,
        }
    }

    /// Image of each caption.
    pub fn image_of_caption(&self) -> &[usize] {
        &self.image_of_caption
    }

    /// Number of images I.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Number of captions C.
    pub fn captions(&self) -> usize {
        self.image_of_caption.len()
    }

    /// The negatives of this caption's image: all captions of other images.
    pub fn mismatched_captions(&self, caption: usize) -> impl Iterator<Item = usize> {
        let image = self.image_of_caption[caption];
        (0..self.captions()).filter(move |&other| self.image_of_caption[other] != image)
    }

    /// The negatives of this caption: all images but its own.
    pub fn mismatched_images(&self, caption: usize) -> impl Iterator<Item = usize> {
        let image = self.image_of_caption[caption];
        (0..self.images).filter(move |&other| other != image)
    }
}

/// The most similar candidate; of equal ones the first, and `None` without candidates.
pub fn hardest(
    candidates: impl Iterator<Item = usize>,
    similarity: impl Fn(usize) -> f32,
) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for candidate in candidates {
        let value = similarity(candidate);
        if best.is_none_or(|(_, highest)| value > highest) {
            best = Some((candidate, value));
        }
    }
    best.map(|(candidate, _)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_of_the_same_image_are_never_negatives() {
        let pairing = Pairing::new(vec![0, 1, 0]);
        assert_eq!(pairing.mismatched_captions(0).collect::<Vec<_>>(), [1]);
        assert_eq!(pairing.mismatched_captions(1).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(pairing.mismatched_images(2).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn of_equally_similar_negatives_the_first_is_hardest() {
        let values = [0.1, 0.7, 0.7];
        assert_eq!(hardest(0..3, |index| values[index]), Some(1));
        assert_eq!(hardest(0..0, |_| 0.0), None);
    }
}
