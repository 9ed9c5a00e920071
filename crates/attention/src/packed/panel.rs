//! How do vectors get into a panel? Sixteen at a time, a line of each, as 32-bit cells.
//!
//! A cell is one f32 or a pair of bf16, so that the layouts of [`uard_core::panels`] are the same
//! for both: rows keep the sixteen cells of a line together, columns transpose them.
//!
//! ```text
//! rows     [line][16 rows ][16 cells]
//! columns  [line][16 cells][16 columns]
//! ```

use half::bf16;
use uard_core::panels::PANEL;

use super::layout::Kind;
use super::rounding::to_bf16;

/// Cells of one vector that lie in a line: 64 bytes.
const LINE_CELLS: usize = 16;

/// The vectors of a panel, by their place in it; a place without one keeps what it holds.
pub type Vectors<'a> = [Option<&'a [f32]>; PANEL];

/// How numbers become cells.
pub trait Cells {
    /// Numbers in a line.
    const NUMBERS: usize;

    /// The cells of a line; numbers that are not there are zero.
    fn line(numbers: &[f32]) -> [u32; LINE_CELLS];
}

impl Cells for f32 {
    const NUMBERS: usize = LINE_CELLS;

    fn line(numbers: &[f32]) -> [u32; LINE_CELLS] {
        padded::<LINE_CELLS>(numbers).map(f32::to_bits)
    }
}

impl Cells for bf16 {
    const NUMBERS: usize = 2 * LINE_CELLS;

    fn line(numbers: &[f32]) -> [u32; LINE_CELLS] {
        let numbers = padded::<{ 2 * LINE_CELLS }>(numbers);
        bytemuck::cast(numbers.map(to_bf16))
    }
}

fn padded<const COUNT: usize>(numbers: &[f32]) -> [f32; COUNT] {
    numbers.try_into().unwrap_or_else(|_| {
        let mut padded = [0.0; COUNT];
        padded[..numbers.len()].copy_from_slice(numbers);
        padded
    })
}

/// Rounds vectors into one panel of the side that `kind` is packed as.
///
/// The depth beyond a vector is left as it is: zero, as in every new panel.
pub fn fill<T: Cells>(kind: Kind, panel: &mut [u32], vectors: &Vectors) {
    let (blocks, _) = panel.as_chunks_mut::<{ PANEL * LINE_CELLS }>();
    for (line, block) in blocks.iter_mut().enumerate() {
        match kind {
            Kind::Words => fill_rows::<T>(block, vectors, line),
            Kind::Regions => fill_columns::<T>(block, vectors, line),
        }
    }
}

fn fill_rows<T: Cells>(block: &mut [u32], vectors: &Vectors, line: usize) {
    let (rows, _) = block.as_chunks_mut::<LINE_CELLS>();
    for (row, vector) in rows.iter_mut().zip(vectors) {
        if let Some(vector) = vector {
            *row = T::line(part::<T>(vector, line));
        }
    }
}

fn fill_columns<T: Cells>(block: &mut [u32], vectors: &Vectors, line: usize) {
    let (cells, _) = block.as_chunks_mut::<PANEL>();
    if vectors.iter().all(Option::is_some) {
        let lines = vectors.map(|vector| T::line(part::<T>(vector.unwrap_or_default(), line)));
        for (k, columns) in cells.iter_mut().enumerate() {
            *columns = lines.map(|line| line[k]);
        }
        return;
    }
    for (column, vector) in vectors.iter().enumerate() {
        if let Some(vector) = vector {
            for (columns, cell) in cells.iter_mut().zip(T::line(part::<T>(vector, line))) {
                columns[column] = cell;
            }
        }
    }
}

/// The numbers of one line of a vector; none beyond its end.
fn part<T: Cells>(vector: &[f32], line: usize) -> &[f32] {
    let rest = vector.get(line * T::NUMBERS..).unwrap_or_default();
    &rest[..rest.len().min(T::NUMBERS)]
}
