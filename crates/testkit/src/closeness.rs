//! Assertions that two tensors are close or equal.

use candle_core::{DType, Tensor};

/// The largest absolute difference and its row-major index; NaN counts as infinite.
///
/// # Panics
/// When the shapes differ or a tensor cannot be read.
pub fn worst_difference(found: &Tensor, expected: &Tensor) -> (f64, usize) {
    assert_eq!(found.dims(), expected.dims(), "shapes differ");
    let mut worst = (0.0, 0);
    for (index, (a, b)) in numbers(found).iter().zip(numbers(expected)).enumerate() {
        let difference = (a - b).abs();
        let difference = if difference.is_nan() {
            f64::INFINITY
        } else {
            difference
        };
        if difference > worst.0 {
            worst = (difference, index);
        }
    }
    worst
}

/// Fails unless every difference is at most `tolerance` times the larger of 1 and the largest
/// expected magnitude.
///
/// # Panics
/// When a difference is larger, a value is NaN, or the shapes differ.
#[track_caller]
pub fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f64) {
    let (difference, index) = worst_difference(found, expected);
    let scale = numbers(expected)
        .iter()
        .fold(1.0, |scale: f64, value| scale.max(value.abs()));
    assert!(
        difference <= tolerance * scale,
        "entry {index} of {:?}: found {}, expected {}: {difference:e} apart, tolerance {tolerance:e} x {scale}",
        found.dims(),
        numbers(found)[index],
        numbers(expected)[index],
    );
}

/// Fails unless both tensors hold exactly the same numbers, bit for bit.
///
/// # Panics
/// When a shape, a dtype or a bit differs.
#[track_caller]
pub fn assert_same_bytes(found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dims(), expected.dims(), "shapes differ");
    assert_eq!(found.dtype(), expected.dtype(), "dtypes differ");
    for (index, (a, b)) in numbers(found).iter().zip(numbers(expected)).enumerate() {
        assert_eq!(
            a.to_bits(),
            b.to_bits(),
            "entry {index}: found {a:e}, expected {b:e}"
        );
    }
}

pub(crate) fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor
        .to_dtype(DType::F64)
        .and_then(|tensor| tensor.flatten_all())
        .and_then(|tensor| tensor.to_vec1())
        .expect("a float tensor can be read")
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn worst_difference_gives_its_index() {
        let a = Tensor::new(&[1f32, 2.0, 3.0], &Device::Cpu).unwrap();
        let b = Tensor::new(&[1f32, 2.5, 3.1], &Device::Cpu).unwrap();
        assert_eq!(worst_difference(&a, &b), (0.5, 1));
        assert_close(&a, &b, 0.2);
        assert_same_bytes(&a, &a);
    }

    #[test]
    #[should_panic(expected = "entry 0")]
    fn nan_is_never_close() {
        let a = Tensor::new(&[f32::NAN], &Device::Cpu).unwrap();
        assert_close(&a, &a, 1.0);
    }
}
