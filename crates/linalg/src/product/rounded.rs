//! Products of f32 matrices on rounded numbers, packed into panels on the way.

use std::cell::RefCell;

use half::bf16;

use super::{Matrix, Output};
use crate::panels::packing::{Block, Side, Vectors, pack};
use crate::panels::{self, ColumnPanels, Element, Instructions, PANEL, RowPanels, panels_for};

/// Rows that are packed at a time: at most as many bytes, half of a small second cache.
const ROW_BYTES: usize = 256 << 10;

/// Columns that are multiplied at a time: two rounds of the widest tile.
pub(super) const COLUMNS: usize = 96;

/// `out = lhs · rhs`, or `out += lhs · rhs`, with the numbers of both sides rounded to bf16 (the
/// nearest, ties to even) and sums in f32.
///
/// Runs on the calling thread, which keeps its packing space for the next product. For one set of
/// instructions an entry depends on its row and column alone, to the last bit.
///
/// # Shapes
/// lhs [m, k], rhs [k, n], `out` row-major [m, n]. With k = 0 the product is zero.
///
/// # Panics
/// When the shapes do not fit each other: the caller cut its buffers wrongly.
///
/// ```
/// use uard_linalg::panels::Instructions;
/// use uard_linalg::product::{Matrix, Output, product_bf16};
/// let a = Matrix::row_major(&[1.0, 2.0, 3.0, 4.0], 2, 2);
/// let mut out = [0.0; 4];
/// product_bf16(Instructions::best(), &mut out, a, a.transposed(), Output::Overwrite);
/// assert_eq!(out, [5.0, 11.0, 11.0, 25.0]);
/// ```
pub fn product_bf16(
    instructions: Instructions,
    out: &mut [f32],
    lhs: Matrix<f32>,
    rhs: Matrix<f32>,
    output: Output,
) {
    product_on_panels::<bf16>(instructions, out, lhs, rhs, output);
}

/// [`product_bf16`] for either type of number. In f32 nothing is rounded but the sums; it is the
/// faster way where a short lhs meets a transposed rhs, which `gemm` is slow at.
pub fn product_on_panels<T: Element>(
    instructions: Instructions,
    out: &mut [f32],
    lhs: Matrix<f32>,
    rhs: Matrix<f32>,
    output: Output,
) {
    let (m, k, n) = (lhs.rows, lhs.columns, rhs.columns);
    assert_eq!(rhs.rows, k, "columns of the left are rows of the right");
    assert_eq!(
        Some(out.len()),
        m.checked_mul(n),
        "the output holds {m} x {n} numbers"
    );
    if k == 0 && output == Output::Overwrite {
        out.fill(0.0);
    }
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    thread_local! {
        static SPACE: RefCell<Space> = const { RefCell::new(Space::EMPTY) };
    }
    let job = Job {
        instructions,
        rows: vectors_of(lhs),
        columns: vectors_of(rhs.transposed()),
        output,
    };
    SPACE.with_borrow_mut(|space| job.run::<T>(space, out));
}

/// The rows of a matrix.
pub(super) fn vectors_of(matrix: Matrix<'_, f32>) -> Vectors<'_> {
    Vectors {
        values: matrix.values,
        count: matrix.rows,
        width: matrix.columns,
        vector_stride: matrix.row_stride,
        depth_stride: matrix.column_stride,
    }
}

/// Packed blocks of both sides and sums that are not yet in the output.
struct Space {
    rows: Vec<Block>,
    columns: Vec<Block>,
    sums: Vec<f32>,
}

impl Space {
    const EMPTY: Self = Self {
        rows: Vec::new(),
        columns: Vec::new(),
        sums: Vec::new(),
    };
}

/// The beginning of a vector that is made long enough; what was there stays.
fn beginning<T: Copy>(space: &mut Vec<T>, length: usize, zero: T) -> &mut [T] {
    if space.len() < length {
        space.resize(length, zero);
    }
    &mut space[..length]
}

struct Job<'a> {
    instructions: Instructions,
    rows: Vectors<'a>,
    columns: Vectors<'a>,
    output: Output,
}

