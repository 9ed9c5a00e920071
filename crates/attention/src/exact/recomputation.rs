//! What are listed pairs in f32? The bits of the run over all pairs, from the words that see anything.
//!
//! Rows of the words of many captions are gathered into panels and multiplied with the panels of an
//! image. A word that bf16 proves to see nothing is not multiplied: its row holds [`UNSEEN`].

use rayon::prelude::*;
use uard_core::panels::{PANEL, RowPanels, product};

use super::Course;
use crate::kernel::answers::{CaptionPairs, Reach, SLACK, Scratch, Tile};
use crate::search::listed::panels_of;

/// A relevance that no threshold lets pass, wherever it stands for a cell that is proven not to.
///
/// A threshold below it keeps every cell visible, so no word is left out then.
const UNSEEN: f32 = -2.0;

/// Rows that are multiplied at once: with the depth of 1024, a quarter of a megabyte.
const ROWS: usize = 4 * PANEL;

/// Pairs that a thread computes at once.
const PAIRS_IN_A_GROUP: usize = 256;

/// A pair that is to be computed in f32.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub image: usize,
    pub caption: usize,
    pub reach: Reach,
}

/// Buffers that are reused from group to group.
#[derive(Debug, Default)]
struct Buffers {
    panels: Vec<f32>,
    relevance: Vec<f32>,
    tile: Vec<f32>,
    scratch: Scratch,
}

impl Course<'_> {
    /// The similarity in f32 of each pair, in the order that they end up in: by image.
    pub(super) fn recompute(&self, pairs: &mut [Open]) -> Vec<f32> {
        pairs.par_sort_unstable_by_key(|pair| (pair.image, pair.caption));
        let images = pairs.chunk_by(|a, b| a.image == b.image);
        let groups: Vec<&[Open]> = images
            .flat_map(|image| image.chunks(PAIRS_IN_A_GROUP))
            .collect();
        let found: Vec<Vec<f32>> = groups
            .into_par_iter()
            .map_init(Buffers::default, |buffers, group| {
                self.recompute_group(group, buffers)
            })
            .collect();
        found.concat()
    }

    /// The places of a pair's words that see anything.
    pub(super) fn seeing(&self, pair: &Open) -> impl Iterator<Item = usize> + use<> {
        let words = self.fragments.words;
        let (first, reach) = (words.place(pair.caption), pair.reach);
        let words = 0..words.counts()[pair.caption];
        words
            .filter(move |&word| reach.sees(word))
            .map(move |word| first + word)
    }

    /// Pairs of one image.
    fn recompute_group(&self, pairs: &[Open], buffers: &mut Buffers) -> Vec<f32> {
        let fragments = self.fragments;
        let image = pairs[0].image;
        let panels = panels_of(fragments.regions, image);
        let columns = [fragments.image_columns(image, panels.start)];
        let stride = panels.len() * PANEL + SLACK;
        let rows: Vec<usize> = pairs.iter().flat_map(|pair| self.seeing(pair)).collect();
        self.multiply(&rows, panels, stride, buffers);
        let mut seen = buffers.relevance.chunks_exact(stride);
        let mut similarities = vec![0.0; pairs.len()];
        for (pair, similarity) in pairs.iter().zip(&mut similarities) {
            let words = fragments.words.counts()[pair.caption];
            buffers.tile.clear();
            buffers.tile.resize(words * stride, UNSEEN);
            let rows = buffers.tile.chunks_exact_mut(stride).enumerate();
            for (_, row) in rows.filter(|(word, _)| pair.reach.sees(*word)) {
                if let Some(seen) = seen.next() {
                    row.copy_from_slice(seen);
                }
            }
            let tile = Tile {
                cells: &buffers.tile,
                stride,
                words,
            };
            let pairs = CaptionPairs {
                tile,
                word_gram: fragments.words.gram(pair.caption),
                images: &columns,
            };
            let out = std::slice::from_mut(similarity);
            self.answers.of_caption(&pairs, &mut buffers.scratch, out);
        }
        similarities
    }

    /// Relevance of listed rows with some panels of regions.
    fn multiply(
        &self,
        rows: &[usize],
        panels: std::ops::Range<usize>,
        stride: usize,
        buffers: &mut Buffers,
    ) {
        let words = self.fragments.words.f32();
        let columns = self.fragments.regions.f32().slice(panels);
        let depth = words.depth();
        let height = rows.len().next_multiple_of(PANEL);
        buffers.relevance.resize(height * stride, 0.0);
        buffers.panels.resize(ROWS * depth, 0.0);
        let outs = buffers.relevance.chunks_mut(ROWS * stride);
        for (rows, out) in rows.chunks(ROWS).zip(outs) {
            for (to, &row) in rows.iter().enumerate() {
                words.copy_row(row, &mut buffers.panels, to);
            }
            // Rows beyond the last hold what was there before, and are not read.
            let height = rows.len().next_multiple_of(PANEL);
            let rows = RowPanels::new(&buffers.panels[..height * depth], depth);
            product(self.fragments.instructions, rows, columns, out, stride);
        }
    }
}
