//! References of a normalization: captions and images of the training split that a split is compared with.

use uard_attention::Kept;
use uard_core::random::{Draws, permutation};
use uard_data::dataset::Split;
use uard_eval::{ReferenceSimilarities, SimilarityMatrix};

use super::{Encoded, Encoding, Matching};
use crate::Result;

/// Nearest-neighbour normalization ([`SimilarityMatrix::normalized`]).
#[derive(Debug, Clone, Copy)]
pub struct Normalization<'a> {
    /// The weight of the offsets, 0 to 1.
    pub weight: f64,
    /// The training split. Of its captions 3,000 and of its images 1,000 are references, drawn, the
    /// same for every run, or all where there are fewer.
    pub train: &'a Split,
}

/// The most reference captions.
const REFERENCE_CAPTIONS: usize = 3000;

/// The most reference images.
const REFERENCE_IMAGES: usize = 1000;

/// The captions and images of the training split that a normalization compares with.
pub(super) struct References<'a> {
    weight: f64,
    train: &'a Split,
    captions: Vec<&'a str>,
    images: Vec<usize>,
}

impl<'a> References<'a> {
    pub(super) fn draw(Normalization { weight, train }: Normalization<'a>) -> Self {
        let captions = drawn("captions", train.captions.len(), REFERENCE_CAPTIONS);
        let captions = captions.into_iter().map(|at| train.captions[at].as_str());
        Self {
            weight,
            train,
            captions: captions.collect(),
            images: drawn("images", train.images(), REFERENCE_IMAGES),
        }
    }

    /// Number of images and captions together.
    pub(super) fn entries(&self) -> usize {
        self.images.len() + self.captions.len()
    }

    /// Number of pairs of a split with references.
    pub(super) fn pairs(&self, split: &Split) -> usize {
        split.images() * self.captions.len() + self.images.len() * split.captions.len()
    }

    pub(super) fn encode(&self, encoding: &mut Encoding<'_>) -> Result<Encoded> {
        Ok(Encoded {
            regions: encoding.regions(self.train, &self.images, |_| ())?,
            words: encoding.words(&self.captions, |_, _| Ok(()))?,
        })
    }

    /// The normalized similarities of a split, and what is above the threshold. All are computed in the
    /// precision of the search, because after the subtraction any pair may be near the matched one.
    pub(super) fn normalized(
        &self,
        matching: &mut Matching<'_>,
        split: &Encoded,
        references: &Encoded,
    ) -> Result<(SimilarityMatrix, Kept)> {
        let (similarities, kept) = matching.similarities(&split.regions, &split.words, None)?;
        let (captions, _) = matching.similarities(&split.regions, &references.words, None)?;
        let (images, _) = matching.similarities(&references.regions, &split.words, None)?;
        let references = ReferenceSimilarities { captions, images };
        Ok((similarities.normalized(&references, self.weight)?, kept))
    }
}

/// At most `most` of `count` indices in rising order, the same at every call; `what` names the draw.
fn drawn(what: &str, count: usize, most: usize) -> Vec<usize> {
    let mut stream = Draws::new(0).stream(&format!("reference {what}"), &[]);
    let mut chosen = permutation(&mut stream, count);
    chosen.truncate(most);
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_drawn_from_all_of_the_split_and_the_same_every_time() {
        let chosen = drawn("captions", 30_000, 3000);
        assert_eq!(chosen, drawn("captions", 30_000, 3000));
        assert_eq!(chosen.len(), 3000);
        assert!(chosen.is_sorted_by(|a, b| a < b) && chosen[2999] < 30_000);
        // Captions are stored image by image: each of the five of an image is a reference as often.
        for position in 0..5 {
            let count = chosen.iter().filter(|&at| at % 5 == position).count();
            assert!((500..700).contains(&count), "{position}: {count}");
        }
        assert_ne!(chosen, drawn("images", 30_000, 3000));
        assert_eq!(drawn("images", 3, 1000), [0, 1, 2]);
    }
}
