//! The product of panels in vectors of AVX2 and AVX-512: a tile keeps as many accumulators of 16
//! columns as the registers hold while all depths pass.
//!
//! A *word* is what one lane multiplies at a time: one depth in f32, a pair of depths in bf16. Counted
//! in words both types have one layout, so [`product`] walks over the tiles of both, and a [`Kernel`]
//! multiplies the words. Where the processor cannot multiply pairs of bf16, they are widened to f32.
//!
//! The innermost loops index arrays. Without link-time optimisation some functions of zipped iterators are
//! not inlined there, and their calls took three quarters of a product in bf16 with AVX2.

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use std::hint::black_box;

use pulp::f32x16;

use super::PANEL;
use super::tiling::{Operands, Tile, groups};
use crate::vector::sixteen::{Sixteen, SixteenLoops};

/// How many bytes ahead of their use columns are prefetched.
const AHEAD: usize = 1024;

/// Multiplies the words of a tile, with the vectors of one instruction set.
pub trait Kernel: Copy {
    /// The vectors.
    type Vectors: Sixteen;

    /// Where there are fewer than 16 registers: the most rows of a tile, 4 or 6. Such a tile is one
    /// panel of columns wide.
    const ROWS: usize;

    /// Writes the product of `ROWS` rows and `WIDTH` panels of columns. Each entry has one accumulator,
    /// to which the depths are added in order.
    ///
    /// # Safety
    /// The machine has the kernel's instructions. The tile's panel of rows holds `ROWS` rows from the
    /// tile's first on, the product has `WIDTH` panels of columns from the tile's first on, and the
    /// output holds all their entries.
    unsafe fn tile<const ROWS: usize, const WIDTH: usize>(self, tile: Tile);
}

/// Whether there are fewer than 16 registers of 16 numbers, as with AVX2.
const fn is_narrow<S: Sixteen>() -> bool {
    S::REGISTER_COUNT < 16
}

