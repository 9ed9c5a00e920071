//! The exponential, the same formula on every machine.

use uard_linalg::vector::exponential::{COEFFICIENTS, LN_2_HIGH, LN_2_LOW, ROUNDING};

use super::lanes::Machine;

/// Below it e^x leaves the normal numbers; the answer stays at e^-86 = 4.5e-38.
const LOWEST: f32 = -86.0;
/// Above it e^x overflows.
const HIGHEST: f32 = 88.0;

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
