//! Products in bf16 with AVX2, which knows no bf16: each depth as f32.

use std::arch::x86_64::*;

use super::{LANES, Operands, PANEL, Tile, load, store, walk};

// Columns as words and as numbers take four registers: eight accumulators leave room for them.
walk!(0, 4; 4, 4; 8, 4; 12, 4;);

/// Sixteen words of some rows as f32, first the even depths, then the odd ones.
#[repr(align(32))]
struct Line<const ROWS: usize>([[[f32; PANEL]; ROWS]; 2]);

/// `ROWS` rows by a panel of columns; one accumulator an entry, depth in order.
///
/// # Safety
/// As [`product`].
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn tile<const ROWS: usize>(tile: Tile) {
    let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
    let mut line = Line([[[0.0; PANEL]; ROWS]; 2]);
    for first in (0..tile.words).step_by(PANEL) {
        // SAFETY: there are as many rows, and 16 words of each.
        unsafe { widen_rows(&tile, first, &mut line) };
        for word in 0..PANEL {
            // SAFETY: there are as many words in each column.
            let words = unsafe { load(tile.column(0, first + word)) };
            for (parity, rows) in line.0.iter().enumerate() {
                let columns = [widen(words[0], parity), widen(words[1], parity)];
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let row = _mm256_set1_ps(row[word]);
                    for (sum, columns) in sums.iter_mut().zip(columns) {
                        *sum = _mm256_fmadd_ps(row, columns, *sum);
                    }
                }
            }
        }
    }
    // SAFETY: the entries can be written.
    unsafe { store(&tile, &sums) }
}

/// # Safety
/// Sixteen words of as many rows can be read.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn widen_rows<const ROWS: usize>(tile: &Tile, first: usize, line: &mut Line<ROWS>) {
    for row in 0..ROWS {
        for half in [0, LANES] {
            // SAFETY: the caller's promise.
            let words = unsafe { _mm256_loadu_ps(tile.row(row, first + half)) };
            for (parity, rows) in line.0.iter_mut().enumerate() {
                let half = &mut rows[row][half..half + LANES];
                // SAFETY: eight numbers were just cut.
                unsafe { _mm256_storeu_ps(half.as_mut_ptr(), widen(words, parity)) };
            }
        }
    }
}

/// The first or the second number of each pair. A bf16 is the upper half of an f32.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn widen(words: __m256, parity: usize) -> __m256 {
    let words = _mm256_castps_si256(words);
    _mm256_castsi256_ps(match parity {
        0 => _mm256_slli_epi32::<16>(words),
        _ => _mm256_and_si256(words, _mm256_set1_epi32(!0xffff)),
    })
}
