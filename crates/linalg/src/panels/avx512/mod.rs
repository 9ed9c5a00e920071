//! The product of panels with AVX-512: 24 accumulators of 16 columns each, over all depths.
//!
//! A *word* is what one lane multiplies at a time: one depth in f32, a pair of depths in bf16. In
//! words both types have one layout, so there is one kernel, and its step differs. A processor
//! that cannot multiply pairs of bf16 widens them to f32.

mod widened;

use std::arch::x86_64::*;
use std::hint::black_box;

use half::bf16;

use super::tiling::{Operands, Tile, groups};
use super::{PANEL, Sides};

/// Bytes that columns are fetched ahead of their use.
const AHEAD: usize = 1024;

/// Products in f32.
///
/// # Safety
/// The machine has AVX-512 F, and `out` holds every row of the product at `stride`.
#[target_feature(enable = "avx512f")]
pub unsafe fn product_f32(sides: Sides<'_, f32>, out: &mut [f32], stride: usize) {
    // SAFETY: the caller's promise.
    unsafe { single::product(&Operands::new(sides, out, stride)) }
}

/// Products in bf16, pairs of depths at once.
///
/// # Safety
/// As [`product_f32`], and the machine multiplies pairs of bf16.
#[target_feature(enable = "avx512f,avx512bf16")]
pub unsafe fn product_bf16(sides: Sides<'_, bf16>, out: &mut [f32], stride: usize) {
    // SAFETY: the caller's promise.
    unsafe { pairs::product(&Operands::new(sides, out, stride)) }
}

/// Products in bf16, widened to f32.
///
/// # Safety
/// As [`product_f32`].
#[target_feature(enable = "avx512f")]
pub unsafe fn product_bf16_widened(sides: Sides<'_, bf16>, out: &mut [f32], stride: usize) {
    // SAFETY: the caller's promise.
    unsafe { widened::product(&Operands::new(sides, out, stride)) }
}

/// All tiles of a product. Up to three panels of columns stay in the second cache while all rows
/// pass.
macro_rules! walk {
    ($features:literal) => {
        /// # Safety
        /// The machine has the instructions, and the operands can be read and written.
        #[target_feature(enable = $features)]
        pub unsafe fn product(operands: &Operands) {
            for (column, width) in groups(operands.column_panels) {
                for row in (0..operands.row_panels).map(|panel| panel * PANEL) {
                    // SAFETY: groups of columns and pieces of rows lie inside of the panels; the
                    // rest is the caller's promise.
                    unsafe {
                        match width {
                            1 => tile::<16, 1>(operands.tile(row, column)),
                            2 => {
                                tile::<8, 2>(operands.tile(row, column));
                                tile::<8, 2>(operands.tile(row + 8, column));
                            }
                            _ => {
                                tile::<8, 3>(operands.tile(row, column));
                                tile::<8, 3>(operands.tile(row + 8, column));
                            }
                        }
                    }
                }
            }
        }
    };
}

/// Accumulators in registers alone: enough to hide the latency of any step.
const CEILING_SUMS: usize = 16;

/// Steps of f32 in registers; returns their multiply-adds.
///
/// # Safety
/// The machine has AVX-512 F.
#[target_feature(enable = "avx512f")]
pub unsafe fn ceiling_f32(rounds: usize) -> u64 {
    single::ceiling(rounds);
    (rounds * CEILING_SUMS * PANEL) as u64
}

/// Steps of pairs of bf16 in registers; returns their multiply-adds.
///
/// # Safety
/// The machine multiplies pairs of bf16.
#[target_feature(enable = "avx512f,avx512bf16")]
pub unsafe fn ceiling_bf16(rounds: usize) -> u64 {
    pairs::ceiling(rounds);
    (rounds * CEILING_SUMS * PANEL * 2) as u64
}

/// A tile whose words are multiplied as they are by `step`.
macro_rules! tile {
    ($features:literal) => {
        /// `ROWS` rows by `WIDTH` panels of columns; one accumulator an entry, depth in order.
        ///
        /// # Safety
        /// As [`product`].
        #[target_feature(enable = $features)]
        #[inline]
        unsafe fn tile<const ROWS: usize, const WIDTH: usize>(tile: Tile) {
            let mut sums = [[_mm512_setzero_ps(); WIDTH]; ROWS];
            for word in 0..tile.words {
                let mut columns = [_mm512_setzero_ps(); WIDTH];
                for (panel, columns) in columns.iter_mut().enumerate() {
                    // SAFETY: there are as many panels, and as many words in each.
                    *columns = unsafe { load(tile.column(panel, word)) };
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: there are as many rows, and as many words in each.
                    let row = unsafe { tile.row(row, word).read_unaligned() };
                    for (sum, columns) in sums.iter_mut().zip(columns) {
                        *sum = step(*sum, _mm512_set1_ps(row), columns);
                    }
                }
            }
            // SAFETY: the entries can be written.
            unsafe { store(&tile, &sums) }
        }

        #[target_feature(enable = $features)]
        pub fn ceiling(rounds: usize) {
            let (row, column) = black_box((_mm512_set1_ps(0.5), _mm512_set1_ps(0.25)));
            let mut sums = black_box([_mm512_setzero_ps(); CEILING_SUMS]);
            for _ in 0..rounds {
                for sum in &mut sums {
                    *sum = step(*sum, row, column);
                }
            }
            black_box(sums);
        }
    };
}

mod single {
    use super::*;

    walk!("avx512f");
    tile!("avx512f");

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn step(sum: __m512, row: __m512, column: __m512) -> __m512 {
        _mm512_fmadd_ps(row, column, sum)
    }
}

mod pairs {
    use super::*;

    walk!("avx512f,avx512bf16");
    tile!("avx512f,avx512bf16");

    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline]
    fn step(sum: __m512, row: __m512, column: __m512) -> __m512 {
        // SAFETY: both types are 64 bytes of any content.
        let pairs = |words| unsafe { std::mem::transmute::<__m512, __m512bh>(words) };
        _mm512_dpbf16_ps(sum, pairs(row), pairs(column))
    }
}

/// One word of 16 columns; those that follow are fetched ahead.
///
/// # Safety
/// They can be read.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn load(columns: *const f32) -> __m512 {
    // SAFETY: the caller's promise; fetching ahead may point anywhere.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(columns.cast::<i8>().wrapping_add(AHEAD));
        _mm512_loadu_ps(columns)
    }
}

/// Writes the sums of a tile.
///
/// # Safety
/// The entries can be written.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn store<const ROWS: usize, const WIDTH: usize>(
    tile: &Tile,
    sums: &[[__m512; WIDTH]; ROWS],
) {
    for (row, sums) in sums.iter().enumerate() {
        for (panel, &sum) in sums.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(tile.entry(row, panel), sum) };
        }
    }
}

use walk;
