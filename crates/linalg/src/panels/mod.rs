//! Products of many short vectors with many others, in f32 and in bf16, as packed panels.
//!
//! A panel holds [`PANEL`] vectors of the same depth, zero-padded to a multiple of [`DEPTH_STEP`].
//! The left side is packed as [`RowPanels`], the right side as [`ColumnPanels`], so that every
//! instruction set reads both from end to end:
//!
//! ```text
//! rows     f32   [panel][depth / 16][16 rows][16 depths]
//!          bf16  [panel][depth / 32][16 rows][32 depths]     a line is 64 bytes, a block one AMX tile
//! columns  f32   [panel][depth]    [16 columns]
//!          bf16  [panel][depth / 2][16 columns][2 depths]    VNNI pairs
//! ```
//!
//! For one instruction set and one type of number, each entry of a product depends on its row and
//! its column alone, to the last bit: not on its place in a panel, nor on the panels around it.

mod ceiling;
mod dispatch;
mod instructions;
mod machine;
pub(crate) mod packing;
mod scalar;

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod amx;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod tiling;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod wide;

use std::fmt::Debug;

use half::bf16;

pub use ceiling::ceiling;
pub use instructions::{InstructionSet, Instructions, Unavailable};
pub use packing::line;

/// Vectors in a panel.
pub const PANEL: usize = 16;

/// Depths are padded with zeros to a multiple of this.
pub const DEPTH_STEP: usize = 32;

/// The padded depth of vectors of `width` numbers.
pub fn padded_depth(width: usize) -> usize {
    width.next_multiple_of(DEPTH_STEP)
}

/// Panels that hold `vectors` vectors.
pub fn panels_for(vectors: usize) -> usize {
    vectors.div_ceil(PANEL)
}

/// A number that panels hold: `f32` or [`bf16`].
pub trait Element: sealed::Sealed + Copy + Debug + Default + Send + Sync + 'static {
    /// Depths of one row that lie side by side: 64 bytes of them.
    const LINE: usize;
    /// Depths of one column that lie side by side.
    const GROUP: usize;

    /// The nearest such number, ties to even.
    fn from_f32(number: f32) -> Self;

    /// The same number as f32; exact.
    fn to_f32(self) -> f32;

    /// Neighbouring depths of one vector, [`Self::LINE`] of them, as words.
    #[doc(hidden)]
    fn words_along(numbers: &[f32]) -> [u32; PANEL];

    /// A depth of 16 vectors as words, together with the next depth where a word is a pair.
    #[doc(hidden)]
    fn words_across(numbers: [f32; PANEL], next: impl FnOnce() -> [f32; PANEL]) -> [u32; PANEL];
}

impl Element for f32 {
    const LINE: usize = 16;
    const GROUP: usize = 1;

    fn from_f32(number: f32) -> Self {
        number
    }

    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn words_along(numbers: &[f32]) -> [u32; PANEL] {
        std::array::from_fn(|word| numbers[word].to_bits())
    }

    #[inline(always)]
    fn words_across(numbers: [f32; PANEL], _: impl FnOnce() -> [f32; PANEL]) -> [u32; PANEL] {
        numbers.map(f32::to_bits)
    }
}

impl Element for bf16 {
    const LINE: usize = 32;
    const GROUP: usize = 2;

    fn from_f32(number: f32) -> Self {
        Self::from_f32(number)
    }

    fn to_f32(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    fn words_along(numbers: &[f32]) -> [u32; PANEL] {
        let number = |at: usize| packing::rounded_above(numbers[at]);
        std::array::from_fn(|word| number(2 * word) >> 16 | number(2 * word + 1) & !0xffff)
    }

    #[inline(always)]
    fn words_across(numbers: [f32; PANEL], next: impl FnOnce() -> [f32; PANEL]) -> [u32; PANEL] {
        let next = next();
        let number = packing::rounded_above;
        std::array::from_fn(|at| number(numbers[at]) >> 16 | number(next[at]) & !0xffff)
    }
}

mod sealed {
    /// Layouts and kernels know the two types by name.
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
}

/// Both sides of a product.
pub type Sides<'a, T> = (RowPanels<'a, T>, ColumnPanels<'a, T>);

macro_rules! panels {
    ($type:ident, $what:literal) => {
        #[doc = concat!("Packed ", $what, ", borrowed.")]
        #[derive(Debug, Clone, Copy)]
        pub struct $type<'a, T> {
            values: &'a [T],
            depth: usize,
        }

        impl<'a, T: Element> $type<'a, T> {
            /// Panels over packed numbers.
            ///
            /// # Panics
            /// When `depth` is no multiple of [`DEPTH_STEP`], or the numbers are no whole panels:
            /// the caller cut them wrongly.
            pub fn new(values: &'a [T], depth: usize) -> Self {
                assert!(depth > 0 && depth % DEPTH_STEP == 0, "a padded depth");
                let panel = PANEL.checked_mul(depth);
                let is_whole = panel.is_some_and(|panel| values.len() % panel == 0);
                assert!(is_whole, "whole panels");
                Self { values, depth }
            }

            /// The packed numbers.
            pub fn values(self) -> &'a [T] {
                self.values
            }

            /// Padded depth.
            pub fn depth(self) -> usize {
                self.depth
            }

            /// How many panels.
            pub fn panels(self) -> usize {
                self.values.len() / (PANEL * self.depth)
            }

            /// Panel by panel, the packed numbers.
            pub fn iter(self) -> std::slice::ChunksExact<'a, T> {
                self.values.chunks_exact(PANEL * self.depth)
            }

