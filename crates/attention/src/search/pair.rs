//! Why one pair of packed fragments has its similarity.

use half::bf16;

use super::Search;
use super::listed::{check_index, panels_of};
use super::tiles::{Fragments, Numbers, Rows};
use crate::evidence::{PairEvidence, words_evidence};
use crate::kernel::answers::Tile;
use crate::{PackedRegions, PackedWords, Precision, Result};

impl Search {
    /// The evidence of one pair: words asking, whatever sides the similarity has.
    ///
    /// # Errors
    /// When an index is out of range, the widths differ, or the fragments are not packed for the
    /// precision.
    pub fn evidence(
        &self,
        regions: &PackedRegions,
        image: usize,
        words: &PackedWords,
        caption: usize,
    ) -> Result<PairEvidence> {
        let fragments = self.fragments(regions, words)?;
        check_index("image", image, regions.images())?;
        check_index("caption", caption, words.captions())?;
        let pair = (image, caption);
        let (similarity, relevance) = match self.precision() {
            Precision::F32 | Precision::Exact => {
                self.similarity_and_relevance::<f32>(&fragments, pair)
            }
            Precision::Bf16 => self.similarity_and_relevance::<bf16>(&fragments, pair),
        };
        Ok(PairEvidence {
            similarity: f64::from(similarity),
            words: words_evidence(self.config(), self.threshold(), &relevance),
        })
    }

    fn similarity_and_relevance<T: Numbers>(
        &self,
        fragments: &Fragments<'_>,
        (image, caption): (usize, usize),
    ) -> (f32, Vec<Vec<f64>>) {
        let similarity = self.similarities_of::<T>(fragments, &[(image, caption)])[0];
        let panels = panels_of(fragments.regions, image);
        let columns = fragments.image_columns(image, panels.start);
        let mut relevance = Vec::new();
        let mut on_caption = |_, tile: Tile<'_>| {
            for row in tile.cells.chunks_exact(tile.stride) {
                let row = &row[columns.start..][..columns.count];
                relevance.push(row.iter().copied().map(f64::from).collect());
            }
        };
        let captions = caption..caption + 1;
        fragments.stream::<T>(panels, captions, &mut Rows::default(), &mut on_caption);
        (similarity, relevance)
    }
}
