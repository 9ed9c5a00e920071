//! Computes listed pairs in f32, with the bits of a run over all pairs, from the cells that may be above
//! the threshold.
//!
//! For each panel of regions, the words of many captions that may have a cell above the threshold there
//! are gathered and multiplied with it. Cells that bf16 proves to be at or below the threshold are not
//! multiplied; they are [`UNSEEN`].

use rayon::prelude::*;
use uard_linalg::panels::{PANEL, RowPanels, product};

use super::Screening;
use crate::kernel::answers::{CaptionPairs, PanelBits, SLACK, Scratch, Tile, VisiblePanels};
use crate::search::panels_of;

/// Stands in for the relevance of cells that are not multiplied, because they are proven to be at
/// or below the threshold.
///
/// Cells are left out only if the threshold is above zero, and so above this number.
const UNSEEN: f32 = -2.0;

/// Rows that are multiplied at once: a quarter of a megabyte if the depth is 1024.
const ROWS: usize = 4 * PANEL;

/// Captions whose pairs with an image are computed together: their words stay in the last-level cache
/// while they are multiplied with all images.
const CAPTIONS_IN_A_GROUP: usize = 128;

/// A pair that is to be computed in f32.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenPair {
    pub image: usize,
    pub caption: usize,
    /// The cells that may be above the threshold.
    pub visible: VisiblePanels,
}

/// Buffers that a thread reuses from group to group.
#[derive(Debug, Default)]
struct Buffers {
    /// Gathered rows, packed.
    rows: Vec<f32>,
    /// For each panel of the image the words that are multiplied with it.
    seeing: Vec<SeeingWords>,
    /// Relevance of one caption with the image.
    tile: Vec<f32>,
    scratch: Scratch,
}

/// The words of a group that may have a cell above the threshold in one panel.
#[derive(Debug, Default)]
struct SeeingWords {
    /// Places of the words in the packed rows.
    words: Vec<usize>,
    /// Their relevance with the panel, row-major [words, 16].
    relevance: Vec<f32>,
}

impl Screening<'_> {
    /// Sorts the pairs and computes the similarity in f32 of each, in their new order. Also returns how
    /// many cells were multiplied.
    pub(super) fn recompute(&self, pairs: &mut [OpenPair]) -> (Vec<f32>, usize) {
        let group = |pair: &OpenPair| (pair.caption / CAPTIONS_IN_A_GROUP, pair.image);
        pairs.par_sort_unstable_by_key(|pair| (group(pair), pair.caption));
        let groups: Vec<&[OpenPair]> = pairs.chunk_by(|a, b| group(a) == group(b)).collect();
        let found: Vec<(Vec<f32>, usize)> = groups
            .into_par_iter()
            .map_init(Buffers::default, |buffers, group| {
                if self.fragments.is_stopped() {
                    return (vec![0.0; group.len()], 0);
                }
                self.recompute_group(group, buffers)
            })
            .collect();
        let cells = found.iter().map(|(_, cells)| cells).sum();
        let similarities = found.into_iter().flat_map(|(found, _)| found);
        (similarities.collect(), cells)
    }

    /// The similarities of pairs of one image with captions of one group, and the multiplied cells.
    fn recompute_group(&self, pairs: &[OpenPair], buffers: &mut Buffers) -> (Vec<f32>, usize) {
        let fragments = self.fragments;
        let image = pairs[0].image;
        let panels = panels_of(fragments.regions, image);
        let columns = [fragments.image_columns(image, panels.start)];
        let counts = fragments.words.counts();
        let cut = |pair: &OpenPair| PanelBits::new(counts[pair.caption], &columns[0]);
        buffers
            .seeing
            .resize_with(panels.len(), SeeingWords::default);
        let mut cells = 0;
        for (panel, seeing) in buffers.seeing.iter_mut().enumerate() {
            seeing.words.clear();
            for pair in pairs {
                let (cut, first) = (cut(pair), fragments.words.place(pair.caption));
                let words = 0..counts[pair.caption];
                let words = words.filter(|&word| pair.visible.contains(&cut, word, panel));
                seeing.words.extend(words.map(|word| first + word));
            }
            self.multiply(panels.start + panel, seeing, &mut buffers.rows);
            cells += seeing.words.len() * PANEL;
        }
        let stride = panels.len() * PANEL + SLACK;
        let mut relevance: Vec<_> = buffers
            .seeing
            .iter()
            .map(|seeing| seeing.relevance.chunks_exact(PANEL))
            .collect();
        let mut similarities = vec![0.0; pairs.len()];
        for (pair, similarity) in pairs.iter().zip(&mut similarities) {
            let (cut, words) = (cut(pair), counts[pair.caption]);
            buffers.tile.clear();
            buffers.tile.resize(words * stride, UNSEEN);
            for (panel, rows) in relevance.iter_mut().enumerate() {
                for word in (0..words).filter(|&word| pair.visible.contains(&cut, word, panel)) {
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
            self.answers
                .match_caption(&pairs, &mut buffers.scratch, out);
        }
        (similarities, cells)
    }

    /// Computes the relevance of the words with a panel of regions; `rows` is a buffer for gathered rows.
    fn multiply(&self, panel: usize, seeing: &mut SeeingWords, rows: &mut Vec<f32>) {
        let words = self.fragments.words.panels::<f32>();
        let columns = self
            .fragments
            .regions
            .panels::<f32>()
            .slice(panel..panel + 1);
        let depth = words.depth();
        let height = seeing.words.len().next_multiple_of(PANEL);
        seeing.relevance.resize(height * PANEL, 0.0);
        rows.resize(ROWS * depth, 0.0);
        let outs = seeing.relevance.chunks_mut(ROWS * PANEL);
        for (listed, out) in seeing.words.chunks(ROWS).zip(outs) {
            for (to, &row) in listed.iter().enumerate() {
                words.copy_row(row, rows, to);
            }
            // Rows beyond the last keep old numbers, and nobody reads their products.
            let height = listed.len().next_multiple_of(PANEL);
            let gathered = RowPanels::new(&rows[..height * depth], depth);
            product(self.fragments.instructions, gathered, columns, out, PANEL);
        }
    }
}
