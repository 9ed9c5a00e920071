//! Tests of the products of panels: every instruction set against sums in f64, and sizes that
//! overflow.

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
mod emulated;

use super::*;
use crate::draws::numbers;

/// The allowed error of a sum: this many units in the last place of f32 for each depth, relative to the
/// sum of the magnitudes of the products. Each addition rounds once.
const UNITS_PER_DEPTH: f64 = 1.0;

type Multiply<T> = Box<dyn Fn(RowPanels<'_, T>, ColumnPanels<'_, T>, &mut [f32], usize)>;

/// A kernel under test.
struct TestedKernel<T> {
    /// Its name in messages.
    name: String,
    multiply: Multiply<T>,
}

/// The kernels that this machine can run. A message names the others.
fn tested_kernels<T: Element>() -> Vec<TestedKernel<T>> {
    let sets = InstructionSet::ALL.into_iter();
    sets.filter_map(|set| match Instructions::detect(set) {
        Ok(instructions) => Some(TestedKernel::new(instructions)),
        Err(unavailable) => {
            eprintln!("skipped: {unavailable}");
            None
        }
    })
    .collect()
}

impl<T: Element> TestedKernel<T> {
    fn new(instructions: Instructions) -> Self {
        Self {
            name: instructions.set().to_string(),
            multiply: Box::new(move |rows, columns, out, stride| {
                product(instructions, rows, columns, out, stride);
            }),
        }
    }
}

/// Rows and columns of seeded numbers in panels, which begin one number after the allocation: kernels
/// may not need more than the alignment of a number.
struct Packed<T> {
    rows: Vec<T>,
    columns: Vec<T>,
    depth: usize,
}

impl<T: Element> Packed<T> {
    fn new(shape: PanelCounts, depth: usize) -> Self {
        let after_one = |panels: usize, seed| -> Vec<T> {
            let numbers = numbers(panels * PANEL * depth, seed);
            let numbers = numbers.into_iter().map(T::from_f32);
            std::iter::once(T::default()).chain(numbers).collect()
        };
        Self {
            rows: after_one(shape.rows, 1),
            columns: after_one(shape.columns, 2),
            depth,
        }
    }

    fn rows(&self) -> RowPanels<'_, T> {
        RowPanels::new(&self.rows[1..], self.depth)
    }

    fn columns(&self) -> ColumnPanels<'_, T> {
        ColumnPanels::new(&self.columns[1..], self.depth)
    }
}

const UNTOUCHED: f32 = -77.0;

/// The product, written at a stride above its width; the numbers in between must stay.
fn multiplied<T: Element>(
    kernel: &TestedKernel<T>,
    rows: RowPanels<'_, T>,
    columns: ColumnPanels<'_, T>,
) -> Vec<f32> {
    let (height, width) = (rows.panels() * PANEL, columns.panels() * PANEL);
    let stride = width + 5;
    let mut out = vec![UNTOUCHED; height * stride + 9];
    (kernel.multiply)(rows, columns, &mut out, stride);
    assert!(out[height * stride..].iter().all(|x| *x == UNTOUCHED));
    let lines = out[..height * stride].chunks(stride);
    lines
        .flat_map(|line| {
            assert!(
                line[width..].iter().all(|x| *x == UNTOUCHED),
                "{}",
                kernel.name
            );
            line[..width].to_vec()
        })
        .collect()
}

/// How many panels of rows and of columns a product has.
#[derive(Debug, Clone, Copy)]
struct PanelCounts {
    rows: usize,
    columns: usize,
}

const fn panels(rows: usize, columns: usize) -> PanelCounts {
    PanelCounts { rows, columns }
}

/// Every width of a tile, and panels that fill no tile of the greatest width.
const RAGGED: &[PanelCounts] = if cfg!(miri) {
    &[panels(1, 1), panels(1, 2)]
} else {
    &[
        panels(1, 1),
        panels(1, 2),
        panels(2, 1),
        panels(3, 3),
        panels(2, 4),
        panels(1, 5),
        panels(5, 6),
        panels(3, 7),
    ]
};

