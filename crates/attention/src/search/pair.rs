//! The evidence of one pair of packed fragments.

use bytemuck::Pod;
use uard_linalg::panels::Element;

use super::PackedPairs;
use super::listed::panels_of;
use super::tiles::Rows;
use crate::evidence::{PairEvidence, words_evidence};
use crate::kernel::answers::Tile;

impl PackedPairs<'_> {
    /// The evidence of one pair. Words are the queries, whichever sides the similarity has.
    pub(super) fn pair_evidence<T: Element + Pod>(
        &self,
        image: usize,
        caption: usize,
    ) -> PairEvidence {
        let fragments = &self.fragments;
        let similarity = self.listed_similarities::<T>(&[(image, caption)])[0];
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
        PairEvidence {
            similarity: f64::from(similarity),
            words: words_evidence(self.config, self.threshold, &relevance),
        }
    }
}
