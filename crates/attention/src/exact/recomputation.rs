//! What are listed pairs in f32? The bits of the run over all pairs, from the panels that are seen.
//!
//! The rows of words of many captions that may see something in a panel of regions are gathered and
//! multiplied with it. What bf16 proves not to be seen is not multiplied: [`UNSEEN`] stands there.

use rayon::prelude::*;
use uard_linalg::panels::{PANEL, RowPanels, product};

use super::Course;
use crate::kernel::answers::{CaptionPairs, Cut, SLACK, Scratch, Seen, Tile};
use crate::search::panels_of;

/// A relevance that no threshold lets pass, where it stands for cells that are proven not to.
///
/// With a threshold at or below zero nothing is proven, and everything is multiplied.
const UNSEEN: f32 = -2.0;

/// Rows that are multiplied at once: with the depth of 1024, a quarter of a megabyte.
const ROWS: usize = 4 * PANEL;

/// Captions whose pairs with an image are computed together: their rows stay in the last cache while
/// the images pass.
const CAPTIONS_IN_A_GROUP: usize = 128;

/// A pair that is to be computed in f32.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub image: usize,
    pub caption: usize,
    pub seen: Seen,
}

/// Buffers that are reused from group to group.
#[derive(Debug, Default)]
struct Buffers {
    /// Gathered rows, packed.
    rows: Vec<f32>,
    /// For each panel of the image the rows that see something there.
    seeing: Vec<Seeing>,
    tile: Vec<f32>,
    scratch: Scratch,
}

#[derive(Debug, Default)]
struct Seeing {
    /// Places of the words.
    words: Vec<usize>,
    /// Their relevance, rows of one panel.
    relevance: Vec<f32>,
}

impl Course<'_> {
    /// The similarity in f32 of each pair, in the order that they end up in; and the cells that were
    /// multiplied.
    pub(super) fn recompute(&self, pairs: &mut [Open]) -> (Vec<f32>, usize) {
        let group = |pair: &Open| (pair.caption / CAPTIONS_IN_A_GROUP, pair.image);
        pairs.par_sort_unstable_by_key(|pair| (group(pair), pair.caption));
        let groups: Vec<&[Open]> = pairs.chunk_by(|a, b| group(a) == group(b)).collect();
        let found: Vec<(Vec<f32>, usize)> = groups
            .into_par_iter()
            .map_init(Buffers::default, |buffers, group| {
                self.recompute_group(group, buffers)
            })
            .collect();
        let cells = found.iter().map(|(_, cells)| cells).sum();
        let similarities = found.into_iter().flat_map(|(found, _)| found);
        (similarities.collect(), cells)
    }

    /// Pairs of one image with captions that lie near each other.
    fn recompute_group(&self, pairs: &[Open], buffers: &mut Buffers) -> (Vec<f32>, usize) {
        let fragments = self.fragments;
        let image = pairs[0].image;
        let panels = panels_of(fragments.regions, image);
        let columns = [fragments.image_columns(image, panels.start)];
        let own = (columns[0].start, columns[0].count);
        let counts = fragments.words.counts();
        let cut = |pair: &Open| Cut::new(counts[pair.caption], own);
        buffers.seeing.resize_with(panels.len(), Seeing::default);
        let mut cells = 0;
        for (panel, seeing) in buffers.seeing.iter_mut().enumerate() {
            seeing.words.clear();
            for pair in pairs {
                let (cut, first) = (cut(pair), fragments.words.place(pair.caption));
                let words = 0..counts[pair.caption];
                let words = words.filter(|&word| pair.seen.sees(&cut, word, panel));
                seeing.words.extend(words.map(|word| first + word));
            }
            self.multiply(panels.start + panel, seeing, &mut buffers.rows);
            cells += seeing.words.len() * PANEL;
        }
        let stride = panels.len() * PANEL + SLACK;
        let mut seen: Vec<_> = buffers
            .seeing
            .iter()
            .map(|seeing| seeing.relevance.chunks_exact(PANEL))
            .collect();
        let mut similarities = vec![0.0; pairs.len()];
        for (pair, similarity) in pairs.iter().zip(&mut similarities) {
            let (cut, words) = (cut(pair), counts[pair.caption]);
            buffers.tile.clear();
            buffers.tile.resize(words * stride, UNSEEN);
            for (panel, rows) in seen.iter_mut().enumerate() {
                for word in (0..words).filter(|&word| pair.seen.sees(&cut, word, panel)) {
                    if let Some(row) = rows.next() {
                        let start = word * stride + panel * PANEL;
                        buffers.tile[start..start + PANEL].copy_from_slice(row);
                    }
                }
            }
            let pairs = CaptionPairs {
                tile: Tile {
                    cells: &buffers.tile,
                    stride,
                    words,
                },
                word_gram: fragments.words.gram(pair.caption),
                images: &columns,
            };
            let out = std::slice::from_mut(similarity);
            self.answers.of_caption(&pairs, &mut buffers.scratch, out);
        }
        (similarities, cells)
    }

    /// Relevance of listed words with one panel of regions.
    fn multiply(&self, panel: usize, seeing: &mut Seeing, rows: &mut Vec<f32>) {
        let words = self.fragments.words.f32();
        let columns = self.fragments.regions.f32().slice(panel..panel + 1);
        let depth = words.depth();
        let height = seeing.words.len().next_multiple_of(PANEL);
        seeing.relevance.resize(height * PANEL, 0.0);
        rows.resize(ROWS * depth, 0.0);
        let outs = seeing.relevance.chunks_mut(ROWS * PANEL);
        for (listed, out) in seeing.words.chunks(ROWS).zip(outs) {
            for (to, &row) in listed.iter().enumerate() {
                words.copy_row(row, rows, to);
            }
            // Rows beyond the last hold what was there before, and are not read.
            let height = listed.len().next_multiple_of(PANEL);
            let gathered = RowPanels::new(&rows[..height * depth], depth);
            product(self.fragments.instructions, gathered, columns, out, PANEL);
        }
    }
}
