//! Gradient checks: compares the backward pass with central differences in f64.

use candle_core::{DType, Device, Result, Tensor, Var};

use crate::closeness::numbers;

/// Step h of the central differences. The truncation error, of order h², and the rounding error, of
/// order 1e-16 / h, are both about 1e-10.
const STEP: f64 = 1e-5;

/// Fails unless every gradient of the scalar `f` agrees with central differences.
///
/// ```text
/// | dL/dx  -  (L(x + h) - L(x - h)) / 2h |  <=  tolerance * max(1, |dL/dx|)
/// ```
///
/// # Shapes
/// `inputs` any shapes, f64; `f` returns a scalar f64 tensor. An input that `f` does not use has
/// the gradient zero.
///
/// # Panics
/// When a gradient differs, an input is not f64, or `f` fails.
///
/// ```
/// use candle_core::{Device, Var};
/// let x = Var::new(&[0.5f64, -2.0], &Device::Cpu).unwrap();
/// uard_testkit::assert_gradients(|inputs| inputs[0].sqr()?.sum_all(), &[x], 1e-8);
/// ```
#[track_caller]
pub fn assert_gradients(f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Var], tolerance: f64) {
    for (index, input) in inputs.iter().enumerate() {
        assert_eq!(input.dtype(), DType::F64, "input {index} must be f64");
    }
    let tensors: Vec<Tensor> = inputs.iter().map(|var| var.as_tensor().clone()).collect();
    let gradients = f(&tensors)
        .and_then(|loss| loss.backward())
        .expect("f and its backward run");
    for (index, input) in inputs.iter().enumerate() {
        let found = match gradients.get(input) {
            Some(gradient) => numbers(gradient),
            None => vec![0.0; input.elem_count()],
        };
        let values = numbers(input);
        assert_eq!(
            found.len(),
            values.len(),
            "input {index}: the gradient has another size"
        );
        for (entry, &gradient) in found.iter().enumerate() {
            let expected = central_difference(&f, &tensors, index, &values, entry);
            assert!(
                (gradient - expected).abs() <= tolerance * expected.abs().max(1.0),
                "input {index}, entry {entry}: gradient {gradient:e}, central difference {expected:e}",
            );
        }
    }
}

/// Fails unless a gradient is finite and has an entry that is not zero.
///
/// # Panics
/// When an entry is NaN or infinite, or all are zero; the message begins with `name`.
#[track_caller]
pub fn assert_finite_nonzero(name: &str, gradient: &Tensor) {
    let values = numbers(gradient);
    assert!(
        values.iter().all(|value| value.is_finite()),
        "{name}: gradient is not finite"
    );
    assert!(
        values.iter().any(|value| *value != 0.0),
        "{name}: gradient is zero everywhere"
    );
}

/// The central difference of `f` by one entry of `tensors[index]`, whose numbers are `values`.
fn central_difference(
    f: &impl Fn(&[Tensor]) -> Result<Tensor>,
    tensors: &[Tensor],
    index: usize,
    values: &[f64],
    entry: usize,
) -> f64 {
    let moved = |by: f64| {
        let mut values = values.to_vec();
        values[entry] += by;
        let mut tensors: Vec<Tensor> = tensors.iter().map(Tensor::detach).collect();
        tensors[index] = Tensor::from_vec(values, tensors[index].dims(), &Device::Cpu)
            .expect("the values keep their shape");
        let loss = f(&tensors).and_then(|loss| loss.to_scalar::<f64>());
        loss.expect("f gives a scalar f64 tensor")
    };
    (moved(STEP) - moved(-STEP)) / (2.0 * STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_gradient_passes() {
        let a = Var::new(&[[0.3f64, -1.2], [2.0, 0.7]], &Device::Cpu).unwrap();
        let b = Var::new(&[[1.3f64, 0.2], [-0.4, 0.9]], &Device::Cpu).unwrap();
        assert_gradients(|x| x[0].matmul(&x[1])?.tanh()?.sum_all(), &[a, b], 1e-7);
    }

    #[test]
    #[should_panic(expected = "entry 0")]
    fn lost_gradient_fails() {
        let a = Var::new(&[0.3f64], &Device::Cpu).unwrap();
        assert_gradients(|x| x[0].detach().sqr()?.sum_all(), &[a], 1e-7);
    }

    #[test]
    #[should_panic(expected = "bias: gradient is zero")]
    fn zero_gradient_is_named() {
        assert_finite_nonzero("bias", &Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap());
    }
}