fn equals_the_sum_in_f64<T: Element>(kernel: &TestedKernel<T>) {
    for (at, &shape) in RAGGED.iter().enumerate() {
        let depth = if cfg!(miri) {
            32
        } else {
            [32, 96, 512, 1056][at % 4]
        };
        let packed = Packed::<T>::new(shape, depth);
        let (rows, columns) = (packed.rows(), packed.columns());
        let found = multiplied(kernel, rows, columns);
        let columns = vectors(shape.columns, |at| columns.vector(at, depth));
        for (i, found) in found.chunks(shape.columns * PANEL).enumerate() {
            let row = rows.vector(i, depth);
            for (found, column) in found.iter().zip(&columns) {
                let products = || {
                    row.iter()
                        .zip(column)
                        .map(|(a, b)| f64::from(*a) * f64::from(*b))
                };
                let (sum, size): (f64, f64) = (products().sum(), products().map(f64::abs).sum());
                let unit = f64::from(f32::EPSILON) / 2.0;
                let bound = UNITS_PER_DEPTH * depth as f64 * unit * size;
                let error = (f64::from(*found) - sum).abs();
                assert!(
                    error <= bound,
                    "{} {shape:?} {depth}: {error} {bound}",
                    kernel.name
                );
            }
        }
    }
}

fn vectors(panels: usize, vector: impl Fn(usize) -> Vec<f32>) -> Vec<Vec<f32>> {
    (0..panels * PANEL).map(vector).collect()
}

/// Multiplies the vectors in another order, and one panel of columns at a time: every entry has the
/// bits that it has in the whole product.
fn depends_on_its_row_and_column_alone<T: Element>(kernel: &TestedKernel<T>) {
    let depth = if cfg!(miri) { 32 } else { 160 };
    for &shape in RAGGED {
        let packed = Packed::<T>::new(shape, depth);
        let (rows, columns) = (packed.rows(), packed.columns());
        let whole = multiplied(kernel, rows, columns);
        let (height, width) = (shape.rows * PANEL, shape.columns * PANEL);
        // A factor without a common divisor with the count visits every vector once.
        let from_row = |row: usize| (row * 7 + 3) % height;
        let from_column = |column: usize| (column * 11 + 5) % width;
        let mut moved = Packed::<T>::new(shape, depth);
        for row in 0..height {
            RowPanels::place(
                &mut moved.rows[1..],
                depth,
                row,
                &rows.vector(from_row(row), depth),
            );
        }
        for column in 0..width {
            let vector = columns.vector(from_column(column), depth);
            ColumnPanels::place(&mut moved.columns[1..], depth, column, &vector);
        }
        let found = multiplied(kernel, moved.rows(), moved.columns());
        for (at, found) in found.iter().enumerate() {
            let index = from_row(at / width) * width + from_column(at % width);
            let name = &kernel.name;
            assert_eq!(
                found.to_bits(),
                whole[index].to_bits(),
                "{name} {shape:?} {at}"
            );
        }
        for panel in 0..shape.columns {
            let part = multiplied(kernel, rows, columns.slice(panel..panel + 1));
            for (row, part) in part.chunks(PANEL).enumerate() {
                let whole = &whole[row * width + panel * PANEL..][..PANEL];
                assert!(
                    part.iter()
                        .zip(whole)
                        .all(|(a, b)| a.to_bits() == b.to_bits())
                );
            }
        }
    }
}

/// Multiplies the first rows only, of every number: they have the bits that they have in the whole
/// product.
fn first_rows_are_those_of_the_whole<T: Element>(kernel: &TestedKernel<T>) {
    for &shape in RAGGED {
        let packed = Packed::<T>::new(shape, 64);
        let (rows, columns) = (packed.rows(), packed.columns());
        let width = shape.columns * PANEL;
        let bits =
            |products: &[f32]| -> Vec<u32> { products.iter().map(|it| it.to_bits()).collect() };
        let whole = bits(&multiplied(kernel, rows, columns));
        for needed in 1..=shape.rows * PANEL {
            let found = multiplied(kernel, rows.first(needed), columns);
            let expected = &whole[..needed * width];
            assert_eq!(
                &bits(&found)[..needed * width],
                expected,
                "{} {shape:?} {needed}",
                kernel.name
            );
        }
        let last = rows
            .first(shape.rows * PANEL - 1)
            .slice(shape.rows - 1..shape.rows);
        assert_eq!(last.rows(), PANEL - 1);
    }
}

fn run_all<T: Element>(kernel: &TestedKernel<T>) {
    equals_the_sum_in_f64(kernel);
    depends_on_its_row_and_column_alone(kernel);
    first_rows_are_those_of_the_whole(kernel);
}

#[test]
fn every_set_multiplies_in_f32() {
    tested_kernels::<f32>().iter().for_each(run_all);
}

