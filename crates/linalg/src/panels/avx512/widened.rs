//! Products in bf16 for AVX-512 that cannot multiply pairs of bf16: each depth as f32.

use std::arch::x86_64::*;

use super::{Operands, PANEL, Tile, groups, load, store, walk};

walk!("avx512f");

/// Sixteen words of some rows as f32, first the even depths, then the odd ones.
#[repr(align(64))]
struct Line<const ROWS: usize>([[[f32; PANEL]; ROWS]; 2]);

/// `ROWS` rows by `WIDTH` panels of columns; one accumulator an entry, depth in order.
///
/// # Safety
/// As [`product`].
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn tile<const ROWS: usize, const WIDTH: usize>(tile: Tile) {
    let mut sums = [[_mm512_setzero_ps(); WIDTH]; ROWS];
    let mut line = Line([[[0.0; PANEL]; ROWS]; 2]);
    for first in (0..tile.words).step_by(PANEL) {
        // SAFETY: there are as many rows, and 16 words of each.
        unsafe { widen_rows(&tile, first, &mut line) };
        for word in 0..PANEL {
            for (parity, rows) in line.0.iter().enumerate() {
                let mut columns = [_mm512_setzero_ps(); WIDTH];
                for (panel, columns) in columns.iter_mut().enumerate() {
                    // SAFETY: there are as many panels, and as many words in each.
                    let words = unsafe { load(tile.column(panel, first + word)) };
                    *columns = widen(words, parity);
                }
                for (sums, row) in sums.iter_mut().zip(rows) {
                    for (sum, columns) in sums.iter_mut().zip(columns) {
                        *sum = _mm512_fmadd_ps(_mm512_set1_ps(row[word]), columns, *sum);
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
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn widen_rows<const ROWS: usize>(tile: &Tile, first: usize, line: &mut Line<ROWS>) {
    for row in 0..ROWS {
        // SAFETY: the caller's promise.
        let words = unsafe { _mm512_loadu_ps(tile.row(row, first)) };
        for (parity, rows) in line.0.iter_mut().enumerate() {
            // SAFETY: the row of the line holds 16 numbers.
            unsafe { _mm512_storeu_ps(rows[row].as_mut_ptr(), widen(words, parity)) };
        }
    }
}

/// The first or the second number of each pair. A bf16 is the upper half of an f32.
#[target_feature(enable = "avx512f")]
#[inline]
fn widen(words: __m512, parity: usize) -> __m512 {
    let words = _mm512_castps_si512(words);
    _mm512_castsi512_ps(match parity {
        0 => _mm512_slli_epi32::<16>(words),
        _ => _mm512_and_si512(words, _mm512_set1_epi32(!0xffff)),
    })
}
