//! Which cells are above the threshold? One bit a cell, cut out pair by pair.

use super::lanes::{LANES, Machine, lanes};
use super::{Above, CaptionPairs, Pair};

/// Bits that a cut takes at once: 64 less the bits by which it may begin inside a byte.
const CUT: usize = 56;

/// The bitmap of a caption's tile, and the pair that was cut out last.
#[derive(Debug, Default)]
pub(super) struct Bitmap {
    bytes: Vec<u8>,
    stride: usize,
    rows: Vec<Row>,
    /// Rows of the pair that are not empty, as far as they are valid.
    found: usize,
    /// Regions above the threshold for any word, [`CUT`] to a number.
    columns: Vec<u64>,
}

/// Up to [`CUT`] bits of a word's row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Row {
    pub bits: u64,
    pub word: u32,
    /// The region of bit 0.
    pub region: u32,
}

impl Bitmap {
    /// Compares every cell of the tile, once for all its images.
    #[inline(always)]
    pub(super) fn compare<M: Machine>(&mut self, pairs: &CaptionPairs<'_>, threshold: f32) {
        let ends = pairs.images.iter().map(|image| image.start + image.count);
        let vectors = ends.max().unwrap_or(0).div_ceil(LANES);
        self.stride = 2 * vectors + 8;
        self.bytes.resize(pairs.tile.words * self.stride, 0);
        let rows = pairs.tile.cells.chunks_exact(pairs.tile.stride);
        for (bytes, row) in self.bytes.chunks_exact_mut(self.stride).zip(rows) {
            for (at, bytes) in bytes[..2 * vectors].chunks_exact_mut(2).enumerate() {
                let bits = M::above(lanes(row, at * LANES), threshold);
                bytes.copy_from_slice(&bits.to_le_bytes());
            }
        }
    }

    /// Cuts out a pair; returns its number of cells above the threshold.
    #[inline(always)]
    pub(super) fn cut(&mut self, pair: &Pair<'_>) -> usize {
        let cuts = pair.image.count.div_ceil(CUT);
        let most = pair.tile.words * cuts + 1;
        if self.rows.len() < most {
            self.rows.resize(most, Row::default());
        }
        self.columns.clear();
        self.columns.resize(cuts, 0);
        self.found = 0;
        let mut cells = 0;
        for word in 0..pair.tile.words {
            for cut in 0..cuts {
                let bits = self.bits(pair, word, cut);
                self.rows[self.found] = Row {
                    bits,
                    word: word as u32,
                    region: (cut * CUT) as u32,
                };
                // Empty rows are overwritten by the next: no branch to guess.
                self.found += usize::from(bits != 0);
                cells += bits.count_ones();
                self.columns[cut] |= bits;
            }
        }
        cells as usize
    }

    #[inline(always)]
    fn bits(&self, pair: &Pair<'_>, word: usize, cut: usize) -> u64 {
        let start = pair.image.start + cut * CUT;
        let count = (pair.image.count - cut * CUT).min(CUT);
        let bytes = self.bytes[word * self.stride + start / 8..].first_chunk();
        let eight = bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        (eight >> (start % 8)) & (u64::MAX >> (64 - count))
    }

    /// The rows of the pair that are not empty, by word and region.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows[..self.found]
    }

    /// The regions of the pair with a cell above the threshold.
    #[inline(always)]
    pub(super) fn columns(&self) -> impl Iterator<Item = usize> {
        self.columns.iter().enumerate().flat_map(|(cut, &bits)| {
            let rest = std::iter::successors(Some(bits), |bits| Some(bits & bits.wrapping_sub(1)));
            let rest = rest.take_while(|bits| *bits != 0);
            rest.map(move |bits| cut * CUT + bits.trailing_zeros() as usize)
        })
    }

    /// What is above the threshold in the pair that was cut out last.
    #[inline(always)]
    pub(super) fn count(&self, cells: usize) -> Above {
        let rows = self.rows();
        let first = |at: usize| at == 0 || rows[at - 1].word != rows[at].word;
        let words = (0..rows.len()).filter(|&at| first(at)).count();
        let regions: u32 = self.columns.iter().map(|bits| bits.count_ones()).sum();
        Above {
            word_queries: words as u64,
            region_queries: u64::from(regions),
            cells: cells as u64,
        }
    }
}
