//! How are the products of an entry's fragments with each other computed? As panels of its own.
//!
//! Each product depends on its two vectors and the instruction set alone, so neither batches nor
//! precisions change a bit of it, and the matrix is symmetric to the last bit.

use uard_linalg::panels::product;
use uard_linalg::panels::{ColumnPanels, Instructions, PANEL, RowPanels, padded_depth, panels_for};

use super::layout::{Kind, gram_stride};
use super::panel::{Vectors, fill};
use super::storage::Lines;

/// Room for both sides of the product and its result, used for one entry after the other.
///
/// What an earlier entry left in a panel only reaches products that nobody reads.
pub struct GramScratch {
    instructions: Instructions,
    rows: Lines,
    columns: Lines,
    products: Lines,
}

impl GramScratch {
    /// Empty.
    pub fn new() -> Self {
        Self {
            // Miri interprets plain Rust, and cannot ask for a processor.
            instructions: match cfg!(miri) {
                true => Instructions::SCALAR,
                false => Instructions::best(),
            },
            rows: Lines::default(),
            columns: Lines::default(),
            products: Lines::default(),
        }
    }

    /// `out[a][b] = v_a · v_b`.
    ///
    /// # Shapes
    /// `vectors` rows of `width` numbers, `out` as many rows of [`gram_stride`] numbers; what lies
    /// beyond the products is left alone.
    pub fn compute(&mut self, vectors: &[f32], width: usize, out: &mut [f32]) {
        let (count, depth) = (vectors.len() / width, padded_depth(width));
        let numbers = panels_for(count) * PANEL * depth;
        let side = gram_stride(count);
        for (lines, numbers) in [
            (&mut self.rows, numbers),
            (&mut self.columns, numbers),
            (&mut self.products, side * side),
        ] {
            lines.grow(numbers * size_of::<f32>());
        }
        pack(Kind::Words, &mut self.rows, vectors, width);
        pack(Kind::Regions, &mut self.columns, vectors, width);
        let rows = RowPanels::new(&self.rows.numbers::<f32>()[..numbers], depth);
        let columns = ColumnPanels::new(&self.columns.numbers::<f32>()[..numbers], depth);
        let products: &mut [f32] = self.products.numbers_mut();
        for panel in 0..rows.panels() {
            let place = panel * PANEL * (side + 1);
            product(
                self.instructions,
                rows.slice(panel..panel + 1),
                columns.slice(panel..rows.panels()),
                &mut products[place..],
                side,
            );
        }
        for (a, out) in out.chunks_exact_mut(side).enumerate() {
            // What lies before the panel of `a` was computed with the sides exchanged.
            let (before, after) = out[..count].split_at_mut(a / PANEL * PANEL);
            for (b, product) in before.iter_mut().enumerate() {
                *product = products[b * side + a];
            }
            after.copy_from_slice(&products[a * side + before.len()..][..after.len()]);
        }
    }
}

fn pack(kind: Kind, panels: &mut Lines, vectors: &[f32], width: usize) {
    let panels = panels
        .numbers_mut::<u32>()
        .chunks_exact_mut(PANEL * padded_depth(width));
    for (panel, vectors) in panels.zip(vectors.chunks(PANEL * width)) {
        let mut places: Vectors = [None; PANEL];
        for (place, vector) in places.iter_mut().zip(vectors.chunks_exact(width)) {
            *place = Some(vector);
        }
        fill::<f32>(kind, panel, &places);
    }
}
