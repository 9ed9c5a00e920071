//! The functions of the instructions on single and double precision.

use std::cmp::Ordering;

use crate::instruction::Function;

/// The NaN that NVIDIA GPUs produce in single precision.
const NAN: u64 = 0x7fff_ffff;

/// The single-precision number in a register.
pub(crate) fn value(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

/// The register contents of a single-precision number.
pub(crate) fn bits(value: f32) -> u64 {
    match value.is_nan() {
        true => NAN,
        false => u64::from(value.to_bits()),
    }
}

/// The functions that both precisions have. Arithmetic rounds to nearest; comparisons give 1 or 0,
/// and those whose name ends in `u` give 1 if an operand is NaN.
macro_rules! of_any_precision {
    ($name:expr, $value:path, $bits:expr) => {{
        macro_rules! compare {
            (|$a:ident, $b:ident| $body:expr) => {
                Function::Two(|a, b| {
                    let ($a, $b) = ($value(a), $value(b));
                    u64::from($body)
                })
            };
        }
        Some(match $name {
            "add" | "add.rn" => Function::Two(|a, b| $bits($value(a) + $value(b))),
            "sub" | "sub.rn" => Function::Two(|a, b| $bits($value(a) - $value(b))),
            "mul" | "mul.rn" => Function::Two(|a, b| $bits($value(a) * $value(b))),
            "div.rn" => Function::Two(|a, b| $bits($value(a) / $value(b))),
            "rcp.rn" => Function::One(|a| $bits(1.0 / $value(a))),
            "sqrt.rn" => Function::One(|a| $bits($value(a).sqrt())),
            "fma.rn" => Function::Three(|a, b, c| $bits($value(a).mul_add($value(b), $value(c)))),
            "setp.eq" => compare!(|a, b| a == b),
            "setp.ne" => compare!(|a, b| a.partial_cmp(&b).is_some_and(Ordering::is_ne)),
            "setp.lt" => compare!(|a, b| a < b),
            "setp.le" => compare!(|a, b| a <= b),
            "setp.gt" => compare!(|a, b| a > b),
            "setp.ge" => compare!(|a, b| a >= b),
            "setp.equ" => compare!(|a, b| a.partial_cmp(&b).is_none_or(Ordering::is_eq)),
            "setp.neu" => compare!(|a, b| a != b),
            "setp.ltu" => compare!(|a, b| a.partial_cmp(&b).is_none_or(Ordering::is_lt)),
            "setp.leu" => compare!(|a, b| a.partial_cmp(&b).is_none_or(Ordering::is_le)),
            "setp.gtu" => compare!(|a, b| a.partial_cmp(&b).is_none_or(Ordering::is_gt)),
            "setp.geu" => compare!(|a, b| a.partial_cmp(&b).is_none_or(Ordering::is_ge)),
            _ => return None,
        })
    }};
}

/// The function of the double-precision instruction with this name.
pub(crate) fn double(name: &str) -> Option<Function> {
    of_any_precision!(name, f64::from_bits, f64::to_bits)
}

/// The function of the single-precision instruction with this name.
pub(crate) fn single(name: &str) -> Option<Function> {
    Some(match name {
        "neg" => Function::One(|a| a ^ 0x8000_0000),
        "abs" => Function::One(|a| a & 0x7fff_ffff),
        "copysign" => Function::Two(|a, b| a & 0x8000_0000 | b & 0x7fff_ffff),
        "max" => Function::Two(|a, b| bits(larger(value(a), value(b)))),
        "max.NaN" => Function::Two(|a, b| match value(a).is_nan() || value(b).is_nan() {
            true => NAN,
            false => bits(larger(value(a), value(b))),
        }),
        "fma.rm" => Function::Three(|a, b, c| bits(rounded_down(value(a), value(b), value(c)))),
        // Computed in double precision and rounded once.
        "ex2.approx.ftz" => Function::One(|a| {
            let power = f64::from(value(flushed(a))).exp2();
            flushed(bits(power as f32))
        }),
        "rcp.approx.ftz" => Function::One(|a| flushed(bits(1.0 / value(flushed(a))))),
        // Clamped to 0 and 1; NaN becomes 0.
        "cvt.sat.f32" => Function::One(|a| match value(a) {
            inside if inside > 0.0 => bits(inside.min(1.0)),
            _ => 0,
        }),
        "cvt.f64" => Function::One(|a| f64::from(value(a)).to_bits()),
        _ => return of_any_precision!(name, value, bits),
    })
}

/// Replaces a subnormal number by a zero of the same sign.
fn flushed(a: u64) -> u64 {
    match value(a).is_subnormal() {
        true => a & 0x8000_0000,
        false => a,
    }
}

/// The larger operand; if one is NaN, the other one. +0 is larger than −0.
fn larger(a: f32, b: f32) -> f32 {
    match a == b && a.is_sign_negative() {
        true => b,
        false if a == b => a,
        false => a.max(b),
    }
}

/// `a · b + c`, rounded down. The product is exact in double precision, and the exact sum is held in
/// two numbers, `high + low`.
fn rounded_down(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let high = product + c;
    if !high.is_finite() {
        return high as f32;
    }
    let part = high - product;
    let low = (product - (high - part)) + (c - part);
    if high == 0.0 && low == 0.0 && product != c {
        // A sum that cancels exactly is −0 when rounding down.
        return -0.0;
    }
    let near = high as f32;
    let excess = match near.is_finite() {
        true => (f64::from(near) - high) - low,
        false => f64::from(near),
    };
    match excess > 0.0 {
        true => near.next_down(),
        false => near,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_down_never_exceeds_the_exact_sum() {
        let tiny = 2f32.powi(-60);
        assert_eq!(rounded_down(1.0, 1.0, tiny), 1.0);
        assert_eq!(rounded_down(1.0, 1.0, -tiny), 1.0_f32.next_down());
        assert_eq!(rounded_down(-1.0, 1.0, -tiny), (-1.0_f32).next_down());
        assert_eq!(rounded_down(-1.0, 1.0, tiny), -1.0);
        assert_eq!(rounded_down(2.0, 3.0, 0.5), 6.5);
    }

    #[test]
    fn rounding_down_stops_at_the_largest_number_and_cancels_to_minus_zero() {
        assert_eq!(rounded_down(f32::MAX, 2.0, 0.0), f32::MAX);
        assert_eq!(rounded_down(f32::MIN, 2.0, 0.0), f32::NEG_INFINITY);
        assert!(rounded_down(2.0, 3.0, -6.0).is_sign_negative());
        assert!(rounded_down(0.0, 3.0, 0.0).is_sign_positive());
    }
}
