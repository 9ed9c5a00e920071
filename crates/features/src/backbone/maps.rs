//! What flows between the layers of a backbone? Feature maps, channels last.

use super::number::Number;

/// Feature maps of a batch of photos.
///
/// # Shapes
/// `values` [N, H, W, F]: photos, rows, columns, channels; the channels of a pixel are neighbours.
#[derive(Debug, Clone, PartialEq)]
pub struct Maps<T> {
    values: Vec<T>,
    shape: [usize; 4],
}

impl<T: Number> Maps<T> {
    /// Maps over values.
    ///
    /// # Panics
    /// When the values do not fill the shape: the caller cut them wrongly.
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

    /// Photos.
    pub fn photos(&self) -> usize {
        self.shape[0]
    }

    /// Height and width.
    pub fn size(&self) -> (usize, usize) {
        (self.shape[1], self.shape[2])
    }

    /// Channels.
    pub fn channels(&self) -> usize {
        self.shape[3]
    }

    /// One photo, [H, W, F].
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

/// Memory of maps that nobody needs any more, for the next ones: fresh memory of this size costs
/// more than many a layer.
#[derive(Debug, Default)]
pub struct Buffers<T> {
    free: Vec<Vec<T>>,
}

impl<T: Number> Buffers<T> {
    /// None yet.
    pub fn new() -> Self {
        Self { free: Vec::new() }
    }

    /// Maps whose numbers are whatever was there.
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

    /// Takes the memory back, if there is any.
    pub(crate) fn give(&mut self, maps: impl Into<Option<Maps<T>>>) {
        self.free.extend(maps.into().map(|maps| maps.values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_the_smallest_that_fits() {
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