/// Computes all tiles of a product. Up to three panels of columns (one where there are few registers)
/// stay in the L2 cache while all rows are multiplied with them.
///
/// # Safety
/// The machine has the kernel's instructions. The panels of the operands can be read, and their output
/// holds every row of the product and can be written.
#[inline(always)]
pub unsafe fn product<K: Kernel>(kernel: K, operands: &Operands) {
    let narrow = is_narrow::<K::Vectors>();
    for (column, width) in groups(operands.column_panels, if narrow { 1 } else { 3 }) {
        for row in (0..operands.row_panels).map(|panel| panel * PANEL) {
            let needed = operands.rows_needed.saturating_sub(row);
            // SAFETY: `Operands::tile` needs a row and a panel of columns of the product: `row` begins
            // one of its panels of rows and the largest number added to it is 12; `column` comes from
            // `groups`, which stays below `column_panels`. `Kernel::tile` needs its rows inside of one
            // panel and its panels of columns inside of the product: in each arm the tiles' rows cut
            // the panel's 16 into parts, of which some may be left out, and `WIDTH` is at most `width`,
            // the group's panels. The instructions, and operands that can be read and written, are the
            // caller's promise.
            unsafe {
                // Not in closures: the compiler would not use the wide instructions in them.
                match (narrow, width) {
                    (true, _) if K::ROWS == 4 => {
                        for first in [0, 4, 8, 12] {
                            if first < needed {
                                kernel.tile::<4, 1>(operands.tile(row + first, column));
                            }
                        }
                    }
                    (true, _) => {
                        kernel.tile::<6, 1>(operands.tile(row, column));
                        for first in [6, 11] {
                            if first < needed {
                                kernel.tile::<5, 1>(operands.tile(row + first, column));
                            }
                        }
                    }
                    (false, 1) => match needed {
                        ..=8 => kernel.tile::<8, 1>(operands.tile(row, column)),
                        _ => kernel.tile::<16, 1>(operands.tile(row, column)),
                    },
                    (false, 2) => {
                        for first in [0, 8] {
                            match needed.saturating_sub(first) {
                                0 => {}
                                1..=4 => kernel.tile::<4, 2>(operands.tile(row + first, column)),
                                _ => kernel.tile::<8, 2>(operands.tile(row + first, column)),
                            }
                        }
                    }
                    (false, _) => {
                        for first in [0, 8] {
                            match needed.saturating_sub(first) {
                                0 => {}
                                1..=4 => kernel.tile::<4, 3>(operands.tile(row + first, column)),
                                _ => kernel.tile::<8, 3>(operands.tile(row + first, column)),
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Multiplies words without converting them.
#[derive(Clone, Copy)]
pub struct Words<S, F> {
    /// The vectors.
    pub simd: S,
    /// `step(sum, row, column)` is the sum plus the product of a word of a row and a word of each
    /// column.
    pub step: F,
}

impl<S: Sixteen, F: Fn(f32x16, f32x16, f32x16) -> f32x16 + Copy> Kernel for Words<S, F> {
    type Vectors = S;

    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn tile<const ROWS: usize, const WIDTH: usize>(self, tile: Tile) {
        let Self { simd, step } = self;
        let mut sums = [[simd.splat_f32s(0.0); WIDTH]; ROWS];
        for word in 0..tile.words {
            let mut columns = [simd.splat_f32s(0.0); WIDTH];
            for (panel, columns) in columns.iter_mut().enumerate() {
                // SAFETY: `panel` is below `WIDTH`, and the caller promises as many panels; `word` is
                // below `tile.words`. So the pointer is in bounds, and 16 words can be read there.
                *columns = unsafe { load(tile.column(panel, word)) };
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: `row` is below `ROWS`, and the caller promises as many rows in the panel;
                // `word` is below `tile.words`. So the pointer is in bounds, and a word can be read.
                let row = simd.splat_f32s(unsafe { tile.row(row, word).read_unaligned() });
                for panel in 0..WIDTH {
                    sums[panel] = step(sums[panel], row, columns[panel]);
                }
            }
        }
        // SAFETY: `store` needs an output with `ROWS` rows and `WIDTH` panels of columns at the tile: the
        // caller's promise.
        unsafe { store(&tile, &sums) }
    }
}

impl<S: Sixteen, F: Fn(f32x16, f32x16, f32x16) -> f32x16 + Copy> Words<S, F> {
    /// Runs steps on registers alone, on enough independent sums to hide the latency of a step, and
    /// returns how many words were multiplied and added.
    #[inline(always)]
    pub fn ceiling(self, rounds: usize) -> u64 {
        let Self { simd, step } = self;
        let (row, column) = black_box((simd.splat_f32s(0.5), simd.splat_f32s(0.25)));
        let mut sums = black_box([simd.splat_f32s(0.0); 16]);
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

/// Multiplies words that are pairs of bf16, after widening each depth to f32.
#[derive(Clone, Copy)]
pub struct Widened<S>(pub S);

/// Sixteen words of each row as f32: the even depths of all rows, then the odd ones.
#[repr(align(64))]
struct Line<const ROWS: usize>([[[f32; PANEL]; ROWS]; 2]);

impl<S: Sixteen> Kernel for Widened<S> {
    type Vectors = S;

    // A panel of columns needs four registers of eight numbers, as words and widened. Four rows need
    // eight more for their sums.
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn tile<const ROWS: usize, const WIDTH: usize>(self, tile: Tile) {
        let simd = self.0;
        let mut sums = [[simd.splat_f32s(0.0); WIDTH]; ROWS];
        let mut line = Line([[[0.0; PANEL]; ROWS]; 2]);
        for first in (0..tile.words).step_by(PANEL) {
            for row in 0..ROWS {
                // SAFETY: `row` is below `ROWS`, and the caller promises as many rows in the panel;
                // `first` is a multiple of 16 below `tile.words`, itself a multiple of 16. So the
                // pointer is in bounds, and 16 words of the row can be read there.
                let words = unsafe { read(tile.row(row, first)) };
                for (parity, rows) in line.0.iter_mut().enumerate() {
                    simd.store_at(simd.widened(words, parity), &mut rows[row], 0);
                }
            }
            for word in 0..PANEL {
                for (parity, rows) in line.0.iter().enumerate() {
                    let mut columns = [simd.splat_f32s(0.0); WIDTH];
                    for (panel, columns) in columns.iter_mut().enumerate() {
                        // SAFETY: `panel` is below `WIDTH`, and the caller promises as many panels;
                        // `first + word` is below `tile.words`. So the pointer is in bounds, and 16
                        // words can be read there.
                        let words = unsafe { load(tile.column(panel, first + word)) };
                        *columns = simd.widened(words, parity);
                    }
                    for row in 0..ROWS {
                        let number = simd.splat_f32s(rows[row][word]);
                        for panel in 0..WIDTH {
                            let sum = sums[row][panel];
                            sums[row][panel] = simd.times_plus(number, columns[panel], sum);
                        }
                    }
                }
            }
        }
        // SAFETY: `store` needs an output with `ROWS` rows and `WIDTH` panels of columns at the tile: the
        // caller's promise.
        unsafe { store(&tile, &sums) }
    }
}

/// Reads sixteen words.
///
/// # Safety
/// Sixteen words can be read at the pointer.
#[inline(always)]
unsafe fn read(words: *const f32) -> f32x16 {
    // SAFETY: the caller promises 64 readable bytes. `read_unaligned` needs no alignment, and any bits
    // are a vector of f32.
    unsafe { words.cast::<f32x16>().read_unaligned() }
}

/// Reads one 32-bit word of each of 16 columns, and prefetches what lies [`AHEAD`] bytes further on.
///
/// # Safety
/// Sixteen words can be read at the pointer.
#[inline(always)]
unsafe fn load(columns: *const f32) -> f32x16 {
    // SAFETY: `read` needs 16 readable words, as the caller promises. A prefetch is valid for any address,
    // and `wrapping_add` may leave the allocation.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(columns.cast::<i8>().wrapping_add(AHEAD));
        read(columns)
    }
}

/// Writes the sums of a tile to the output.
///
/// # Safety
/// The output has `ROWS` rows and `WIDTH` panels of columns from the tile's first on.
#[inline(always)]
unsafe fn store<const ROWS: usize, const WIDTH: usize>(
    tile: &Tile,
    sums: &[[f32x16; WIDTH]; ROWS],
) {
    for (row, sums) in sums.iter().enumerate() {
        for (panel, &sum) in sums.iter().enumerate() {
            // SAFETY: `row` and `panel` are below `ROWS` and `WIDTH`, and the caller promises that the
            // output has as many: the pointer is in bounds, and 16 entries can be written there.
            unsafe { tile.entry(row, panel).cast::<f32x16>().write_unaligned(sum) };
        }
    }
}

/// The product of panels in f32.
pub struct Singles(pub Operands);

/// The product of panels in bf16, widened to f32.
pub struct Pairs(pub Operands);

/// [`Words::ceiling`] in f32, for this many rounds.
pub struct Ceiling(pub usize);

#[inline(always)]
fn singles<S: Sixteen>(simd: S) -> Words<S, impl Fn(f32x16, f32x16, f32x16) -> f32x16 + Copy> {
    let step = move |sum, row, column| simd.times_plus(row, column, sum);
    Words { simd, step }
}

impl SixteenLoops for Singles {
    type Output = ();

    #[inline(always)]
    fn run<S: Sixteen>(self, simd: S) {
        // SAFETY: `simd` is proof that the machine has its instructions. The operands point into slices
        // that are borrowed until this returns, and `panels::product` has compared depths, stride and
        // output with the panels.
        unsafe { product(singles(simd), &self.0) }
    }
}

impl SixteenLoops for Pairs {
    type Output = ();

    #[inline(always)]
    fn run<S: Sixteen>(self, simd: S) {
        // SAFETY: `simd` is proof that the machine has its instructions. The operands point into slices
        // that are borrowed until this returns, and `panels::product` has compared depths, stride and
        // output with the panels.
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

/// Products of pairs of bf16 by the instruction `vdpbf16ps`.
pub mod pairs {
    use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps};

    use pulp::f32x16;
    use pulp::x86::V4;

    use super::{Operands, Words};

    /// The product of panels in bf16.
    ///
    /// # Safety
    /// The machine has AVX-512 F, BW, DQ and VL and `vdpbf16ps`. The panels of the operands can be read,
    /// and their output holds every row of the product and can be written.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    pub unsafe fn product(simd: V4, operands: &Operands) {
        // SAFETY: `super::product` needs the instructions of `simd` and of `step`, and operands that can be
        // read and written: both are the caller's promise.
        unsafe { super::product(Words { simd, step }, operands) }
    }

    /// Runs steps on registers and returns their multiply-adds, two for each pair.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    pub fn ceiling(simd: V4, rounds: usize) -> u64 {
        2 * Words { simd, step }.ceiling(rounds)
    }

    #[inline(always)]
    fn step(sum: f32x16, row: f32x16, column: f32x16) -> f32x16 {
        // SAFETY: `transmute` needs types of one size for which any bits are valid: all are vectors of 64
        // bytes. `_mm512_dpbf16_ps` needs AVX-512 F and BF16: `step` is inlined into `product` and
        // `ceiling` alone, whose `target_feature` includes both.
        unsafe {
            let pairs = |words| std::mem::transmute::<f32x16, __m512bh>(words);
            let sum = std::mem::transmute::<f32x16, __m512>(sum);
            std::mem::transmute(_mm512_dpbf16_ps(sum, pairs(row), pairs(column)))
        }
    }
}
