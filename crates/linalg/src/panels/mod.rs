//! Products of matrices in packed panels, f32 or bf16: dot products of many short vectors with many
//! others.
//!
//! A panel holds [`PANEL`] vectors of the same depth, zero-padded to a multiple of [`DEPTH_STEP`].
//! The left matrix is packed as [`RowPanels`], the right one as [`ColumnPanels`], so that the kernel of
//! every instruction set reads both from their beginning to their end:
//!
//! ```text
//! rows     f32   [panel][depth / 16][16 rows][16 depths]
//!          bf16  [panel][depth / 32][16 rows][32 depths]     a line is 64 bytes, a block one AMX tile
//! columns  f32   [panel][depth]    [16 columns]
//!          bf16  [panel][depth / 2][16 columns][2 depths]    VNNI pairs
//! ```
//!
//! For one instruction set and one type of number, every bit of an entry of a product depends on its
//! row and its column alone: not on where they stand in a panel, nor on the other panels.

mod ceiling;
mod dispatch;
mod instructions;
mod machine;
pub(crate) mod packing;
mod scalar;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod tiling;
#[cfg(target_arch = "x86_64")]
mod wide;

use std::fmt::Debug;

use half::bf16;

use crate::matmul::Matmul;

pub use ceiling::ceiling;
pub use instructions::{InstructionSet, Instructions, Unavailable};
pub use packing::line;

/// How many vectors a panel holds.
pub const PANEL: usize = 16;

/// Depths are padded with zeros to a multiple of this.
pub const DEPTH_STEP: usize = 32;

/// The padded depth of vectors of `width` numbers.
pub fn padded_depth(width: usize) -> usize {
    width.next_multiple_of(DEPTH_STEP)
}

/// How many panels hold `vectors` vectors.
pub fn panels_for(vectors: usize) -> usize {
    vectors.div_ceil(PANEL)
}

/// A number that panels hold: `f32` or [`bf16`].
pub trait Element: sealed::Sealed + Copy + Debug + Default + Send + Sync + 'static {
    /// How many depths of one row lie side by side: 64 bytes of them.
    const LINE: usize;
    /// How many depths of one column lie side by side.
    const GROUP: usize;
    /// The rounding of products whose panels hold this type.
    const MATMUL: Matmul;

    /// Rounds to the nearest number of this type, ties to even, without a branch.
    fn from_f32(number: f32) -> Self;

    /// The same number as f32; exact.
    fn to_f32(self) -> f32;

    /// [`Self::LINE`] neighbouring depths of one vector as words of four bytes.
    #[doc(hidden)]
    fn words_along(numbers: &[f32]) -> [u32; PANEL];

    /// One depth of 16 vectors as words of four bytes; for bf16 a word also holds the next depth.
    #[doc(hidden)]
    fn words_across(numbers: [f32; PANEL], next: impl FnOnce() -> [f32; PANEL]) -> [u32; PANEL];
}

impl Element for f32 {
    const LINE: usize = 16;
    const GROUP: usize = 1;
    const MATMUL: Matmul = Matmul::F32;

    #[inline(always)]
    fn from_f32(number: f32) -> Self {
        number
    }

    #[inline(always)]
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
    const MATMUL: Matmul = Matmul::Bf16;

