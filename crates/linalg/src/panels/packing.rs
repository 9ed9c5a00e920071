//! Packs the rows or columns of a matrix into panels, one block at a time.
//!
//! A block is 16 vectors by 16 words of four bytes: a contiguous kilobyte in both layouts. For rows
//! it holds the words of each vector one after the other, for columns its transposed: the 16 vectors'
//! words of each depth.

use super::{DEPTH_STEP, Element, Instructions, PANEL, padded_depth, panels_for};
use crate::product::Matrix;

/// Sixteen vectors by sixteen words.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Block([[u32; PANEL]; PANEL]);

impl Block {
    /// A block of zeros.
    pub const ZERO: Self = Self([[0; PANEL]; PANEL]);

    /// How many blocks make a panel of vectors of `width` numbers.
    pub fn per_panel<T: Element>(width: usize) -> usize {
        padded_depth(width) / T::LINE
    }

    /// The packed numbers of blocks.
    pub fn numbers<T: Element>(blocks: &[Self]) -> &[T] {
        let count = blocks.len() * PANEL * T::LINE;
        // SAFETY: `from_raw_parts` needs initialised numbers: the blocks are `u32`s, and any bits are
        // a number of `T`, which is f32 or bf16 (sealed). It needs `count` numbers: a block has
        // `PANEL * PANEL * 4` bytes, and `PANEL * T::LINE` numbers have as many. It needs their
        // alignment: a block is aligned to 64 bytes. The result borrows the blocks.
        unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), count) }
    }
}

/// Whether panels are packed as the left or as the right matrix of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// As [`super::RowPanels`].
    Rows,
    /// As [`super::ColumnPanels`].
    Columns,
}

/// Packs vectors, the rows of a matrix, into panels, rounded to `T`. The rest of the panels becomes
/// zero.
///
/// # Panics
/// When `blocks` has another length than the panels of these vectors.
pub fn pack<T: Element>(
    instructions: Instructions,
    vectors: Matrix<'_, f32>,
    side: Side,
    blocks: &mut [Block],
) {
    let per_panel = Block::per_panel::<T>(vectors.columns);
    let panels = panels_for(vectors.rows);
    assert_eq!(blocks.len(), panels * per_panel, "blocks for each panel");
    #[cfg(target_arch = "x86_64")]
    if instructions.set() >= super::InstructionSet::Avx512 {
        // SAFETY: `avx512::pack` needs AVX-512 F, BW, DQ and VL: `Instructions::detect` gives `Avx512`
        // or `Amx` only where all four were found.
        unsafe { avx512::pack::<T>(vectors, side, blocks) };
        return;
    }
    let _ = instructions;
    pack_with::<T>(vectors, side, blocks, transpose);
}

/// [`pack`], with a function that transposes a block. It is inlined, so that it is compiled with the
/// instructions of its caller.
#[inline(always)]
fn pack_with<T: Element>(
    vectors: Matrix<'_, f32>,
    side: Side,
    blocks: &mut [Block],
    transpose: impl Fn(&mut Block),
) {
    // Whether the numbers of a vector are neighbours; otherwise those of a depth are.
    let along = vectors.column_stride == 1;
    debug_assert!(along || vectors.row_stride == 1);
    let per_panel = Block::per_panel::<T>(vectors.columns);
    let panels = blocks.len() / per_panel;
    for at in 0..blocks.len() {
        // Panel by panel, or depth by depth, so that memory is read in order.
        let (panel, line) = match along {
            true => (at / per_panel, at % per_panel),
            false => (at % panels, at / panels),
        };
        let block = &mut blocks[panel * per_panel + line];
        let (first, depth) = (panel * PANEL, line * T::LINE);
        if along {
            fill_along::<T>(vectors, first, depth, block);
        } else {
            fill_across::<T>(vectors, first, depth, block);
        }
        if along == (side == Side::Columns) {
            transpose(block);
        }
    }
}

