//! What do the instructions on double precision compute?

use std::cmp::Ordering;

use crate::instruction::Function;

pub(crate) fn value(bits: u64) -> f64 {
    f64::from_bits(bits)
}

/// Everything rounded to nearest, and what needs no rounding.
pub(crate) fn plain(name: &str) -> Option<Function> {
    Some(match name {
        "add" => Function::Two(|a, b| (value(a) + value(b)).to_bits()),
        "sub" => Function::Two(|a, b| (value(a) - value(b)).to_bits()),
        "mul" => Function::Two(|a, b| (value(a) * value(b)).to_bits()),
        "div" => Function::Two(|a, b| (value(a) / value(b)).to_bits()),
        "fma" | "mad" => Function::Three(|a, b, c| value(a).mul_add(value(b), value(c)).to_bits()),
        "rcp" => Function::One(|a| (1.0 / value(a)).to_bits()),
        "sqrt" => Function::One(|a| value(a).sqrt().to_bits()),
        "rsqrt" => Function::One(|a| (1.0 / value(a).sqrt()).to_bits()),
        "neg" => Function::One(|a| a ^ 1 << 63),
        "abs" => Function::One(|a| a & !(1 << 63)),
        "copysign" => Function::Two(|a, b| a & 1 << 63 | b & !(1 << 63)),
        "min" => Function::Two(|a, b| smaller(value(a), value(b)).to_bits()),
        "max" => Function::Two(|a, b| (-smaller(-value(a), -value(b))).to_bits()),
        _ => return None,
    })
}

/// The operand that is a number, if only one is; −0 is below +0.
fn smaller(a: f64, b: f64) -> f64 {
    match a == b && a.is_sign_negative() {
        true => a,
        false if a == b => b,
        false => a.min(b),
    }
}

/// A comparison: 1 or 0. Those that end in `u` also hold where an operand is NaN.
pub(crate) fn comparison(comparison: &str) -> Option<Function> {
    macro_rules! compare {
        (|$a:ident, $b:ident| $body:expr) => {
            Function::Two(|a, b| {
                let ($a, $b) = (value(a), value(b));
                u64::from($body)
            })
        };
    }
    Some(match comparison {
        "eq" => compare!(|a, b| a == b),
        "ne" => compare!(|a, b| a.partial_cmp(&b).is_some_and(Ordering::is_ne)),
        "lt" => compare!(|a, b| a < b),
        "le" => compare!(|a, b| a <= b),
        "gt" => compare!(|a, b| a > b),
        "ge" => compare!(|a, b| a >= b),
        "equ" => compare!(|a, b| a.partial_cmp(&b).is_none_or(Ordering::is_eq)),
        "neu" => compare!(|a, b| a != b),
        "ltu" => compare!(|a, b| a.partial_cmp(&b).is_none_or(Ordering::is_lt)),
        "leu" => compare!(|a, b| a.partial_cmp(&b).is_none_or(Ordering::is_le)),
        "gtu" => compare!(|a, b| a.partial_cmp(&b).is_none_or(Ordering::is_gt)),
        "geu" => compare!(|a, b| a.partial_cmp(&b).is_none_or(Ordering::is_ge)),
        "num" => compare!(|a, b| !a.is_nan() && !b.is_nan()),
        "nan" => compare!(|a, b| a.is_nan() || b.is_nan()),
        _ => return None,
    })
}
