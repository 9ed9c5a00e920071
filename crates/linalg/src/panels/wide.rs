//! The product of panels in vectors of AVX2 and AVX-512: as many accumulators of 16 columns as the
//! registers hold, over all depths.
//!
//! A *word* is what one lane multiplies at a time: one depth in f32, a pair of depths in bf16. In
//! words both types have one layout, so there is one walk over the tiles of a product, and its step
//! differs. A processor that cannot multiply pairs of bf16 widens them to f32.

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use std::hint::black_box;

use super::PANEL;
use super::tiling::{Operands, Tile, groups};
use crate::vector::sixteen::{Sixteen, SixteenLoops};

/// Bytes that columns are fetched ahead of their use.
const AHEAD: usize = 1024;

/// How words are multiplied, with the vectors of a machine.
pub trait Kernel: Copy {
    /// The machine.
    type Vectors: Sixteen;

    /// Rows of a tile that is one panel of columns wide, where there are few registers: at most 16.
    const ROWS: usize;

    /// Writes `ROWS` rows by `WIDTH` panels of columns; one accumulator an entry, depth in order.
    ///
    /// # Safety
    /// The machine has the instructions, and the tile can be read and written.
    unsafe fn tile<const ROWS: usize, const WIDTH: usize>(self, tile: Tile);
}

/// Whether the registers hold few vectors.
const fn is_narrow<S: Sixteen>() -> bool {
    S::REGISTERS < 16
}

/// All tiles of a product. Up to three panels of columns, one where there are few registers, stay in
/// the second cache while all rows pass.
///
/// # Safety
/// The machine has the instructions, and the operands can be read and written.
#[inline(always)]
pub unsafe fn product<K: Kernel>(kernel: K, operands: &Operands) {
    let narrow = is_narrow::<K::Vectors>();
    for (column, width) in groups(operands.column_panels, if narrow { 1 } else { 3 }) {
        for row in (0..operands.row_panels).map(|panel| panel * PANEL) {
            // SAFETY: groups of columns and pieces of rows lie inside of the panels; the rest is the
            // caller's promise.
            unsafe {
                // No closures around tiles: they would not be compiled for the machine.
                match (narrow, width) {
                    (true, _) if K::ROWS == 4 => {
                        for first in [0, 4, 8, 12] {
                            kernel.tile::<4, 1>(operands.tile(row + first, column));
                        }
                    }
                    (true, _) => {
                        kernel.tile::<6, 1>(operands.tile(row, column));
                        for first in [6, 11] {
                            kernel.tile::<5, 1>(operands.tile(row + first, column));
                        }
                    }
                    (false, 1) => kernel.tile::<16, 1>(operands.tile(row, column)),
                    (false, 2) => {
                        for first in [0, 8] {
                            kernel.tile::<8, 2>(operands.tile(row + first, column));
                        }
                    }
                    (false, _) => {
                        for first in [0, 8] {
                            kernel.tile::<8, 3>(operands.tile(row + first, column));
                        }
                    }
                }
            }
        }
    }
}

/// The sum with the product of a row and a column added: `step(sum, row, column)`.
pub trait Step<V>: Fn(V, V, V) -> V + Copy {}
impl<V, F: Fn(V, V, V) -> V + Copy> Step<V> for F {}

/// Multiplies words as they are, by a [`Step`].
#[derive(Clone, Copy)]
pub struct Words<S, F> {
    /// The machine.
    pub simd: S,
    /// How a sum grows.
    pub step: F,
}

impl<S: Sixteen, F: Step<S::Vector>> Kernel for Words<S, F> {
    type Vectors = S;

    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn tile<const ROWS: usize, const WIDTH: usize>(self, tile: Tile) {
        let Self { simd, step } = self;
        let mut sums = [[simd.splat(0.0); WIDTH]; ROWS];
        for word in 0..tile.words {
            let mut columns = [simd.splat(0.0); WIDTH];
            for (panel, columns) in columns.iter_mut().enumerate() {
                // SAFETY: there are as many panels, and as many words in each.
                *columns = unsafe { load::<S>(tile.column(panel, word)) };
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: there are as many rows, and as many words in each.
                let row = simd.splat(unsafe { tile.row(row, word).read_unaligned() });
                for (sum, columns) in sums.iter_mut().zip(columns) {
                    *sum = step(*sum, row, columns);
                }
            }
        }
        // SAFETY: the entries can be written.
        unsafe { store::<S, ROWS, WIDTH>(&tile, &sums) }
    }
}

impl<S: Sixteen, F: Step<S::Vector>> Words<S, F> {
    /// Steps in registers alone, enough of them side by side to hide the latency of any; tells how
    /// many numbers were multiplied and added.
    #[inline(always)]
    pub fn ceiling(self, rounds: usize) -> u64 {
        let Self { simd, step } = self;
        let (row, column) = black_box((simd.splat(0.5), simd.splat(0.25)));
        let mut sums = black_box([simd.splat(0.0); 16]);
        let count = if is_narrow::<S>() { 6 } else { 16 };
        for _ in 0..rounds {
            for sum in &mut sums[..count] {
                *sum = step(*sum, row, column);
            }
        }
        black_box(sums);
        (rounds * count * PANEL) as u64
    }
}

/// Multiplies pairs of bf16, each depth as f32.
#[derive(Clone, Copy)]
pub struct Widened<S>(pub S);

