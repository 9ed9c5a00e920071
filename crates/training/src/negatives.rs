//! Which mismatched pairs of a batch push against a matched one?

/// Which negatives count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negatives {
    /// Every mismatched pair: the warm-up, when the hardest are still noise.
    All,
    /// The most similar one alone; of equally similar ones the first.
    Hardest,
}

/// The captions of a batch and the images they belong to, each image once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairing {
    image_of_caption: Vec<usize>,
    images: usize,
}

impl Pairing {
    /// Captions `0..` by the index of their image in the batch.
    ///
    /// The images are as many as the largest index says.
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

    /// Images I.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Captions C.
    pub fn captions(&self) -> usize {
        self.image_of_caption.len()
    }

    /// Captions of other images that push against this caption's image.
    pub fn mismatched_captions(&self, caption: usize) -> impl Iterator<Item = usize> {
        let image = self.image_of_caption[caption];
        (0..self.captions()).filter(move |&other| self.image_of_caption[other] != image)
    }

    /// Images that push against this caption.
    pub fn mismatched_images(&self, caption: usize) -> impl Iterator<Item = usize> {
        let image = self.image_of_caption[caption];
        (0..self.images).filter(move |&other| other != image)
    }
}

/// The first of the most similar candidates.
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
