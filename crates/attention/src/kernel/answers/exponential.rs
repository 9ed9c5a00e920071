//! The exponential, the same formula on every machine.

use super::lanes::Machine;

/// Below it e^x leaves the normal numbers; the answer stays at e^-86 = 4.5e-38.
const LOWEST: f32 = -86.0;
/// Above it e^x overflows.
const HIGHEST: f32 = 88.0;

/// Added and subtracted, it rounds to the nearest integer: 1.5 * 2^23.
const ROUNDING: f32 = 12_582_912.0;

/// ln 2 in two parts: the first has 9 bits, so that its product with an exponent is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2, highest power first.
///
/// # Source
/// Cephes `expf` (S. L. Moshier): relative error of e^r below 2e-7.
const COEFFICIENTS: [f32; 6] = [
    1.987_569_1e-4,
    1.398_199_9e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    5e-1,
];

/// e^x within 2 units in the last place, between [`LOWEST`] and [`HIGHEST`]; beyond, e^ of those.
#[inline(always)]
pub(super) fn exponential<M: Machine>(x: M::Vector) -> M::Vector {
    let x = M::smaller(M::larger(x, M::splat(LOWEST)), M::splat(HIGHEST));
    // The integer power of two stands in the low bits of the rounded sum.
    let rounding = M::splat(ROUNDING);
    let rounded = M::multiply_add(x, M::splat(std::f32::consts::LOG2_E), rounding);
    let power = M::subtract(rounding, rounded);
    let r = M::multiply_add(power, M::splat(LN_2_HIGH), x);
    let r = M::multiply_add(power, M::splat(LN_2_LOW), r);
    let mut tail = M::splat(COEFFICIENTS[0]);
    for coefficient in &COEFFICIENTS[1..] {
        tail = M::multiply_add(tail, r, M::splat(*coefficient));
    }
    let mantissa = M::multiply_add(tail, M::multiply(r, r), r);
    M::add_to_exponent(M::add(mantissa, M::splat(1.0)), rounded)
}