    #[inline(always)]
    fn from_f32(number: f32) -> Self {
        Self::from_bits((packing::rounded_above(number) >> 16) as u16)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
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
    /// Only these types are elements: layouts and kernels are written for the two.
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
}

macro_rules! panels {
    ($type:ident, $what:literal) => {
        #[doc = concat!("Packed ", $what, ", borrowed.")]
        #[derive(Debug, Clone, Copy)]
        pub struct $type<'a, T> {
            values: &'a [T],
            depth: usize,
            /// How many vectors there are; the last panel is filled up with others.
            vectors: usize,
        }

        impl<'a, T: Element> $type<'a, T> {
            /// Panels over packed numbers.
            ///
            /// # Panics
            /// When `depth` is no multiple of [`DEPTH_STEP`], or the numbers do not fill whole
            /// panels; both are mistakes of the caller.
            pub fn new(values: &'a [T], depth: usize) -> Self {
                assert!(depth > 0 && depth % DEPTH_STEP == 0, "a padded depth");
                let panel = PANEL.checked_mul(depth);
                let is_whole = panel.is_some_and(|panel| values.len() % panel == 0);
                assert!(is_whole, "whole panels");
                let vectors = values.len() / depth;
                Self {
                    values,
                    depth,
                    vectors,
                }
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

            /// The packed numbers of each panel.
            pub fn iter(self) -> std::slice::ChunksExact<'a, T> {
                self.values.chunks_exact(PANEL * self.depth)
            }

            /// The panels of a range.
            ///
            /// # Panics
            /// When the range ends after the last panel.
            pub fn slice(self, range: std::ops::Range<usize>) -> Self {
                assert!(range.end <= self.panels(), "a range of the panels");
                let panel = PANEL * self.depth;
                let values = &self.values[range.start * panel..range.end * panel];
                let vectors = self.vectors.saturating_sub(range.start * PANEL);
                Self {
                    values,
                    vectors: vectors.min(range.len() * PANEL),
                    ..self
                }
            }

            /// The first `width` numbers of vector `at`, counted over all panels, as f32.
            pub fn vector(self, at: usize, width: usize) -> Vec<f32> {
                let depths = 0..width;
                depths
                    .map(|k| self.values[Self::index(self.depth, at, k)].to_f32())
                    .collect()
            }

            /// Rounds a vector and writes it as vector `at`, counted over all panels in `values`,
            /// with zeros up to `depth`.
            ///
            /// # Panics
            /// When there is no such vector in the panels, or it is longer than `depth`.
            pub fn place(values: &mut [T], depth: usize, at: usize, vector: &[f32]) {
                assert!(vector.len() <= depth, "a vector no longer than the depth");
                for k in 0..depth {
                    let number = vector.get(k).copied().unwrap_or(0.0);
                    values[Self::index(depth, at, k)] = T::from_f32(number);
                }
            }
        }
    };
}

panels!(RowPanels, "rows, the left side of a product");
panels!(ColumnPanels, "columns, the right side of a product");

impl<T: Element> RowPanels<'_, T> {
    /// The same panels, of which only the first rows are needed. A product may leave the results of the
    /// others as they are.
    #[must_use]
    pub fn first(self, rows: usize) -> Self {
        Self {
            vectors: self.vectors.min(rows),
            ..self
        }
    }

    /// How many rows are needed.
    pub fn rows(self) -> usize {
        self.vectors
    }

    /// Where depth `k` of row `at` stands in the packed numbers.
    fn index(depth: usize, at: usize, k: usize) -> usize {
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
    /// Where depth `k` of column `at` stands in the packed numbers.
    fn index(depth: usize, at: usize, k: usize) -> usize {
        let (panel, column) = (at / PANEL, at % PANEL);
        let (group, in_group) = (k / T::GROUP, k % T::GROUP);
        panel * PANEL * depth + (group * PANEL + column) * T::GROUP + in_group
    }
}

/// `out[i][j] = row_i · column_j`, accumulated in f32.
///
/// # Shapes
/// `out` holds `16 * rows.panels()` rows of `stride` numbers; `stride` is at least
/// `16 * columns.panels()`, and the numbers of a row beyond that stay as they are. Rows that are not
/// needed ([`RowPanels::first`]) hold any numbers.
///
/// # Panics
/// When the depths differ, or `out` or `stride` is too small; both are mistakes of the caller.
pub fn product<T: Element>(
    instructions: Instructions,
    rows: RowPanels<'_, T>,
    columns: ColumnPanels<'_, T>,
    out: &mut [f32],
    stride: usize,
) {
    assert_eq!(rows.depth, columns.depth, "rows and columns have one depth");
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
    dispatch::product(instructions, rows, columns, out, stride);
}

#[cfg(test)]
mod tests;
