//! Feature maps, channels last, and their height and width.

use std::fmt;

use super::number::Number;

/// A height and a width: of a map or kernel in pixels or cells, or a step along each of these axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Along the rows' axis, from top to bottom.
    pub height: usize,
    /// Along the columns' axis, from left to right.
    pub width: usize,
}

impl Size {
    /// A height and a width.
    pub const fn new(height: usize, width: usize) -> Self {
        Self { height, width }
    }

    /// Equal height and width.
    pub const fn square(side: usize) -> Self {
        Self::new(side, side)
    }

    /// Height times width.
    pub(crate) const fn area(self) -> usize {
        self.height * self.width
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} x {}", self.height, self.width)
    }
}

/// Feature maps of a batch of photos.
///
/// # Shapes
/// `values` [N, H, W, F]: photos, rows, columns, channels; the channels of a pixel are contiguous.
#[derive(Debug, Clone, PartialEq)]
pub struct Maps<T> {
    values: Vec<T>,
    shape: [usize; 4],
}

impl<T: Number> Maps<T> {
    /// Maps of the shape [N, H, W, F].
    ///
    /// # Panics
    /// When the number of values is not N H W F.
    pub fn new(values: Vec<T>, shape: [usize; 4]) -> Self {
        let count: usize = shape.iter().product();
        assert_eq!(values.len(), count, "maps of shape {shape:?}");
        Self { values, shape }
    }

    /// All numbers, [N, H, W, F].
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// All numbers, [N, H, W, F].
    pub fn into_values(self) -> Vec<T> {
        self.values
    }

    /// N, H, W and F.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// N, the number of photos.
    pub fn photos(&self) -> usize {
        self.shape[0]
    }

    /// Height and width.
    pub fn size(&self) -> Size {
        Size::new(self.shape[1], self.shape[2])
    }

    /// F, the number of channels.
    pub fn channels(&self) -> usize {
        self.shape[3]
    }

    /// The map of one photo, [H, W, F].
    pub(crate) fn photo(&self, at: usize) -> &[T] {
        let size = self.photo_len();
        &self.values[at * size..(at + 1) * size]
    }

    pub(crate) fn photo_len(&self) -> usize {
        self.shape[1] * self.shape[2] * self.shape[3]
    }

    pub(crate) fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// The same maps in f32.
    pub fn widened(&self) -> Maps<f32> {
        Maps {
            values: self.values.iter().map(|value| value.to_f32()).collect(),
            shape: self.shape,
        }
    }
}

/// Memory of maps that are no longer used, kept for the next maps: allocating fresh memory of this
/// size takes longer than many layers.
#[derive(Debug, Default)]
pub struct Buffers<T> {
    free: Vec<Vec<T>>,
}

impl<T: Number> Buffers<T> {
    /// No memory yet.
    pub fn new() -> Self {
        Self { free: Vec::new() }
    }

    /// Maps of a shape with arbitrary values: those of an earlier map, or zeros.
    pub(crate) fn take(&mut self, shape: [usize; 4]) -> Maps<T> {
        let count: usize = shape.iter().product();
        let fits = |buffer: &&(usize, usize)| buffer.1 >= count;
        let sizes = self.free.iter().map(Vec::capacity).enumerate();
        let sizes: Vec<(usize, usize)> = sizes.collect();
        let smallest = sizes.iter().filter(fits).min_by_key(|buffer| buffer.1);
        let largest = sizes.iter().max_by_key(|buffer| buffer.1);
        let mut values = match smallest.or(largest) {
            Some(&(at, _)) => self.free.swap_remove(at),
            None => Vec::new(),
        };
        values.resize(count, T::zeroed());
        Maps { values, shape }
    }

    /// Keeps the memory of maps, if there are any, for a later [`take`](Self::take).
    pub(crate) fn give(&mut self, maps: impl Into<Option<Maps<T>>>) {
        self.free.extend(maps.into().map(|maps| maps.values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_buffer_that_fits_is_reused() {
        let mut buffers = Buffers::<f32>::new();
        let (small, large) = (buffers.take([1, 1, 1, 8]), buffers.take([1, 2, 2, 100]));
        let address = small.values().as_ptr();
        buffers.give(large);
        buffers.give(small);
        let again = buffers.take([1, 2, 2, 2]);
        assert_eq!(again.values().as_ptr(), address);
        assert_eq!(again.values().len(), 8);
    }
}
