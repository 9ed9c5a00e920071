//! Reads the valid rows of a padded tensor for packing, without a copy where that is possible.

use candle_core::{DType, Device, Tensor};
use uard_core::slices::reading;

use super::rounding::is_finite;
use super::work;
use crate::Result;

/// A batch of entries, padded to the longest.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Row-major [entries, longest, width].
    pub numbers: &'a [f32],
    /// How many fragments each entry has.
    pub counts: &'a [usize],
    /// The padded length.
    pub longest: usize,
    /// Width D of the joint space.
    pub width: usize,
}

impl<'a> Batch<'a> {
    /// The rows of an entry without its padding, row-major.
    pub fn rows(&self, entry: usize) -> &'a [f32] {
        let start = entry * self.longest * self.width;
        &self.numbers[start..][..self.counts[entry] * self.width]
    }

    /// One row of an entry.
    pub fn row(&self, entry: usize, fragment: usize) -> &'a [f32] {
        &self.rows(entry)[fragment * self.width..][..self.width]
    }
}

impl Batch<'_> {
    /// The first entry and fragment with a number that is not finite.
    pub fn not_finite(&self) -> Option<(usize, usize)> {
        let finite = work::map(self.counts.len(), |entry| is_finite(self.rows(entry)));
        let entry = finite.iter().position(|finite| !finite)?;
        let mut fragments = 0..self.counts[entry];
        let fragment = fragments.find(|&fragment| !is_finite(self.row(entry, fragment)))?;
        Some((entry, fragment))
    }
}

/// Calls `read` with the rows of a padded tensor [entries, longest, width], which has `counts` valid
/// fragments. The numbers are borrowed or converted as by [`with_numbers`].
///
/// # Errors
/// That of `read`, or when the tensor cannot be copied to the CPU.
pub fn with_batch<R>(
    rows: &Tensor,
    counts: &[usize],
    read: impl FnOnce(Batch<'_>) -> Result<R>,
) -> Result<R> {
    let (_, longest, width) = rows.dims3()?;
    with_numbers(rows, |numbers| {
        read(Batch {
            numbers,
            counts,
            longest,
            width,
        })
    })
}

/// Calls `read` with the numbers of a tensor. They are converted and copied only if the tensor is not f32,
/// not contiguous or not on the CPU.
///
/// # Errors
/// That of `read`, or when the tensor cannot be copied to the CPU.
fn with_numbers<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    read(reading(&tensor.contiguous()?).numbers("packing")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(tensor: &Tensor) -> (Vec<f32>, *const f32) {
        with_numbers(tensor, |numbers| Ok((numbers.to_vec(), numbers.as_ptr()))).unwrap()
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri checks our code, not candle")]
    fn contiguous_f32_is_borrowed() {
        let whole = Tensor::arange(0f32, 12.0, &Device::Cpu).unwrap();
        let whole = whole.reshape((3, 2, 2)).unwrap();
        let (found, start) = numbers(&whole);
        assert_eq!(found, (0..12).map(|x| x as f32).collect::<Vec<_>>());
        let (found, inside) = numbers(&whole.narrow(0, 1, 1).unwrap());
        assert_eq!(found, [4.0, 5.0, 6.0, 7.0]);
        assert_eq!(inside, start.wrapping_add(4));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri checks our code, not candle")]
    fn transposed_tensors_and_f64_are_converted() {
        let tensor = Tensor::new(&[[1f64, 2.5], [1e-60, 0.1]], &Device::Cpu).unwrap();
        assert_eq!(numbers(&tensor).0, [1.0, 2.5, 0.0, 0.1f32]);
        assert_eq!(numbers(&tensor.t().unwrap()).0, [1.0, 0.0, 2.5, 0.1f32]);
    }
}