#[test]
fn every_set_multiplies_in_bf16() {
    tested_kernels::<bf16>().iter().for_each(run_all);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn avx512_without_pairs_of_bf16_widens_them() {
    match Instructions::detect(InstructionSet::Avx512) {
        Ok(instructions) => run_all::<bf16>(&TestedKernel {
            name: "avx512 widened".to_owned(),
            multiply: Box::new(move |rows, columns, out, stride| {
                let operands = tiling::Operands::new(rows, columns, out, stride);
                instructions.run(wide::Pairs(operands));
            }),
        }),
        Err(unavailable) => eprintln!("skipped: {unavailable}"),
    }
}

/// Runs the AMX kernel on the processor, or with emulated instructions where it has no AMX.
#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
#[test]
fn amx_multiplies_in_bf16() {
    let kernel = TestedKernel::new(Instructions::detect(InstructionSet::Amx).unwrap_or_else(
        |missing| {
            eprintln!("instructions of AMX are emulated: {missing}");
            emulated::install()
        },
    ));
    run_all::<bf16>(&kernel);
    sums_blocks_of_depths(&kernel);
}

/// Compares every bit with the order of `tdpbf16ps`: of each 32 depths it sums the even and the odd ones
/// apart, adds the two sums, and adds that to the sum of the depths before.
#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
fn sums_blocks_of_depths(kernel: &TestedKernel<bf16>) {
    for &shape in RAGGED {
        let packed = Packed::<bf16>::new(shape, 96);
        let (rows, columns) = (packed.rows(), packed.columns());
        let found = multiplied(kernel, rows, columns);
        for (at, found) in found.iter().enumerate() {
            let row = rows.vector(at / (shape.columns * PANEL), 96);
            let column = columns.vector(at % (shape.columns * PANEL), 96);
            let blocks = row.chunks(32).zip(column.chunks(32));
            let sum = blocks.fold(0.0_f32, |sum, (row, column)| {
                let parity = |first: usize| {
                    let depths = row.iter().zip(column).skip(first).step_by(2);
                    depths.fold(0.0_f32, |sum, (a, b)| a.mul_add(*b, sum))
                };
                sum + (parity(0) + parity(1))
            });
            assert_eq!(found.to_bits(), sum.to_bits(), "{shape:?} {at}");
        }
    }
}

#[test]
#[should_panic(expected = "whole panels")]
fn a_depth_whose_panel_wraps_is_refused() {
    let depth = (1 << 60) + 32;
    RowPanels::new(&[1.0f32; 16 * 32], depth);
}

#[test]
#[should_panic(expected = "a range of the panels")]
fn a_range_that_leaves_the_panels_is_refused() {
    let values = [1.0f32; 16 * 32];
    ColumnPanels::new(&values, 32).slice(0..usize::MAX / 512 + 2);
}

#[test]
#[should_panic(expected = "32 rows of output")]
fn a_stride_whose_rows_wrap_is_refused() {
    let (rows, columns) = ([1.0f32; 2 * 16 * 32], [1.0f32; 16 * 32]);
    // 31 strides are 2^64 and a little.
    let stride = usize::MAX / 31 + 1;
    assert!(31usize.wrapping_mul(stride) < 1000);
    let (rows, columns) = (RowPanels::new(&rows, 32), ColumnPanels::new(&columns, 32));
    let mut out = [0.0; 2000];
    product(Instructions::best(), rows, columns, &mut out, stride);
}

#[test]
fn a_vector_comes_back_from_both_layouts() {
    let (width, count) = (33, 18);
    let vectors = numbers(width * count, 1);
    let (mut rows, mut columns) = (vec![0.0; 2 * PANEL * 64], vec![0.0; 2 * PANEL * 64]);
    for (at, vector) in vectors.chunks(width).enumerate() {
        RowPanels::place(&mut rows, 64, at, vector);
        ColumnPanels::place(&mut columns, 64, at, vector);
    }
    let (rows, columns) = (RowPanels::new(&rows, 64), ColumnPanels::new(&columns, 64));
    assert_eq!((rows.panels(), columns.panels()), (2, 2));
    for at in 0..count {
        let expected = &vectors[at * width..][..width];
        assert_eq!(rows.vector(at, width), expected);
        assert_eq!(columns.vector(at, width), expected);
    }
}

#[test]
fn detection_gives_the_same_each_time() {
    for set in InstructionSet::ALL {
        assert_eq!(Instructions::detect(set), Instructions::detect(set));
    }
    assert!(Instructions::detect(InstructionSet::Scalar).is_ok());
    assert!(Instructions::detect(Instructions::best().set()).is_ok());
}
