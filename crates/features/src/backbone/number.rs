//! The number types of feature maps, f32 and bf16, and the memory that a thread computes them in.

use std::cell::RefCell;

use bytemuck::Pod;
use half::bf16;
use uard_linalg::panels::Element;

/// A number type of feature maps: `f32` or [`bf16`].
pub trait Number: Element + Pod {
    /// Calls `work` with the workspace that this thread keeps from one convolution to the next.
    #[doc(hidden)]
    fn with_workspace<R>(work: impl FnOnce(&mut Workspace<Self>) -> R) -> R;
}

/// The memory that a thread computes a block of output pixels in.
#[derive(Debug)]
#[doc(hidden)]
pub struct Workspace<T> {
    /// Rows of the input with their padding.
    pub padded: Vec<T>,
    /// Windows packed into panels.
    pub rows: AlignedBuffer<T>,
    /// Sums of products, before they are stored in the output.
    pub sums: AlignedBuffer<f32>,
}

impl<T> Workspace<T> {
    const EMPTY: Self = Self {
        padded: Vec::new(),
        rows: AlignedBuffer::EMPTY,
        sums: AlignedBuffer::EMPTY,
    };
}

impl Number for f32 {
    fn with_workspace<R>(work: impl FnOnce(&mut Workspace<Self>) -> R) -> R {
        thread_local! {
            static WORKSPACE: RefCell<Workspace<f32>> = const { RefCell::new(Workspace::EMPTY) };
        }
        WORKSPACE.with_borrow_mut(work)
    }
}

impl Number for bf16 {
    fn with_workspace<R>(work: impl FnOnce(&mut Workspace<Self>) -> R) -> R {
        thread_local! {
            static WORKSPACE: RefCell<Workspace<bf16>> = const { RefCell::new(Workspace::EMPTY) };
        }
        WORKSPACE.with_borrow_mut(work)
    }
}

/// Bytes of a cache line. A vector that begins at the start of one is loaded from a single line.
const LINE_BYTES: usize = 64;

/// A buffer whose first number lies at the start of a cache line.
#[derive(Debug)]
#[doc(hidden)]
pub struct AlignedBuffer<T> {
    values: Vec<T>,
}

impl<T> AlignedBuffer<T> {
    /// A buffer without numbers.
    pub const EMPTY: Self = Self { values: Vec::new() };
}

impl<T: Number> AlignedBuffer<T> {
    /// A buffer of zeros.
    pub fn zeros(count: usize) -> Self {
        let mut zeros = Self::EMPTY;
        zeros.prefix_mut(count);
        zeros
    }

    /// The first `count` numbers, with arbitrary values. A buffer that is too short grows.
    pub fn prefix_mut(&mut self, count: usize) -> &mut [T] {
        let room = count + LINE_BYTES / size_of::<T>();
        if self.values.len() < room {
            self.values = vec![T::zeroed(); room];
        }
        let first = self.values.as_ptr().align_offset(LINE_BYTES);
        &mut self.values[first..first + count]
    }

    /// The first `count` numbers.
    pub fn prefix(&self, count: usize) -> &[T] {
        let first = self.values.as_ptr().align_offset(LINE_BYTES);
        &self.values[first..first + count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_from_f32_round_as_the_half_crate_does() {
        let corners = [0.0, 1.0, 1.003_906_3, f32::MAX, 1e-45, f32::INFINITY];
        for number in corners.into_iter().flat_map(|x| [x, -x]) {
            let found = <bf16 as Element>::from_f32(number);
            assert_eq!(found.to_bits(), bf16::from_f32(number).to_bits());
            assert_eq!(Element::to_f32(found), found.to_f32());
        }
        assert!(<bf16 as Element>::from_f32(f32::NAN).is_nan());
    }

    #[test]
    fn aligned_buffers_begin_on_a_cache_line_and_keep_their_numbers() {
        let mut numbers = AlignedBuffer::<f32>::zeros(5);
        numbers.prefix_mut(5)[4] = 3.0;
        assert_eq!(numbers.prefix(5).as_ptr().align_offset(LINE_BYTES), 0);
        assert_eq!(numbers.prefix(5), [0.0, 0.0, 0.0, 0.0, 3.0]);
    }
}
