//! Which numbers do feature maps hold? f32, or bf16 where products are rounded to it.

use std::cell::RefCell;

use bytemuck::Pod;
use half::bf16;
use uard_linalg::panels::Element;

/// A number of feature maps: `f32` or [`bf16`].
pub trait Number: Element + Pod {
    /// The nearest such number, ties to even, without a branch.
    #[doc(hidden)]
    fn round(number: f32) -> Self;

    /// The same number.
    #[doc(hidden)]
    fn widen(self) -> f32;

    /// Space that this thread keeps for its next convolution.
    #[doc(hidden)]
    fn with_space<R>(work: impl FnOnce(&mut Space<Self>) -> R) -> R;
}

/// What a thread computes a block of pixels in.
#[derive(Debug)]
#[doc(hidden)]
pub struct Space<T> {
    /// Some rows of the input with their padding.
    pub padded: Vec<T>,
    /// Windows packed into panels.
    pub rows: Aligned<T>,
    /// Products that are not yet in the output.
    pub sums: Aligned<f32>,
}

impl<T> Space<T> {
    const EMPTY: Self = Self {
        padded: Vec::new(),
        rows: Aligned::EMPTY,
        sums: Aligned::EMPTY,
    };
}

impl Number for f32 {
    #[inline(always)]
    fn round(number: f32) -> Self {
        number
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    fn with_space<R>(work: impl FnOnce(&mut Space<Self>) -> R) -> R {
        thread_local! {
            static SPACE: RefCell<Space<f32>> = const { RefCell::new(Space::EMPTY) };
        }
        SPACE.with_borrow_mut(work)
    }
}

impl Number for bf16 {
    #[inline(always)]
    fn round(number: f32) -> Self {
        let bits = number.to_bits();
        let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        let quiet = bits | 0x0040_0000;
        let bits = if number.is_nan() { quiet } else { nearest };
        Self::from_bits((bits >> 16) as u16)
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    fn with_space<R>(work: impl FnOnce(&mut Space<Self>) -> R) -> R {
        thread_local! {
            static SPACE: RefCell<Space<bf16>> = const { RefCell::new(Space::EMPTY) };
        }
        SPACE.with_borrow_mut(work)
    }
}

/// Bytes of a cache line; vectors of numbers that begin on one are read at once.
const LINE_BYTES: usize = 64;

/// Numbers that begin on a cache line.
#[derive(Debug)]
#[doc(hidden)]
pub struct Aligned<T> {
    values: Vec<T>,
}

impl<T> Aligned<T> {
    /// No numbers.
    pub const EMPTY: Self = Self { values: Vec::new() };
}

impl<T: Number> Aligned<T> {
    /// Zeros.
    pub fn zeros(count: usize) -> Self {
        let mut zeros = Self::EMPTY;
        zeros.first(count);
        zeros
    }

    /// The first numbers, whatever they were; there are more of them where there were not enough.
    pub fn first(&mut self, count: usize) -> &mut [T] {
        let room = count + LINE_BYTES / size_of::<T>();
        if self.values.len() < room {
            self.values = vec![T::zeroed(); room];
        }
        let first = self.values.as_ptr().align_offset(LINE_BYTES);
        &mut self.values[first..first + count]
    }

    /// The first numbers.
    pub fn get(&self, count: usize) -> &[T] {
        let first = self.values.as_ptr().align_offset(LINE_BYTES);
        &self.values[first..first + count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_type() {
        let corners = [0.0, 1.0, 1.003_906_3, f32::MAX, 1e-45, f32::INFINITY];
        for number in corners.into_iter().flat_map(|x| [x, -x]) {
            let found = <bf16 as Number>::round(number);
            assert_eq!(found.to_bits(), bf16::from_f32(number).to_bits());
            assert_eq!(found.widen(), found.to_f32());
        }
        assert!(<bf16 as Number>::round(f32::NAN).is_nan());
    }

    #[test]
    fn aligned_numbers_begin_on_a_cache_line_and_stay_when_read() {
        let mut numbers = Aligned::<f32>::zeros(5);
        numbers.first(5)[4] = 3.0;
        assert_eq!(numbers.get(5).as_ptr().align_offset(LINE_BYTES), 0);
        assert_eq!(numbers.get(5), [0.0, 0.0, 0.0, 0.0, 3.0]);
    }
}
