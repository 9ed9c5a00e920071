//! A bitmap of the cells of a tile that are above the threshold, and its rows pair by pair.

use uard_linalg::vector::sixteen::{LANES, Sixteen};

use super::{Above, CaptionPairs, Pair};

/// Bits that are read at once: 64, less a byte, because the first of them may be anywhere in a byte.
const CUT: usize = 56;

/// A bit for each cell of a caption's tile, and the rows of its pairs that have a bit set.
#[derive(Debug, Default)]
pub(super) struct Bitmap {
    /// A row for each word, a bit for each column.
    bytes: Vec<u8>,
    /// Bytes of a row.
    stride: usize,
    /// Only the first `found` are valid.
    rows: Vec<Row>,
    found: usize,
}

/// Up to [`CUT`] bits of one word with the regions of one image.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Row {
    pub bits: u64,
    pub word: u32,
    /// The tile's column of bit 0.
    pub column: u32,
    /// The image: its index among those of the [`CaptionPairs`].
    pub at: u32,
}

impl Bitmap {
    /// Compares every cell of the tile with the threshold, for all images at once, and forgets all
    /// rows.
    #[inline(always)]
    pub(super) fn compare<S: Sixteen>(
        &mut self,
        simd: S,
        pairs: &CaptionPairs<'_>,
        threshold: f32,
    ) {
        let twice = pairs.columns().div_ceil(2 * LANES);
        let threshold = simd.splat_f32s(threshold);
        self.stride = 4 * twice + 8;
        self.bytes.resize(pairs.tile.words * self.stride, 0);
        let rows = pairs.tile.cells.chunks_exact(pairs.tile.stride);
        for (bytes, row) in self.bytes.chunks_exact_mut(self.stride).zip(rows) {
            // After a row there is slack to read, so its last cells too are two whole vectors.
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

    /// Adds the rows of a pair that have a bit set, ordered by word, then column; counts their
    /// words, regions and cells.
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
                    None => panic!("a row has eight bytes after its last bit"),
                };
                let bits = (eight >> bit) & mask;
                self.rows[found] = Row {
                    bits,
                    word: word as u32,
                    column: column as u32,
                    at: pair.at as u32,
                };
                // Empty rows are written too, and then overwritten: that needs no branch.
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

    /// The number of words with a row from `begin` on.
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

    /// Forgets rows from `end` on.
    pub(super) fn truncate(&mut self, end: usize) {
        self.found = end;
    }

    /// Forgets the rows before `begin`.
    pub(super) fn drop_before(&mut self, begin: usize) {
        self.rows.copy_within(begin..self.found, 0);
        self.found -= begin;
    }
}
