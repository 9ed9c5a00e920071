//! How do vectors get into a panel? Sixteen at a time, a line of each, as 32-bit cells.
//!
//! A cell is one f32 or a pair of bf16, so that the layouts of [`uard_linalg::panels`] are the same
//! for both: rows keep the sixteen cells of a line together, columns transpose them.
//!
//! ```text
//! rows     [line][16 rows ][16 cells]
//! columns  [line][16 cells][16 columns]
//! ```

use uard_linalg::panels::{Element, PANEL, line};

use super::layout::Kind;

/// Cells of one vector that lie in a line: 64 bytes.
const LINE_CELLS: usize = 16;

/// A line of every vector of a panel.
type Block = [u32; PANEL * LINE_CELLS];

/// The vectors of a panel, by their place in it; a place without one keeps what it holds.
pub type Vectors<'a> = [Option<&'a [f32]>; PANEL];

/// Rounds vectors into one panel of the side that `kind` is packed as.
///
/// The depth beyond a vector is left as it is: zero, as in every new panel.
pub fn fill<T: Element>(kind: Kind, panel: &mut [u32], vectors: &Vectors) {
    let (blocks, _) = panel.as_chunks_mut();
    for (at_line, block) in blocks.iter_mut().enumerate() {
        let vectors = vectors.iter().enumerate();
        let lines = vectors.filter_map(|(at, vector)| Some((at, part::<T>((*vector)?, at_line)?)));
        for (at, numbers) in lines {
            let cells = line::<T>(numbers);
            match kind {
                Kind::Words => place_row(block, at, cells),
                Kind::Regions => place_column(block, at, cells),
            }
        }
    }
}

fn place_row(block: &mut Block, at: usize, cells: [u32; LINE_CELLS]) {
    block[at * LINE_CELLS..][..LINE_CELLS].copy_from_slice(&cells);
}

/// Line by line a block stays in the nearest cache; a whole vector at once would touch every line
/// of the panel for one cell each.
fn place_column(block: &mut Block, at: usize, cells: [u32; LINE_CELLS]) {
    for (k, cell) in cells.into_iter().enumerate() {
        block[k * PANEL + at] = cell;
    }
}

/// The numbers of one line of a vector, as far as it reaches.
fn part<T: Element>(vector: &[f32], line: usize) -> Option<&[f32]> {
    let rest = vector.get(line * T::LINE..)?;
    Some(&rest[..rest.len().min(T::LINE)])
}
