//! Which cells are above the threshold? One bit a cell, cut out pair by pair.

use uard_linalg::vector::sixteen::{LANES, Sixteen};

use super::{Above, CaptionPairs, Pair};

/// Bits that a cut takes at once: 64 less the bits by which it may begin inside a byte.
const CUT: usize = 56;

/// The bitmap of a caption's tile, and the rows of its pairs that are not empty.
#[derive(Debug, Default)]
pub(super) struct Bitmap {
    bytes: Vec<u8>,
    stride: usize,
    rows: Vec<Row>,
    /// Rows that are valid.
    found: usize,
}

/// Up to [`CUT`] bits of a word's row in one pair.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Row {
    pub bits: u64,
    pub word: u32,
    /// The tile's column of bit 0.
    pub column: u32,
    /// The image, counted in the caption's pairs.
    pub at: u32,
}

impl Bitmap {
    /// Compares every cell of the tile, once for all its images; no rows are found yet.
    #[inline(always)]
    pub(super) fn compare<S: Sixteen>(
        &mut self,
        simd: S,
        pairs: &CaptionPairs<'_>,
        threshold: f32,
    ) {
        let twice = pairs.columns().div_ceil(2 * LANES);
        let threshold = simd.splat(threshold);
        self.stride = 4 * twice + 8;
        self.bytes.resize(pairs.tile.words * self.stride, 0);
        let rows = pairs.tile.cells.chunks_exact(pairs.tile.stride);
        for (bytes, row) in self.bytes.chunks_exact_mut(self.stride).zip(rows) {
            // The slack of a row fills up its last two vectors.
            let bytes = bytes[..4 * twice].chunks_exact_mut(4);
            for (bytes, cells) in bytes.zip(row.chunks_exact(2 * LANES)) {
                let low = simd.above(simd.load_at(cells, 0), threshold);
                let high = simd.above(simd.load_at(cells, LANES), threshold);
                let bits = u32::from(low) | u32::from(high) << LANES;
                bytes.copy_from_slice(&bits.to_le_bytes());
            }
        }
        self.found = 0;
    }

    /// Adds the rows of a pair that are not empty, by word and region; counts what they hold.
    #[inline(always)]
    pub(super) fn cut(&mut self, pair: &Pair<'_>) -> Above {
        let cuts = pair.image.count.div_ceil(CUT);
        let most = self.found + pair.tile.words * cuts + 1;
        if self.rows.len() < most {
            self.rows.resize(most, Row::default());
        }
        let begin = self.found;
        let (mut found, mut cells, mut regions) = (begin, 0, 0);
        for cut in 0..cuts {
            let column = pair.image.start + cut * CUT;
            let (byte, bit) = (column / 8, column % 8);
            let mask = u64::MAX >> (64 - CUT.min(pair.image.count - cut * CUT));
            let mut columns = 0;
            for (word, row) in self.bytes.chunks_exact(self.stride).enumerate() {
                let eight = match row[byte..].first_chunk() {
                    Some(bytes) => u64::from_le_bytes(*bytes),
                    None => panic!("eight bytes follow a row's last bit"),
                };
                let bits = (eight >> bit) & mask;
                self.rows[found] = Row {
                    bits,
                    word: word as u32,
                    column: column as u32,
                    at: pair.at as u32,
                };
                // Empty rows are overwritten by the next: no branch to guess.
                found += usize::from(bits != 0);
                cells += bits.count_ones();
                columns |= bits;
            }
            regions += columns.count_ones();
        }
        self.found = found;
        if cuts > 1 {
            self.rows[begin..found].sort_unstable_by_key(|row| (row.word, row.column));
        }
        Above {
            word_queries: self.words_from(begin, cuts),
            region_queries: u64::from(regions),
            cells: u64::from(cells),
        }
    }

    /// Words with a row from `begin` on.
    #[inline(always)]
    fn words_from(&self, begin: usize, cuts: usize) -> u64 {
        let rows = &self.rows[begin..self.found];
        let mut again = 0;
        if cuts > 1 {
            again = rows
                .windows(2)
                .filter(|pair| pair[0].word == pair[1].word)
                .count();
        }
        (rows.len() - again) as u64
    }

    /// How many rows were found.
    pub(super) fn found(&self) -> usize {
        self.found
    }

    /// The rows that were found.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows[..self.found]
    }

    /// Forgets rows from `begin` on.
    pub(super) fn keep(&mut self, begin: usize) {
        self.found = begin;
    }

    /// Forgets the rows before `begin`.
    pub(super) fn forget(&mut self, begin: usize) {
        self.rows.copy_within(begin..self.found, 0);
        self.found -= begin;
    }
}
