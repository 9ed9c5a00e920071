//! The product of panels with AVX2 and FMA: up to 12 accumulators of 8 columns, over all depths.

mod widened;

use std::arch::x86_64::*;
use std::hint::black_box;

use half::bf16;

use super::tiling::{Operands, Tile};
use super::{PANEL, Sides};

/// Bytes that columns are fetched ahead of their use.
const AHEAD: usize = 1024;

/// Columns in a register; a panel fills two.
const LANES: usize = 8;

/// Products in f32.
///
/// # Safety
/// The machine has AVX2 and FMA, and `out` holds every row of the product at `stride`.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn product_f32(sides: Sides<'_, f32>, out: &mut [f32], stride: usize) {
    // SAFETY: the caller's promise.
    unsafe { single::product(&Operands::new(sides, out, stride)) }
}

/// Products in bf16, widened to f32.
///
/// # Safety
/// As [`product_f32`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn product_bf16(sides: Sides<'_, bf16>, out: &mut [f32], stride: usize) {
    // SAFETY: the caller's promise.
    unsafe { widened::product(&Operands::new(sides, out, stride)) }
}

/// All tiles of a product, a panel of rows in the given pieces. A panel of columns stays in the
/// second cache while all rows pass.
macro_rules! walk {
    ($($first:literal, $rows:literal;)+) => {
        /// # Safety
        /// The machine has the instructions, and the operands can be read and written.
        #[target_feature(enable = "avx2,fma")]
        pub unsafe fn product(operands: &Operands) {
            for column in 0..operands.column_panels {
                for row in (0..operands.row_panels).map(|panel| panel * PANEL) {
                    // SAFETY: the pieces are a panel of rows; the rest is the caller's promise.
                    unsafe { $(tile::<$rows>(operands.tile(row + $first, column));)+ }
                }
            }
        }
    };
}

mod single {
    use super::*;

    walk!(0, 6; 6, 5; 11, 5;);

    /// `ROWS` rows by a panel of columns; one accumulator an entry, depth in order.
    ///
    /// # Safety
    /// As [`product`].
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn tile<const ROWS: usize>(tile: Tile) {
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        for word in 0..tile.words {
            // SAFETY: there are as many words in each column.
            let columns = unsafe { load(tile.column(0, word)) };
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: there are as many rows, and as many words in each.
                let row = _mm256_set1_ps(unsafe { tile.row(row, word).read_unaligned() });
                for (sum, columns) in sums.iter_mut().zip(columns) {
                    *sum = _mm256_fmadd_ps(row, columns, *sum);
                }
            }
        }
        // SAFETY: the entries can be written.
        unsafe { store(&tile, &sums) }
    }
}

/// Steps in registers alone; returns their multiply-adds.
///
/// # Safety
/// The machine has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn ceiling(rounds: usize) -> u64 {
    const SUMS: usize = 12;
    let (row, column) = black_box((_mm256_set1_ps(0.5), _mm256_set1_ps(0.25)));
    let mut sums = black_box([_mm256_setzero_ps(); SUMS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(row, column, *sum);
        }
    }
    black_box(sums);
    (rounds * SUMS * LANES) as u64
}

/// One word of 16 columns; those that follow are fetched ahead.
///
/// # Safety
/// They can be read.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn load(columns: *const f32) -> [__m256; 2] {
    // SAFETY: the caller's promise; fetching ahead may point anywhere.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(columns.cast::<i8>().wrapping_add(AHEAD));
        [
            _mm256_loadu_ps(columns),
            _mm256_loadu_ps(columns.add(LANES)),
        ]
    }
}

/// Writes the sums of a tile.
///
/// # Safety
/// The entries can be written.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn store<const ROWS: usize>(tile: &Tile, sums: &[[__m256; 2]; ROWS]) {
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            _mm256_storeu_ps(tile.entry(row, 0), sums[0]);
            _mm256_storeu_ps(tile.entry(row, 0).add(LANES), sums[1]);
        }
    }
}

use walk;
