//! Computes the similarities of regions and words that are kept as tensors, tile by tile, by the
//! matcher or by the scalar reference.

use candle_core::DType;
use uard_core::{Regions, Words};

use super::by_reference::reference_block;
use super::sides::Batches;
use super::{AllPairs, MatrixOutput, Pairs, Preserve, Preserved, Search, TopK};
use crate::evidence::{PairEvidence, evidence};
use crate::results::NO_PROGRESS;
use crate::{Engine, Kept, Result};

/// The most cells of relevance (C W I R) of a tile: 32 MB of f32.
const CELLS_IN_A_TILE: usize = 8 << 20;

/// The most cells of a tile of the reference, which is slow: smaller tiles report progress more often.
const CELLS_OF_THE_REFERENCE: usize = 1 << 17;

/// All batches of regions and words of a search.
///
/// Beside them and the result, memory is needed for one tile's relevance (32 MB of f32, or one pair if
/// that is larger). Similarities differ from those of [`crate::Matcher::similarities`] on all entries at
/// once by rounding only.
pub(super) struct TensorPairs<'a> {
    pub search: &'a Search,
    pub regions: &'a Batches<Regions>,
    pub words: &'a Batches<Words>,
}

impl TensorPairs<'_> {
    fn is_reference(&self) -> bool {
        self.search.running().engine() == Engine::Reference
    }

    /// The similarities of every pair of a block [I, C], and counts of what is above the threshold.
    fn block(&self, regions: &Regions, words: &Words) -> Result<AllPairs> {
        let Search {
            matcher, threshold, ..
        } = self.search;
        if self.is_reference() {
            return reference_block(matcher.config(), *threshold, regions, words);
        }
        let found = matcher.similarities(regions, words, *threshold)?;
        let values = found.values.to_dtype(DType::F32)?.flatten_all()?;
        Ok(AllPairs {
            values: values.to_vec1()?,
            kept: found.kept()?,
        })
    }

    /// Regions of one image and words of one caption.
    fn pair(&self, image: usize, caption: usize) -> Result<(Regions, Words)> {
        let (regions, at) = self.regions.find(image, Regions::images)?;
        let regions = regions.narrow(at, 1)?;
        let (words, at) = self.words.find(caption, Words::captions)?;
        Ok((regions, words.narrow(at, 1)?))
    }
}

impl Pairs for TensorPairs<'_> {
    fn similarities(&self, _: Option<&Preserve<'_>>, out: MatrixOutput<'_>) -> Result<Preserved> {
        let (out, on_progress) = (out.values, out.on_progress);
        let captions = self.words.counts.len();
        let (mut kept, mut done, all) = (Kept::default(), 0, out.len());
        let cells = match self.is_reference() {
            true => CELLS_OF_THE_REFERENCE,
            false => CELLS_IN_A_TILE,
        };
        let mut first_caption = 0;
        for words in &self.words.batches {
            let mut first_image = 0;
            for regions in &self.regions.batches {
                for tile in Tile::all(regions, words, cells) {
                    let tile_regions = regions.narrow(tile.image, tile.images)?;
                    let tile_words = words.narrow(tile.caption, tile.captions)?;
                    let found = self.block(&tile_regions, &tile_words)?;
                    kept += found.kept;
                    for (row, values) in found.values.chunks(tile.captions).enumerate() {
                        let row = (first_image + tile.image + row) * captions;
                        let start = row + first_caption + tile.caption;
                        out[start..start + values.len()].copy_from_slice(values);
                    }
                    done += found.values.len();
                    on_progress(done, all);
                }
                first_image += regions.images();
            }
            first_caption += words.captions();
        }
        Ok(Preserved {
            kept,
            recomputed: 0,
        })
    }

    fn top_k(&self, k: usize) -> Result<TopK> {
        let captions = self.words.counts.len();
        let mut values = vec![0.0; self.regions.counts.len() * captions];
        let out = MatrixOutput {
            values: &mut values,
            on_progress: NO_PROGRESS,
        };
        let kept = self.similarities(None, out)?.kept;
        Ok(AllPairs { values, kept }.top_k(captions, k))
    }

    fn listed(&self, pairs: &[(usize, usize)]) -> Result<Vec<f32>> {
        let similarity = |&(image, caption): &(usize, usize)| {
            let (regions, words) = self.pair(image, caption)?;
            Ok(self.block(&regions, &words)?.values[0])
        };
        pairs.iter().map(similarity).collect()
    }

    fn evidence(&self, image: usize, caption: usize) -> Result<PairEvidence> {
        let (regions, words) = self.pair(image, caption)?;
        let found = evidence(
            &self.search.matcher,
            &regions,
            &words,
            self.search.threshold,
        )?;
        let similarity = match self.is_reference() {
            true => f64::from(self.block(&regions, &words)?.values[0]),
            false => found.similarity,
        };
        Ok(PairEvidence {
            similarity,
            ..found
        })
    }
}

/// A range of images of one batch with a range of captions of another.
struct Tile {
    /// The first image.
    image: usize,
    images: usize,
    /// The first caption.
    caption: usize,
    captions: usize,
}

impl Tile {
    /// Cuts two batches into tiles of at most `cells` cells, with about as many captions as images.
    fn all(regions: &Regions, words: &Words, cells: usize) -> Vec<Self> {
        let cells_of_a_pair = (regions.longest() * words.longest()).max(1);
        let pairs = (cells / cells_of_a_pair).max(1);
        let captions = (pairs as f64).sqrt().ceil() as usize;
        let captions = captions.clamp(1, words.captions().max(1));
        let images = pairs.div_ceil(captions).clamp(1, regions.images().max(1));
        let mut tiles = Vec::new();
        for image in (0..regions.images()).step_by(images) {
            for caption in (0..words.captions()).step_by(captions) {
                tiles.push(Self {
                    image,
                    images: images.min(regions.images() - image),
                    caption,
                    captions: captions.min(words.captions() - caption),
                });
            }
        }
        tiles
    }
}
