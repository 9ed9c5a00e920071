//! What is `exp` in loops that must vectorise? A branch-free polynomial, the same on every machine.

/// `exp(x)` for x clamped to [-87, 87], where neither the result nor its scale overflows; NaN
/// stays NaN.
///
/// ```text
/// exp(x) = 2^k p(x - k ln 2),   k = round(x / ln 2)
/// ```
///
/// The relative error is below 2e-7 on the whole range.
///
/// # Source
/// Range reduction and polynomial of Cephes' `expf` (S. Moshier).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
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
    fn exp_is_relatively_exact() {
        for step in -8600..=8600 {
            let x = step as f32 * 0.01;
            let exact = f64::from(x).exp();
            assert!(
                (f64::from(exp(x)) - exact).abs() < TOLERANCE * exact,
                "exp({x})"
            );
        }
    }

    #[test]
    fn exp_saturates_and_keeps_nan() {
        assert!(exp(f32::NEG_INFINITY) > 0.0 && exp(f32::NEG_INFINITY) < 1e-37);
        assert_eq!(exp(f32::INFINITY), exp(87.0));
        assert!(exp(f32::NAN).is_nan());
    }
}
