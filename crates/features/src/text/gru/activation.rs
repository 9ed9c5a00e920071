//! Which sigmoid and hyperbolic tangent do the gates use? Branch-free ones that vectorise.

use candle_core::WithDType;
use uard_core::exponential::exp;
use uard_core::product::Factor;

/// A number type of the recurrence: `f32` for training, `f64` for finite differences.
pub trait Real: WithDType + Factor {
    /// `1 / (1 + exp(-x))`; NaN stays NaN.
    fn sigmoid(x: Self) -> Self;

    /// `2 sigmoid(2x) - 1`; NaN stays NaN.
    fn tanh(x: Self) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn sigmoid(x: Self) -> Self {
        1.0 / (1.0 + exp(-x))
    }

    #[inline(always)]
    fn tanh(x: Self) -> Self {
        2.0 / (1.0 + exp(-2.0 * x)) - 1.0
    }
}

impl Real for f64 {
    #[inline(always)]
    fn sigmoid(x: Self) -> Self {
        1.0 / (1.0 + (-x).exp())
    }

    #[inline(always)]
    fn tanh(x: Self) -> Self {
        x.tanh()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `exp` has a relative error below 2e-7: three units in the last place of 1.
    const TOLERANCE: f64 = 2e-7;

    #[test]
    fn gates_are_within_their_tolerance_everywhere() {
        for step in -400_000..=400_000 {
            let x = step as f32 * 2.5e-4;
            let exact = f64::from(x);
            let sigmoid = f64::from(<f32 as Real>::sigmoid(x));
            assert!(
                (sigmoid - 1.0 / (1.0 + (-exact).exp())).abs() < TOLERANCE,
                "sigmoid({x})"
            );
            let tanh = f64::from(<f32 as Real>::tanh(x));
            assert!((tanh - exact.tanh()).abs() < TOLERANCE, "tanh({x})");
        }
    }

    #[test]
    fn gates_saturate() {
        assert_eq!(<f32 as Real>::sigmoid(f32::INFINITY), 1.0);
        assert_eq!(<f32 as Real>::tanh(f32::NEG_INFINITY), -1.0);
    }

    #[test]
    fn nan_stays_nan() {
        assert!(<f32 as Real>::sigmoid(f32::NAN).is_nan());
        assert!(<f32 as Real>::tanh(f32::NAN).is_nan());
    }
}
