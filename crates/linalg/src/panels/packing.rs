//! How do the rows or columns of a matrix become panels? Block by block, on the fly.
//!
//! A block is 16 vectors by 16 words of four bytes, a kilobyte that lies in one piece in both
//! layouts: word after word of each vector for rows, vector after vector of each word for columns.

use super::{DEPTH_STEP, Element, Instructions, PANEL, padded_depth, panels_for};
use crate::product::Matrix;

/// Sixteen vectors by sixteen words.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Block([[u32; PANEL]; PANEL]);

impl Block {
    /// Nothing but zeros.
    pub const ZERO: Self = Self([[0; PANEL]; PANEL]);

    /// Blocks of one panel of vectors of `width` numbers.
    pub fn per_panel<T: Element>(width: usize) -> usize {
        padded_depth(width) / T::LINE
    }

    /// Blocks as the numbers that they were packed from.
    pub fn numbers<T: Element>(blocks: &[Self]) -> &[T] {
        let count = blocks.len() * PANEL * T::LINE;
        // SAFETY: `T` is f32 or bf16 (sealed): any bits are a number, a word holds a whole count of
        // them, and 64 bytes are aligned for both. The result borrows the blocks.
        unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), count) }
    }
}

/// Which side of a product panels are packed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// As [`super::RowPanels`].
    Rows,
    /// As [`super::ColumnPanels`].
    Columns,
}

/// Packs the rows of a matrix as vectors into panels, rounded to `T`; what no vector fills becomes zero.
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
        // SAFETY: `Instructions` was seen on this machine.
        unsafe { avx512::pack::<T>(vectors, side, blocks) };
        return;
    }
    let _ = instructions;
    pack_with::<T>(vectors, side, blocks, transpose);
}

/// [`pack`], with a way to exchange the axes of a block. Inlined, so that the compiler uses the
/// instructions of the caller.
#[inline(always)]
fn pack_with<T: Element>(
    vectors: Matrix<'_, f32>,
    side: Side,
    blocks: &mut [Block],
    transpose: impl Fn(&mut Block),
) {
    let along = vectors.column_stride == 1;
    debug_assert!(along || vectors.row_stride == 1);
    let per_panel = Block::per_panel::<T>(vectors.columns);
    let panels = blocks.len() / per_panel;
    for at in 0..blocks.len() {
        // Numbers that are neighbours are read together: depths of a panel, or panels of a depth.
        let (panel, line) = match along {
            true => (at / per_panel, at % per_panel),
            false => (at % panels, at / panels),
        };
        let block = &mut blocks[panel * per_panel + line];
        let (first, depth) = (panel * PANEL, line * T::LINE);
        if along {
            fill_along::<T>(vectors, (first, depth), block);
        } else {
            fill_across::<T>(vectors, (first, depth), block);
        }
        if along == (side == Side::Columns) {
            transpose(block);
        }
    }
}

/// Vector after vector: the words of each.
#[inline(always)]
fn fill_along<T: Element>(
    from: Matrix<'_, f32>,
    (first, depth): (usize, usize),
    block: &mut Block,
) {
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

/// The words of a line; numbers that are not there are zero.
#[inline(always)]
pub fn line<T: Element>(numbers: &[f32]) -> [u32; PANEL] {
    if numbers.len() == T::LINE {
        return T::words_along(numbers);
    }
    let mut padded = [0.0; DEPTH_STEP];
    padded[..numbers.len()].copy_from_slice(numbers);
    T::words_along(&padded[..T::LINE])
}

/// Word after word: those of all vectors.
#[inline(always)]
fn fill_across<T: Element>(
    from: Matrix<'_, f32>,
    (first, depth): (usize, usize),
    block: &mut Block,
) {
    let count = (from.rows - first).min(PANEL);
    let numbers = |depth: usize| {
        let mut numbers = [0.0; PANEL];
        if depth < from.columns {
            let start = depth * from.column_stride + first;
            let there = &from.values[start..start + count];
            if let Ok(whole) = there.try_into() {
                return whole;
            }
            numbers[..count].copy_from_slice(there);
        }
        numbers
    };
    for (word, words) in block.0.iter_mut().enumerate() {
        let depth = depth + word * T::GROUP;
        *words = T::words_across(numbers(depth), || numbers(depth + 1));
    }
}

/// The nearest bf16 in the upper half, ties to even; the lower half is left as it falls.
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

    /// # Safety
    /// The machine has the instructions.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub unsafe fn pack<T: Element>(vectors: Matrix<'_, f32>, side: Side, blocks: &mut [Block]) {
        pack_with::<T>(vectors, side, blocks, |block| transpose(block));
    }

    /// Exchanges first the words within quarters of a register, then the quarters.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn transpose(block: &mut Block) {
        let at = block.0.as_mut_ptr().cast::<__m512i>();
        let mut lines = [_mm512_setzero_si512(); PANEL];
        for (row, line) in lines.iter_mut().enumerate() {
            // SAFETY: a block is 16 aligned lines of 64 bytes.
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
                // SAFETY: as above.
                unsafe { _mm512_store_si512(at.add(quarter * 4 + word), line) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panels::{ColumnPanels, InstructionSet, RowPanels};

    /// Every side, both directions, ragged counts, against placing vectors one at a time.
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
    fn packing_places_every_vector() {
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
    fn rounding_is_that_of_the_type() {
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
