//! Every instruction set gives the products of the scalar loops, and no size wraps.

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
mod emulated;

use super::*;
use crate::draws::numbers;

/// One accumulator rounds each of its additions: this many units of the last place of f32 a step,
/// relative to the sum of the products' sizes.
const UNITS_PER_DEPTH: f64 = 1.0;

type Multiply<T> = Box<dyn Fn(Sides<'_, T>, &mut [f32], usize)>;

/// A kernel under test, by the name it has in messages.
struct Subject<T> {
    name: String,
    multiply: Multiply<T>,
}

/// The kernels that this machine can run; the others are named.
fn subjects<T: Element>() -> Vec<Subject<T>> {
    let sets = InstructionSet::ALL.into_iter();
    sets.filter_map(|set| match Instructions::detect(set) {
        Ok(instructions) => Some(Subject::of(instructions)),
        Err(unavailable) => {
            eprintln!("skipped: {unavailable}");
            None
        }
    })
    .collect()
}

impl<T: Element> Subject<T> {
    fn of(instructions: Instructions) -> Self {
        Self {
            name: instructions.set().to_string(),
            multiply: Box::new(move |(rows, columns), out, stride| {
                product(instructions, rows, columns, out, stride);
            }),
        }
    }
}

/// Panels of seeded numbers of both sides, one number away from where the allocation begins:
/// kernels may not ask for more than the alignment of a number.
struct Packed<T> {
    rows: Vec<T>,
    columns: Vec<T>,
    depth: usize,
}

impl<T: Element> Packed<T> {
    fn new((row_panels, column_panels): (usize, usize), depth: usize) -> Self {
        let place = |panels: usize, seed| -> Vec<T> {
            let numbers = numbers(panels * PANEL * depth, seed);
            let numbers = numbers.into_iter().map(T::from_f32);
            std::iter::once(T::default()).chain(numbers).collect()
        };
        Self {
            rows: place(row_panels, 1),
            columns: place(column_panels, 2),
            depth,
        }
    }

    fn sides(&self) -> Sides<'_, T> {
        (
            RowPanels::new(&self.rows[1..], self.depth),
            ColumnPanels::new(&self.columns[1..], self.depth),
        )
    }
}

const UNTOUCHED: f32 = -77.0;

/// The product, with a stride beyond its width; what lies between must stay.
fn multiplied<T: Element>(subject: &Subject<T>, (rows, columns): Sides<'_, T>) -> Vec<f32> {
    let (height, width) = (rows.panels() * PANEL, columns.panels() * PANEL);
    let stride = width + 5;
    let mut out = vec![UNTOUCHED; height * stride + 9];
    (subject.multiply)((rows, columns), &mut out, stride);
    assert!(out[height * stride..].iter().all(|x| *x == UNTOUCHED));
    let lines = out[..height * stride].chunks(stride);
    lines
        .flat_map(|line| {
            assert!(
                line[width..].iter().all(|x| *x == UNTOUCHED),
                "{}",
                subject.name
            );
            line[..width].to_vec()
        })
        .collect()
}

/// Panels of rows and of columns: each width of a tile, and what remains of it.
const RAGGED: &[(usize, usize)] = if cfg!(miri) {
    &[(1, 1), (1, 2)]
} else {
    &[
        (1, 1),
        (1, 2),
        (2, 1),
        (3, 3),
        (2, 4),
        (1, 5),
        (5, 6),
        (3, 7),
    ]
};

fn equals_the_sum_in_f64<T: Element>(subject: &Subject<T>) {
    for (at, &shape) in RAGGED.iter().enumerate() {
        let depth = if cfg!(miri) {
            32
        } else {
            [32, 96, 512, 1056][at % 4]
        };
        let packed = Packed::<T>::new(shape, depth);
        let (rows, columns) = packed.sides();
        let found = multiplied(subject, (rows, columns));
        let columns = vectors(shape.1, |at| columns.vector(at, depth));
        for (i, found) in found.chunks(shape.1 * PANEL).enumerate() {
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
                    subject.name
                );
            }
        }
    }
}

fn vectors(panels: usize, vector: impl Fn(usize) -> Vec<f32>) -> Vec<Vec<f32>> {
    (0..panels * PANEL).map(vector).collect()
}

