//! Pointers to the panels and the output of a product, and to its tiles, for kernels.
//!
//! A *word* is four bytes: one depth in f32, a pair of depths in bf16. Counted in words, both types
//! have one layout: rows `[panel][words / 16][16 rows][16 words]`, columns
//! `[panel][words][16 columns]`.

use super::{ColumnPanels, Element, PANEL, RowPanels};

/// The operands of a product, as pointers.
#[derive(Clone, Copy)]
pub struct Operands {
    rows: *const f32,
    columns: *const f32,
    out: *mut f32,
    stride: usize,
    words: usize,
    /// How many panels of rows there are.
    pub row_panels: usize,
    /// How many rows are needed, counted over all panels.
    pub rows_needed: usize,
    /// How many panels of columns there are.
    pub column_panels: usize,
}

/// A part of a product: some rows of one or more panels times some panels of columns.
#[derive(Clone, Copy)]
pub struct Tile {
    rows: *const f32,
    columns: *const f32,
    out: *mut f32,
    /// Numbers of the output from an entry to the one in the next row.
    pub stride: usize,
    /// Words of each row and each column, a multiple of 16.
    pub words: usize,
}

impl Tile {
    /// A pointer to word `word` of row `row` of the tile; the words after it, up to the next multiple
    /// of 16, follow it in memory.
    ///
    /// # Safety
    /// The row lies in the panel in which the tile begins: `row`, counted from the tile's first row,
    /// does not reach the panel's end. `word` is below [`Tile::words`].
    #[inline(always)]
    pub unsafe fn row(&self, row: usize, word: usize) -> *const f32 {
        // SAFETY: `add` must stay inside of the allocation. The index is that of this row and word in
        // the panel's layout, and by the caller's promise the panel holds both.
        unsafe {
            self.rows
                .add((word / PANEL * PANEL + row) * PANEL + word % PANEL)
        }
    }

    /// A pointer to word `word` of the first column of panel `panel`, counted from the tile's first
    /// panel; the same word of the 15 other columns follows it in memory.
    ///
    /// # Safety
    /// The product has that panel of columns, and `word` is below [`Tile::words`].
    #[inline(always)]
    pub unsafe fn column(&self, panel: usize, word: usize) -> *const f32 {
        // SAFETY: `add` must stay inside of the allocation. A panel has `words` times 16 words, and by
        // the caller's promise the product has this panel and the panel this word.
        unsafe { self.columns.add((panel * self.words + word) * PANEL) }
    }

    /// A pointer to the entry of a row and of the first column of a panel, both counted from the
    /// tile's first; the entries of the 15 other columns follow it in memory.
    ///
    /// # Safety
    /// The product has that row and that panel of columns.
    #[inline(always)]
    pub unsafe fn entry(&self, row: usize, panel: usize) -> *mut f32 {
        // SAFETY: `add` must stay inside of the allocation. `panels::product` has checked that the
        // output holds every row of the product at `stride`, and by the caller's promise this entry is
        // one of them.
        unsafe { self.out.add(row * self.stride + panel * PANEL) }
    }
}

impl Operands {
    /// Pointers to panels and output. The caller has checked that `out` holds their product at
    /// `stride`.
    pub fn new<T: Element>(
        rows: RowPanels<'_, T>,
        columns: ColumnPanels<'_, T>,
        out: &mut [f32],
        stride: usize,
    ) -> Self {
        Self {
            rows: rows.values().as_ptr().cast(),
            columns: columns.values().as_ptr().cast(),
            out: out.as_mut_ptr(),
            stride,
            words: rows.depth() / T::GROUP,
            row_panels: rows.panels(),
            rows_needed: rows.rows(),
            column_panels: columns.panels(),
        }
    }

    /// The tile that begins at row `row`, counted over all panels, and at panel `column` of columns.
    ///
    /// # Safety
    /// `row` is below `16 * row_panels`, and `column` is below `column_panels`.
    #[inline(always)]
    pub unsafe fn tile(&self, row: usize, column: usize) -> Tile {
        // SAFETY: the three `add`s must stay inside of their allocations. A panel has 16 times `words`
        // words, and by the caller's promise the row lies in one of the panels of rows and `column`
        // names one of the panels of columns. The output holds the entry where both begin, because
        // `panels::product` has checked that it holds every row at `stride`.
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

/// Cuts panels of columns into groups of at most `most` (3 or 1) panels, each as `(first, count)`. The
/// last four panels become two and two, not three and one.
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