impl Job<'_> {
    /// Every number is packed once: a few rows at a time, and all columns while the first rows
    /// meet them.
    fn run<T: Element>(&self, space: &mut Space, out: &mut [f32]) {
        let (rows, columns) = (self.rows, self.columns);
        let per_panel = Block::per_panel::<T>(rows.width);
        let panels = (ROW_BYTES / (per_panel * size_of::<Block>())).max(2) & !1;
        let panels = panels.min(panels_for(rows.count));
        let packed_rows = beginning(&mut space.rows, panels * per_panel, Block::ZERO);
        let length = panels_for(columns.count) * per_panel;
        let packed_columns = beginning(&mut space.columns, length, Block::ZERO);
        let sums = beginning(&mut space.sums, panels * PANEL * COLUMNS, 0.0);
        let depth = per_panel * T::LINE;

        for first in (0..rows.count).step_by(panels * PANEL) {
            let some_rows = rows.part(first, (rows.count - first).min(panels * PANEL));
            let packed = &mut packed_rows[..panels_for(some_rows.count) * per_panel];
            pack::<T>(self.instructions, some_rows, Side::Rows, packed);
            let packed = RowPanels::<T>::new(Block::numbers(packed), depth);
            let chunks = packed_columns.chunks_mut(COLUMNS / PANEL * per_panel);
            for (at, chunk) in (0..columns.count).step_by(COLUMNS).zip(chunks) {
                let some_columns = columns.part(at, (columns.count - at).min(COLUMNS));
                if first == 0 {
                    pack::<T>(self.instructions, some_columns, Side::Columns, chunk);
                }
                let columns = ColumnPanels::<T>::new(Block::numbers(chunk), depth);
                panels::product(self.instructions, packed, columns, sums, COLUMNS);
                let lines = out.chunks_exact_mut(self.columns.count).skip(first);
                for (line, sums) in lines.zip(sums.chunks(COLUMNS)).take(some_rows.count) {
                    let line = &mut line[at..at + some_columns.count];
                    write(&sums[..some_columns.count], line, self.output);
                }
            }
        }
    }
}

/// Puts sums into the output, or adds them.
pub(super) fn write(sums: &[f32], line: &mut [f32], output: Output) {
    match output {
        Output::Overwrite => line.copy_from_slice(sums),
        Output::Accumulate => line.iter_mut().zip(sums).for_each(|(x, sum)| *x += sum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws::numbers;
    use crate::panels::InstructionSet;

    /// [m, k, n]: one number, ragged panels, more rows and more columns than are packed at a time.
    const SHAPES: &[[usize; 3]] = if cfg!(miri) {
        &[[1, 1, 1], [17, 33, 18]]
    } else {
        &[
            [1, 1, 1],
            [16, 32, 96],
            [17, 33, 205],
            [35, 2100, 17],
            [5, 64, 16],
        ]
    };

    /// A matrix, row-major or as the transposed of one.
    fn laid(values: &[f32], rows: usize, columns: usize, transposed: usize) -> Matrix<'_, f32> {
        match transposed {
            0 => Matrix::row_major(values, rows, columns),
            _ => Matrix::row_major(values, columns, rows).transposed(),
        }
    }

    fn is_the_product_of_rounded_numbers<T: Element>(
        instructions: Instructions,
        [m, k, n]: [usize; 3],
    ) {
        let (left, right) = (numbers(m * k, 1), numbers(k * n, 2));
        for layout in 0..4 {
            let lhs = laid(&left, m, k, layout & 1);
            let rhs = laid(&right, k, n, layout >> 1);
            let mut out = vec![f32::NAN; m * n];
            product_on_panels::<T>(instructions, &mut out, lhs, rhs, Output::Overwrite);
            let mut sums = vec![1.0; m * n];
            product_on_panels::<T>(instructions, &mut sums, lhs, rhs, Output::Accumulate);
            for (place, (&found, &added)) in out.iter().zip(&sums).enumerate() {
                let (i, j) = (place / n, place % n);
                let factor = |at: usize| {
                    let a = lhs.values[i * lhs.row_stride + at * lhs.column_stride];
                    let b = rhs.values[at * rhs.row_stride + j * rhs.column_stride];
                    f64::from(T::from_f32(a).to_f32()) * f64::from(T::from_f32(b).to_f32())
                };
                let sum: f64 = (0..k).map(factor).sum();
                let size: f64 = (0..k).map(|at| factor(at).abs()).sum();
                // One rounding an addition, each half a unit of the last place.
                let bound = k as f64 * f64::from(f32::EPSILON) / 2.0 * size;
                assert!(
                    (f64::from(found) - sum).abs() <= bound,
                    "{instructions:?} {layout}"
                );
                assert_eq!(added, found + 1.0, "accumulating adds the same product");
            }
        }
    }

    #[test]
    fn every_set_multiplies_rounded_matrices() {
        for set in InstructionSet::ALL {
            match Instructions::detect(set) {
                Ok(instructions) => {
                    for &shape in SHAPES {
                        is_the_product_of_rounded_numbers::<f32>(instructions, shape);
                        is_the_product_of_rounded_numbers::<bf16>(instructions, shape);
                    }
                }
                Err(unavailable) => eprintln!("skipped: {unavailable}"),
            }
        }
    }

    #[test]
    fn empty_inner_axis_gives_zero() {
        let mut out = [7.0; 2];
        let (lhs, rhs) = (Matrix::row_major(&[], 2, 0), Matrix::row_major(&[], 0, 1));
        product_bf16(Instructions::SCALAR, &mut out, lhs, rhs, Output::Accumulate);
        assert_eq!(out, [7.0; 2]);
        product_bf16(Instructions::SCALAR, &mut out, lhs, rhs, Output::Overwrite);
        assert_eq!(out, [0.0; 2]);
    }
}