/// Multiplies vectors in another order, one panel of columns at a time and all at once: every
/// entry keeps its bits.
fn depends_on_its_row_and_column_alone<T: Element>(subject: &Subject<T>) {
    let depth = if cfg!(miri) { 32 } else { 160 };
    for &shape in RAGGED {
        let packed = Packed::<T>::new(shape, depth);
        let whole = multiplied(subject, packed.sides());
        let (heights, widths) = (shape.0 * PANEL, shape.1 * PANEL);
        // Steps that are prime to the counts visit every vector once.
        let from_row = |row: usize| (row * 7 + 3) % heights;
        let from_column = |column: usize| (column * 11 + 5) % widths;
        let (rows, columns) = packed.sides();
        let mut moved = Packed::<T>::new(shape, depth);
        for row in 0..heights {
            RowPanels::place(
                &mut moved.rows[1..],
                depth,
                row,
                &rows.vector(from_row(row), depth),
            );
        }
        for column in 0..widths {
            let vector = columns.vector(from_column(column), depth);
            ColumnPanels::place(&mut moved.columns[1..], depth, column, &vector);
        }
        let found = multiplied(subject, moved.sides());
        for (at, found) in found.iter().enumerate() {
            let place = from_row(at / widths) * widths + from_column(at % widths);
            let name = &subject.name;
            assert_eq!(
                found.to_bits(),
                whole[place].to_bits(),
                "{name} {shape:?} {at}"
            );
        }
        for panel in 0..shape.1 {
            let part = multiplied(subject, (rows, columns.slice(panel..panel + 1)));
            for (row, part) in part.chunks(PANEL).enumerate() {
                let whole = &whole[row * widths + panel * PANEL..][..PANEL];
                assert!(
                    part.iter()
                        .zip(whole)
                        .all(|(a, b)| a.to_bits() == b.to_bits())
                );
            }
        }
    }
}

fn suite<T: Element>(subject: &Subject<T>) {
    equals_the_sum_in_f64(subject);
    depends_on_its_row_and_column_alone(subject);
}

#[test]
fn every_set_multiplies_in_f32() {
    subjects::<f32>().iter().for_each(suite);
}

#[test]
fn every_set_multiplies_in_bf16() {
    subjects::<bf16>().iter().for_each(suite);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn avx512_without_pairs_of_bf16_widens_them() {
    match Instructions::detect(InstructionSet::Avx512) {
        Ok(instructions) => suite::<bf16>(&Subject {
            name: "avx512 widened".to_owned(),
            multiply: Box::new(move |sides, out, stride| {
                instructions.run(wide::Pairs(tiling::Operands::new(sides, out, stride)));
            }),
        }),
        Err(unavailable) => eprintln!("skipped: {unavailable}"),
    }
}

/// The machine code of the AMX kernel, by the processor or, without one, by the emulation.
#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
#[test]
fn amx_multiplies_in_bf16() {
    let subject = Subject::of(Instructions::detect(InstructionSet::Amx).unwrap_or_else(
        |missing| {
            eprintln!("its instructions are emulated: {missing}");
            emulated::install()
        },
    ));
    suite::<bf16>(&subject);
    sums_blocks_of_depths(&subject);
}

/// To the last bit: of each 32 depths the even and the odd ones apart, then both, then the rest.
#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
fn sums_blocks_of_depths(subject: &Subject<bf16>) {
    for &shape in RAGGED {
        let packed = Packed::<bf16>::new(shape, 96);
        let (rows, columns) = packed.sides();
        let found = multiplied(subject, (rows, columns));
        for (at, found) in found.iter().enumerate() {
            let row = rows.vector(at / (shape.1 * PANEL), 96);
            let column = columns.vector(at % (shape.1 * PANEL), 96);
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
#[should_panic(expected = "panels that are there")]
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
    let sides = (RowPanels::new(&rows, 32), ColumnPanels::new(&columns, 32));
    product(
        Instructions::best(),
        sides.0,
        sides.1,
        &mut [0.0; 2000],
        stride,
    );
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
fn the_machine_is_asked_once_and_answers_the_same() {
    for set in InstructionSet::ALL {
        assert_eq!(Instructions::detect(set), Instructions::detect(set));
    }
    assert!(Instructions::detect(InstructionSet::Scalar).is_ok());
    assert!(Instructions::detect(Instructions::best().set()).is_ok());
}