/// Fills a block, which begins at vector `first` and at `depth`, with the words of one vector after
/// the other. The numbers of a vector are neighbours in the matrix.
#[inline(always)]
fn fill_along<T: Element>(from: Matrix<'_, f32>, first: usize, depth: usize, block: &mut Block) {
    let depths = depth.min(from.columns)..(depth + T::LINE).min(from.columns);
    for (vector, words) in (first..).zip(&mut block.0) {
        if vector >= from.rows || depths.is_empty() {
            *words = [0; PANEL];
            continue;
        }
        let start = vector * from.row_stride;
        *words = line::<T>(&from.values[start + depths.start..start + depths.end]);
    }
}

/// Up to [`Element::LINE`] numbers as the words of a line, which ends with zeros.
#[inline(always)]
pub fn line<T: Element>(numbers: &[f32]) -> [u32; PANEL] {
    if numbers.len() == T::LINE {
        return T::words_along(numbers);
    }
    let mut padded = [0.0; DEPTH_STEP];
    padded[..numbers.len()].copy_from_slice(numbers);
    T::words_along(&padded[..T::LINE])
}

/// Fills a block, which begins at vector `first` and at `depth`, with the 16 vectors' words of one
/// depth after the other. The numbers of a depth are neighbours in the matrix.
#[inline(always)]
fn fill_across<T: Element>(from: Matrix<'_, f32>, first: usize, depth: usize, block: &mut Block) {
    let count = (from.rows - first).min(PANEL);
    let numbers = |depth: usize| {
        let mut numbers = [0.0; PANEL];
        if depth < from.columns {
            let start = depth * from.column_stride + first;
            let present = &from.values[start..start + count];
            if let Ok(all) = present.try_into() {
                return all;
            }
            numbers[..count].copy_from_slice(present);
        }
        numbers
    };
    for (word, words) in block.0.iter_mut().enumerate() {
        let depth = depth + word * T::GROUP;
        *words = T::words_across(numbers(depth), || numbers(depth + 1));
    }
}

/// A word whose upper half is the nearest bf16, ties to even; its lower half has no meaning.
#[inline(always)]
pub(super) fn rounded_above(number: f32) -> u32 {
    let bits = number.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    if number.is_nan() {
        bits | 0x0040_0000
    } else {
        nearest
    }
}

