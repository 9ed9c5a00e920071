//! What do the instructions on single precision compute?
//!
//! `.ftz` and `.sat` are functions of their own ([`flush`], [`saturate`]) around these.

use std::cmp::Ordering;

use super::rounding::{Rounding, exact_sum, single};
use crate::instruction::Function;

/// The one NaN that hardware gives.
pub(crate) const NAN: u64 = 0x7fff_ffff;

pub(crate) fn value(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

pub(crate) fn bits(value: f32) -> u64 {
    match value.is_nan() {
        true => NAN,
        false => u64::from(value.to_bits()),
    }
}

/// A subnormal number becomes a zero of its sign.
pub(crate) fn flush(a: u64) -> u64 {
    match value(a).is_subnormal() {
        true => a & 0x8000_0000,
        false => a,
    }
}

/// Between 0 and 1; NaN becomes 0.
pub(crate) fn saturate(a: u64) -> u64 {
    match value(a) {
        inside if inside > 0.0 => bits(inside.min(1.0)),
        _ => 0,
    }
}

/// An approximate function, from double precision.
macro_rules! approximate {
    (|$a:ident| $body:expr) => {
        Function::One(|a| {
            let $a = f64::from(value(a));
            bits($body as f32)
        })
    };
}

/// `add`, `sub`, `mul`, `fma`/`mad`, `div` in a direction.
pub(crate) fn rounded(name: &str, rounding: Rounding) -> Option<Function> {
    use Rounding::{Down, Nearest, Up, Zero};
    macro_rules! directed {
        ($function:ident, $arity:ident, ($($operand:ident),*)) => {
            match rounding {
                Nearest => return None,
                Zero => Function::$arity(|$($operand),*| $function($(value($operand)),*, Zero)),
                Down => Function::$arity(|$($operand),*| $function($(value($operand)),*, Down)),
                Up => Function::$arity(|$($operand),*| $function($(value($operand)),*, Up)),
            }
        };
    }
    Some(match (name, rounding) {
        ("add", Nearest) => Function::Two(|a, b| bits(value(a) + value(b))),
        ("sub", Nearest) => Function::Two(|a, b| bits(value(a) - value(b))),
        ("mul", Nearest) => Function::Two(|a, b| bits(value(a) * value(b))),
        ("div", Nearest) => Function::Two(|a, b| bits(value(a) / value(b))),
        ("rcp", Nearest) => Function::One(|a| bits(1.0 / value(a))),
        ("sqrt", Nearest) => Function::One(|a| bits(value(a).sqrt())),
        ("fma" | "mad", Nearest) => {
            Function::Three(|a, b, c| bits(value(a).mul_add(value(b), value(c))))
        }
        ("add", _) => directed!(sum, Two, (a, b)),
        ("sub", _) => directed!(difference, Two, (a, b)),
        ("mul", _) => directed!(product, Two, (a, b)),
        ("fma" | "mad", _) => directed!(product_sum, Three, (a, b, c)),
        ("div", _) => directed!(quotient, Two, (a, b)),
        ("rcp", _) => directed!(reciprocal, One, (a)),
        ("sqrt", _) => directed!(root, One, (a)),
        _ => return None,
    })
}

fn sum(a: f32, b: f32, rounding: Rounding) -> u64 {
    product_sum(a, 1.0, b, rounding)
}

fn difference(a: f32, b: f32, rounding: Rounding) -> u64 {
    product_sum(a, 1.0, -b, rounding)
}

fn product(a: f32, b: f32, rounding: Rounding) -> u64 {
    bits(single(f64::from(a) * f64::from(b), 0.0, rounding))
}

fn product_sum(a: f32, b: f32, c: f32, rounding: Rounding) -> u64 {
    let (high, low) = exact_sum(f64::from(a) * f64::from(b), f64::from(c));
    if high == 0.0 && low == 0.0 && rounding == Rounding::Down && a * b != c {
        // A sum that cancels is −0 where rounding goes down.
        return bits(-0.0);
    }
    bits(single(high, low, rounding))
}

fn quotient(a: f32, b: f32, rounding: Rounding) -> u64 {
    let (a, b) = (f64::from(a), f64::from(b));
    let high = a / b;
    bits(with_rest(high, (-high).mul_add(b, a) / b, rounding))
}

fn reciprocal(a: f32, rounding: Rounding) -> u64 {
    quotient(1.0, a, rounding)
}

fn root(a: f32, rounding: Rounding) -> u64 {
    let a = f64::from(a);
    let high = a.sqrt();
    bits(with_rest(high, (-high).mul_add(high, a) / high, rounding))
}

/// A quotient or root in double precision, and the sign of what is missing from it.
fn with_rest(high: f64, rest: f64, rounding: Rounding) -> f32 {
    let rest = if rest.is_finite() { rest } else { 0.0 };
    single(high, rest, rounding)
}

/// `neg`, `abs`, `min`, `max`, `copysign`, and the approximate functions.
pub(crate) fn plain(name: &str) -> Option<Function> {
    Some(match name {
        "neg" => Function::One(|a| a ^ 0x8000_0000),
        "abs" => Function::One(|a| a & 0x7fff_ffff),
        "copysign" => Function::Two(|a, b| a & 0x8000_0000 | b & 0x7fff_ffff),
        "min" => Function::Two(|a, b| bits(smaller(value(a), value(b)))),
        "max" => Function::Two(|a, b| bits(-smaller(-value(a), -value(b)))),
        "div" => Function::Two(|a, b| bits(value(a) / value(b))),
        "rcp" => Function::One(|a| bits(1.0 / value(a))),
        "sqrt" => Function::One(|a| bits(value(a).sqrt())),
        "rsqrt" => approximate!(|a| 1.0 / a.sqrt()),
        "ex2" => approximate!(|a| a.exp2()),
        "lg2" => approximate!(|a| a.log2()),
        "sin" => approximate!(|a| a.sin()),
        "cos" => approximate!(|a| a.cos()),
        "tanh" => approximate!(|a| a.tanh()),
        _ => return None,
    })
}

/// `min.NaN`, `max.NaN`: NaN if an operand is.
pub(crate) fn extreme_with_nan(name: &str) -> Option<Function> {
    Some(match name {
        "min" => Function::Two(|a, b| match value(a).is_nan() || value(b).is_nan() {
            true => NAN,
            false => bits(smaller(value(a), value(b))),
        }),
        "max" => Function::Two(|a, b| match value(a).is_nan() || value(b).is_nan() {
            true => NAN,
            false => bits(-smaller(-value(a), -value(b))),
        }),
        _ => return None,
    })
}

/// The operand that is a number, if only one is; −0 is below +0.
fn smaller(a: f32, b: f32) -> f32 {
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

/// `testp`.
pub(crate) fn test(property: &str) -> Option<Function> {
    Some(match property {
        "finite" => Function::One(|a| u64::from(value(a).is_finite())),
        "infinite" => Function::One(|a| u64::from(value(a).is_infinite())),
        "number" => Function::One(|a| u64::from(!value(a).is_nan())),
        "notanumber" => Function::One(|a| u64::from(value(a).is_nan())),
        "normal" => Function::One(|a| u64::from(value(a).is_normal())),
        "subnormal" => Function::One(|a| u64::from(value(a).is_subnormal())),
        _ => return None,
    })
}