/// Sixteen words of some rows as f32, first the even depths, then the odd ones.
#[repr(align(64))]
struct Line<const ROWS: usize>([[[f32; PANEL]; ROWS]; 2]);

impl<S: Sixteen> Kernel for Widened<S> {
    type Vectors = S;

    // Columns as words and as numbers take four registers: eight accumulators leave room for them.
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn tile<const ROWS: usize, const WIDTH: usize>(self, tile: Tile) {
        let simd = self.0;
        let mut sums = [[simd.splat(0.0); WIDTH]; ROWS];
        let mut line = Line([[[0.0; PANEL]; ROWS]; 2]);
        for first in (0..tile.words).step_by(PANEL) {
            for row in 0..ROWS {
                // SAFETY: there are as many rows, and 16 words of each.
                let words = unsafe { read::<S>(tile.row(row, first)) };
                for (parity, rows) in line.0.iter_mut().enumerate() {
                    simd.store_at(simd.widened(words, parity), &mut rows[row], 0);
                }
            }
            for word in 0..PANEL {
                for (parity, rows) in line.0.iter().enumerate() {
                    let mut columns = [simd.splat(0.0); WIDTH];
                    for (panel, columns) in columns.iter_mut().enumerate() {
                        // SAFETY: there are as many panels, and as many words in each.
                        let words = unsafe { load::<S>(tile.column(panel, first + word)) };
                        *columns = simd.widened(words, parity);
                    }
                    for (sums, row) in sums.iter_mut().zip(rows) {
                        let row = simd.splat(row[word]);
                        for (sum, columns) in sums.iter_mut().zip(columns) {
                            *sum = simd.times_plus(row, columns, *sum);
                        }
                    }
                }
            }
        }
        // SAFETY: the entries can be written.
        unsafe { store::<S, ROWS, WIDTH>(&tile, &sums) }
    }
}

/// Sixteen words.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn read<S: Sixteen>(words: *const f32) -> S::Vector {
    // SAFETY: the caller's promise; a vector is any bits of its size.
    unsafe { words.cast::<S::Vector>().read_unaligned() }
}

/// One word of 16 columns; those that follow are fetched ahead.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn load<S: Sixteen>(columns: *const f32) -> S::Vector {
    // SAFETY: the caller's promise; fetching ahead may point anywhere.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(columns.cast::<i8>().wrapping_add(AHEAD));
        read::<S>(columns)
    }
}

/// Writes the sums of a tile.
///
/// # Safety
/// The entries can be written.
#[inline(always)]
unsafe fn store<S: Sixteen, const ROWS: usize, const WIDTH: usize>(
    tile: &Tile,
    sums: &[[S::Vector; WIDTH]; ROWS],
) {
    for (row, sums) in sums.iter().enumerate() {
        for (panel, &sum) in sums.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                tile.entry(row, panel)
                    .cast::<S::Vector>()
                    .write_unaligned(sum)
            };
        }
    }
}

/// A product of packed panels in f32.
pub struct Singles(pub Operands);

/// A product of packed panels in bf16, widened.
pub struct Pairs(pub Operands);

/// [`Words::ceiling`] in f32, for so many rounds.
pub struct Ceiling(pub usize);

#[inline(always)]
fn singles<S: Sixteen>(simd: S) -> Words<S, impl Step<S::Vector>> {
    let step = move |sum, row, column| simd.times_plus(row, column, sum);
    Words { simd, step }
}

impl SixteenLoops for Singles {
    type Output = ();

    #[inline(always)]
    fn run<S: Sixteen>(self, simd: S) {
        // SAFETY: `panels::product` has compared the output with the panels.
        unsafe { product(singles(simd), &self.0) }
    }
}

impl SixteenLoops for Pairs {
    type Output = ();

    #[inline(always)]
    fn run<S: Sixteen>(self, simd: S) {
        // SAFETY: `panels::product` has compared the output with the panels.
        unsafe { product(Widened(simd), &self.0) }
    }
}

impl SixteenLoops for Ceiling {
    type Output = u64;

    #[inline(always)]
    fn run<S: Sixteen>(self, simd: S) -> u64 {
        singles(simd).ceiling(self.0)
    }
}

/// Products of pairs of bf16 by the processor itself (`vdpbf16ps`).
pub mod pairs {
    use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps};

    use pulp::f32x16;
    use pulp::x86::V4;

    use super::{Operands, Words};

    /// # Safety
    /// The machine multiplies pairs of bf16, and the operands can be read and written.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    pub unsafe fn product(simd: V4, operands: &Operands) {
        // SAFETY: the caller's promise.
        unsafe { super::product(Words { simd, step }, operands) }
    }

    /// Steps in registers; returns their multiply-adds.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    pub fn ceiling(simd: V4, rounds: usize) -> u64 {
        2 * Words { simd, step }.ceiling(rounds)
    }

    #[inline(always)]
    fn step(sum: f32x16, row: f32x16, column: f32x16) -> f32x16 {
        // SAFETY: the types are 64 bytes of any content, and whoever names this function runs where
        // the machine multiplies pairs.
        unsafe {
            let pairs = |words| std::mem::transmute::<f32x16, __m512bh>(words);
            let sum = std::mem::transmute::<f32x16, __m512>(sum);
            std::mem::transmute(_mm512_dpbf16_ps(sum, pairs(row), pairs(column)))
        }
    }
}