#[inline(always)]
fn transpose(block: &mut Block) {
    for row in 0..PANEL {
        for column in 0..row {
            let above = block.0[column][row];
            block.0[column][row] = std::mem::replace(&mut block.0[row][column], above);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{Block, Element, Matrix, PANEL, Side, pack_with};

    /// [`super::pack`], compiled for AVX-512.
    ///
    /// # Safety
    /// The machine has AVX-512 F, BW, DQ and VL.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub unsafe fn pack<T: Element>(vectors: Matrix<'_, f32>, side: Side, blocks: &mut [Block]) {
        pack_with::<T>(vectors, side, blocks, |block| transpose(block));
    }

    /// Transposes a block in 16 registers: first 4 x 4 words within each quarter of four registers, then
    /// the quarters.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn transpose(block: &mut Block) {
        let at = block.0.as_mut_ptr().cast::<__m512i>();
        let mut lines = [_mm512_setzero_si512(); PANEL];
        for (row, line) in lines.iter_mut().enumerate() {
            // SAFETY: `row` is below 16, and a block is 16 lines of 64 bytes, aligned to 64.
            *line = unsafe { _mm512_load_si512(at.add(row)) };
        }
        let mut quarters = [_mm512_setzero_si512(); PANEL];
        for four in 0..4 {
            let [a, b, c, d] = [0, 1, 2, 3].map(|row| lines[four * 4 + row]);
            let (low, high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let (low_next, high_next) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            quarters[four] = _mm512_unpacklo_epi64(low, low_next);
            quarters[four + 4] = _mm512_unpackhi_epi64(low, low_next);
            quarters[four + 8] = _mm512_unpacklo_epi64(high, high_next);
            quarters[four + 12] = _mm512_unpackhi_epi64(high, high_next);
        }
        for word in 0..4 {
            let [a, b, c, d] = [0, 1, 2, 3].map(|four| quarters[word * 4 + four]);
            let (even, odd) = (
                _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b),
            );
            let (even_next, odd_next) = (
                _mm512_shuffle_i32x4::<0b10_00_10_00>(c, d),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(c, d),
            );
            let lines = [
                _mm512_shuffle_i32x4::<0b10_00_10_00>(even, even_next),
                _mm512_shuffle_i32x4::<0b10_00_10_00>(odd, odd_next),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(even, even_next),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(odd, odd_next),
            ];
            for (quarter, line) in lines.into_iter().enumerate() {
                // SAFETY: `quarter * 4 + word` is below 16, one of the block's 16 aligned lines.
                unsafe { _mm512_store_si512(at.add(quarter * 4 + word), line) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panels::{ColumnPanels, InstructionSet, RowPanels};

    /// Compares packing with placing one vector at a time: as rows and as columns, of row-major and
    /// column-major matrices, for counts that do not fill their panels.
    fn packs_as_vectors_are_placed<T: Element>(instructions: Instructions) {
        let shapes = [(1, 1), (17, 33), (16, 32), (40, 100), (31, 15)];
        for (count, width) in shapes.into_iter().take(if cfg!(miri) { 2 } else { 5 }) {
            let values = crate::draws::numbers(count * width, count as u64);
            let depth = padded_depth(width);
            let blocks = panels_for(count) * Block::per_panel::<T>(width);
            let by_vector = Matrix::row_major(&values, count, width);
            let by_depth = Matrix::row_major(&values, width, count).transposed();
            for vectors in [by_vector, by_depth] {
                let mut rows = vec![T::default(); panels_for(count) * PANEL * depth];
                let mut columns = rows.clone();
                for at in 0..count {
                    let place = |k| at * vectors.row_stride + k * vectors.column_stride;
                    let vector: Vec<f32> = (0..width).map(|k| values[place(k)]).collect();
                    RowPanels::place(&mut rows, depth, at, &vector);
                    ColumnPanels::place(&mut columns, depth, at, &vector);
                }
                for (side, expected) in [(Side::Rows, rows), (Side::Columns, columns)] {
                    let mut packed = vec![Block([[7; PANEL]; PANEL]); blocks];
                    pack::<T>(instructions, vectors, side, &mut packed);
                    let bits = |numbers: &[T]| -> Vec<u32> {
                        numbers.iter().map(|x| x.to_f32().to_bits()).collect()
                    };
                    assert_eq!(bits(Block::numbers(&packed)), bits(&expected), "{side:?}");
                }
            }
        }
    }

    #[test]
    fn packing_equals_placing_each_vector() {
        for set in InstructionSet::ALL {
            match Instructions::detect(set) {
                Ok(instructions) => {
                    packs_as_vectors_are_placed::<f32>(instructions);
                    packs_as_vectors_are_placed::<half::bf16>(instructions);
                }
                Err(unavailable) => eprintln!("skipped: {unavailable}"),
            }
        }
    }

    #[test]
    fn rounding_equals_that_of_half() {
        let corners = [
            0.0,
            -0.0,
            1.0,
            f32::MAX,
            f32::MIN_POSITIVE,
            1e-45,
            f32::INFINITY,
            f32::NAN,
        ];
        let ties = [0x3f80_8000, 0x3f81_8000, 0x3f80_7fff, 0x3f80_8001].map(f32::from_bits);
        for number in corners.into_iter().chain(ties).flat_map(|x| [x, -x]) {
            let found = (rounded_above(number) >> 16) as u16;
            assert_eq!(found, half::bf16::from_f32(number).to_bits(), "{number}");
        }
    }
}
