//! Which sigmoid and hyperbolic tangent do the gates use? Branch-free ones, in vectors.

use candle_core::WithDType;
use uard_linalg::vector::{Number, Simd, Vector};

/// A number type of the recurrence: `f32` for training, `f64` for finite differences.
pub trait Real: WithDType + Number {}
impl Real for f32 {}
impl Real for f64 {}

/// `1 / (1 + exp(-x))`, for f32 within 2e-7; NaN stays NaN.
#[inline(always)]
pub(super) fn sigmoid<T: Real, S: Simd>(simd: S, x: Vector<T, S>) -> Vector<T, S> {
    let one = T::splat(simd, T::ONE);
    let exp = T::exponential(simd, T::minus(simd, T::splat(simd, T::ZERO), x));
    T::over(simd, one, T::plus(simd, one, exp))
}

/// `2 sigmoid(2x) - 1`, for f32 within 2e-7; NaN stays NaN.
#[inline(always)]
pub(super) fn tanh<T: Real, S: Simd>(simd: S, x: Vector<T, S>) -> Vector<T, S> {
    let sigmoid = sigmoid::<T, S>(simd, T::plus(simd, x, x));
    T::minus(
        simd,
        T::plus(simd, sigmoid, sigmoid),
        T::splat(simd, T::ONE),
    )
}

#[cfg(test)]
mod tests {
    use uard_linalg::vector::{Loops, vectorised};

    use super::*;

    /// `exp` has a relative error below 2e-7: three units in the last place of 1.
    const TOLERANCE: f64 = 2e-7;

    /// Sigmoid and tanh of a number in vectors.
    struct Gates(f32);

    impl Loops for Gates {
        type Output = (f32, f32);

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> (f32, f32) {
            let x = f32::splat(simd, self.0);
            let [mut left, mut right] = [[0.0]; 2];
            f32::store(simd, &mut left, sigmoid::<f32, S>(simd, x));
            f32::store(simd, &mut right, tanh::<f32, S>(simd, x));
            (left[0], right[0])
        }
    }

    #[test]
    fn gates_are_within_their_tolerance_everywhere() {
        for step in -100_000..=100_000 {
            let x = step as f32 * 1e-3;
            let exact = f64::from(x);
            let (sigmoid, tanh) = vectorised(Gates(x));
            let expected = 1.0 / (1.0 + (-exact).exp());
            assert!(
                (f64::from(sigmoid) - expected).abs() < TOLERANCE,
                "sigmoid({x})"
            );
            assert!(
                (f64::from(tanh) - exact.tanh()).abs() < TOLERANCE,
                "tanh({x})"
            );
        }
    }

    #[test]
    fn gates_saturate_and_keep_nan() {
        assert_eq!(vectorised(Gates(f32::INFINITY)).0, 1.0);
        assert_eq!(vectorised(Gates(f32::NEG_INFINITY)).1, -1.0);
        let (sigmoid, tanh) = vectorised(Gates(f32::NAN));
        assert!(sigmoid.is_nan() && tanh.is_nan());
    }
}
