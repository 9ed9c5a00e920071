//! Where in the panels does a tile of a product lie? As pointers, for kernels.
//!
//! Counted in *words* of four bytes, one depth in f32 and a pair of depths in bf16, both types
//! have one layout: rows `[panel][words / 16][16 rows][16 words]`, columns
//! `[panel][words][16 columns]`.

use super::{Element, PANEL, Sides};

/// The operands of a whole product.
#[derive(Clone, Copy)]
pub struct Operands {
    rows: *const f32,
    columns: *const f32,
    out: *mut f32,
    stride: usize,
    words: usize,
    /// Panels of rows.
    pub row_panels: usize,
    /// Panels of columns.
    pub column_panels: usize,
}

/// Some rows times some panels of columns.
#[derive(Clone, Copy)]
pub struct Tile {
    rows: *const f32,
    columns: *const f32,
    out: *mut f32,
    /// From an entry to the one below.
    pub stride: usize,
    /// Words of each row and each column, a multiple of 16.
    pub words: usize,
}

impl Tile {
    /// A word of a row of the tile; the 15 words that follow it within a multiple of 16 lie behind
    /// it.
    ///
    /// # Safety
    /// The tile has the row, inside of one panel, and the word.
    #[inline(always)]
    pub unsafe fn row(&self, row: usize, word: usize) -> *const f32 {
        // SAFETY: inside of the panel of rows.
        unsafe {
            self.rows
                .add((word / PANEL * PANEL + row) * PANEL + word % PANEL)
        }
    }

    /// A word of the first column of a panel; those of the 15 other columns lie behind it.
    ///
    /// # Safety
    /// The tile has the panel and the word.
    #[inline(always)]
    pub unsafe fn column(&self, panel: usize, word: usize) -> *const f32 {
        // SAFETY: inside of the panel of columns.
        unsafe { self.columns.add((panel * self.words + word) * PANEL) }
    }

    /// The entry of a row and the first column of a panel; those of the 15 other columns lie
    /// behind it.
    ///
    /// # Safety
    /// The tile has the row and the panel.
    #[inline(always)]
    pub unsafe fn entry(&self, row: usize, panel: usize) -> *mut f32 {
        // SAFETY: inside of the output.
        unsafe { self.out.add(row * self.stride + panel * PANEL) }
    }
}

impl Operands {
    /// Of packed panels. `out` was seen to hold their product at `stride`.
    pub fn new<T: Element>((rows, columns): Sides<'_, T>, out: &mut [f32], stride: usize) -> Self {
        Self {
            rows: rows.values().as_ptr().cast(),
            columns: columns.values().as_ptr().cast(),
            out: out.as_mut_ptr(),
            stride,
            words: rows.depth() / T::GROUP,
            row_panels: rows.panels(),
            column_panels: columns.panels(),
        }
    }

    /// The tile that begins at a row, counted over all panels, and a panel of columns.
    ///
    /// # Safety
    /// There are such a row and such a panel.
    #[inline(always)]
    pub unsafe fn tile(&self, row: usize, column: usize) -> Tile {
        // SAFETY: both are inside of the panels, and so is the entry where they meet.
        unsafe {
            Tile {
                rows: self
                    .rows
                    .add(row / PANEL * PANEL * self.words + row % PANEL * PANEL),
                columns: self.columns.add(column * PANEL * self.words),
                out: self.out.add(row * self.stride + column * PANEL),
                stride: self.stride,
                words: self.words,
            }
        }
    }
}

/// Panels of columns in groups of three, but two and two instead of three and one, or one by one where
/// that is the most: `(first, count)`.
#[inline(always)]
pub fn groups(panels: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let count = match panels - first {
            0 => return None,
            1 => 1,
            2 | 4 => 2.min(most),
            _ => most,
        };
        first += count;
        Some((first - count, count))
    })
}
