//! Which sigmoid and hyperbolic tangent do the gates use? Branch-free ones that vectorise.

use candle_core::WithDType;
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

/// `exp(x)` for x clamped to [-87, 87], where neither the result nor its scale overflows.
///
/// ```text
/// exp(x) = 2^k p(x - k ln 2),   k = round(x / ln 2)
/// ```
///
/// The relative error is below 2e-7 on the whole range, so that sigmoid and tanh are within 2e-7
/// of the exact values: three units in the last place of 1.
///
/// # Source
/// Range reduction and polynomial of Cephes' `expf` (S. Moshier).
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// 1.5 · 2²³: adding it rounds to an integer, which the low bits then hold.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let rest = x - k * LN_2_HIGH - k * LN_2_LOW;
    let p = 1.987_569_1e-4_f32;
    let p = p * rest + 1.398_199_9e-3;
    let p = p * rest + 8.333_452e-3;
    let p = p * rest + 4.166_579_6e-2;
    let p = p * rest + 1.666_666_5e-1;
    let p = p * rest + 0.5;
    let p = p * rest * rest + rest + 1.0;
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// See the documentation of [`exp`].
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
    fn exp_is_relatively_exact_and_saturates() {
        for step in -8600..=8600 {
            let x = step as f32 * 0.01;
            let exact = f64::from(x).exp();
            assert!(
                (f64::from(exp(x)) - exact).abs() < TOLERANCE * exact,
                "exp({x})"
            );
        }
        assert_eq!(<f32 as Real>::sigmoid(f32::INFINITY), 1.0);
        assert_eq!(<f32 as Real>::tanh(f32::NEG_INFINITY), -1.0);
    }

    #[test]
    fn nan_stays_nan() {
        assert!(<f32 as Real>::sigmoid(f32::NAN).is_nan());
        assert!(<f32 as Real>::tanh(f32::NAN).is_nan());
    }
}