            /// Some of the panels.
            ///
            /// # Panics
            /// When the range leaves the panels.
            pub fn slice(self, range: std::ops::Range<usize>) -> Self {
                assert!(range.end <= self.panels(), "panels that are there");
                let panel = PANEL * self.depth;
                let values = &self.values[range.start * panel..range.end * panel];
                Self { values, ..self }
            }

            /// Vector `at` of the panels, as f32, without the padding of its depth beyond `width`.
            pub fn vector(self, at: usize, width: usize) -> Vec<f32> {
                let depths = 0..width;
                depths
                    .map(|k| self.values[Self::place_of(self.depth, at, k)].to_f32())
                    .collect()
            }

            /// Rounds a vector into its place, `at` counted over all panels in `values`; the rest
            /// of its depth becomes zero.
            ///
            /// # Panics
            /// When the place or the vector does not fit.
            pub fn place(values: &mut [T], depth: usize, at: usize, vector: &[f32]) {
                assert!(vector.len() <= depth, "a vector no longer than the depth");
                for k in 0..depth {
                    let number = vector.get(k).copied().unwrap_or(0.0);
                    values[Self::place_of(depth, at, k)] = T::from_f32(number);
                }
            }
        }
    };
}

panels!(RowPanels, "rows, the left side of a product");
panels!(ColumnPanels, "columns, the right side of a product");

impl<T: Element> RowPanels<'_, T> {
    fn place_of(depth: usize, at: usize, k: usize) -> usize {
        let (panel, row) = (at / PANEL, at % PANEL);
        let (line, in_line) = (k / T::LINE, k % T::LINE);
        panel * PANEL * depth + (line * PANEL + row) * T::LINE + in_line
    }

    /// Copies row `at` of these panels to row `to` of panels of the same depth.
    ///
    /// # Panics
    /// When a row is out of range.
    pub fn copy_row(self, at: usize, values: &mut [T], to: usize) {
        let panel = PANEL * self.depth;
        let from = &self.values[at / PANEL * panel..][..panel];
        let to_panel = &mut values[to / PANEL * panel..][..panel];
        let (at, to) = (at % PANEL * T::LINE, to % PANEL * T::LINE);
        let lines = to_panel.chunks_exact_mut(PANEL * T::LINE);
        for (line, from) in lines.zip(from.chunks_exact(PANEL * T::LINE)) {
            line[to..to + T::LINE].copy_from_slice(&from[at..at + T::LINE]);
        }
    }
}

impl<T: Element> ColumnPanels<'_, T> {
    fn place_of(depth: usize, at: usize, k: usize) -> usize {
        let (panel, column) = (at / PANEL, at % PANEL);
        let (group, in_group) = (k / T::GROUP, k % T::GROUP);
        panel * PANEL * depth + (group * PANEL + column) * T::GROUP + in_group
    }
}

/// `out[i][j] = row_i · column_j`, accumulated in f32.
///
/// # Shapes
/// `out` holds rows of `stride` numbers, one for each of the `16 * rows.panels()` rows;
/// `stride` is at least `16 * columns.panels()`, and what lies between is left alone.
///
/// # Panics
/// When the depths differ, or `out` is too short: the caller cut its buffers wrongly.
pub fn product<T: Element>(
    instructions: Instructions,
    rows: RowPanels<'_, T>,
    columns: ColumnPanels<'_, T>,
    out: &mut [f32],
    stride: usize,
) {
    assert_eq!(rows.depth, columns.depth, "both sides have one depth");
    let (height, width) = (rows.panels() * PANEL, columns.panels() * PANEL);
    assert!(width <= stride, "a row of the output holds {width} numbers");
    if height == 0 || width == 0 {
        return;
    }
    let needed = (height - 1).checked_mul(stride);
    let needed = needed.and_then(|rows_before| rows_before.checked_add(width));
    assert!(
        needed.is_some_and(|needed| out.len() >= needed),
        "{height} rows of output"
    );
    dispatch::product(instructions, (rows, columns), out, stride);
}

#[cfg(test)]
mod tests;
