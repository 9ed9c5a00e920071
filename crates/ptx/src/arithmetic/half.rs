//! What do the instructions on half precision compute, and on pairs of it?
//!
//! Results are rounded once: sums and products are exact in double precision, or rounded to odd.

use half::{bf16, f16};

use super::rounding::{exact_sum, odd_single};
use super::single;
use crate::instruction::Function;
use crate::types::Type;

/// One of the two 16-bit formats.
pub(crate) trait Half {
    fn value(bits: u64) -> f32;
    /// Rounds to nearest, ties to even.
    fn bits(value: f32) -> u64;
}

/// The one NaN that hardware gives in either format.
const NAN: u64 = 0x7fff;

impl Half for f16 {
    fn value(bits: u64) -> f32 {
        f16::from_bits(bits as u16).to_f32()
    }
    fn bits(value: f32) -> u64 {
        match value.is_nan() {
            true => NAN,
            false => u64::from(f16::from_f32(value).to_bits()),
        }
    }
}

impl Half for bf16 {
    fn value(bits: u64) -> f32 {
        bf16::from_bits(bits as u16).to_f32()
    }
    fn bits(value: f32) -> u64 {
        match value.is_nan() {
            true => NAN,
            false => u64::from(bf16::from_f32(value).to_bits()),
        }
    }
}

fn sum<H: Half>(a: u64, b: u64) -> u64 {
    product_sum::<H>(a, H::bits(1.0), b)
}

fn difference<H: Half>(a: u64, b: u64) -> u64 {
    product_sum::<H>(a, H::bits(1.0), b ^ 0x8000)
}

fn product<H: Half>(a: u64, b: u64) -> u64 {
    let exact = f64::from(H::value(a)) * f64::from(H::value(b));
    H::bits(odd_single(exact, 0.0))
}

fn product_sum<H: Half>(a: u64, b: u64, c: u64) -> u64 {
    let product = f64::from(H::value(a)) * f64::from(H::value(b));
    let (high, low) = exact_sum(product, f64::from(H::value(c)));
    H::bits(odd_single(high, low))
}

fn rectified<H: Half>(a: u64, b: u64, c: u64) -> u64 {
    let sum = product_sum::<H>(a, b, c);
    match H::value(sum) {
        value if value > 0.0 || value.is_nan() => sum,
        _ => 0,
    }
}

fn minimum<H: Half>(a: u64, b: u64) -> u64 {
    extreme::<H>("min", a, b)
}

fn maximum<H: Half>(a: u64, b: u64) -> u64 {
    extreme::<H>("max", a, b)
}

fn extreme<H: Half>(name: &str, a: u64, b: u64) -> u64 {
    let (a, b) = (single::bits(H::value(a)), single::bits(H::value(b)));
    match single::plain(name) {
        Some(Function::Two(function)) => H::bits(single::value(function(a, b))),
        _ => NAN,
    }
}

/// The function of one half for both halves of a register.
macro_rules! pairs {
    ($function:expr, ($($operand:ident),*)) => {
        |$($operand),*| {
            let low = $function($($operand & 0xffff),*) & 0xffff;
            let high = $function($($operand >> 16 & 0xffff),*) & 0xffff;
            low | high << 16
        }
    };
}

/// Defines the choice by name for both formats and for pairs.
macro_rules! choices {
    ($kind:expr, $function:ident, $arity:ident, $operands:tt) => {
        match $kind {
            Type::F16 => Function::$arity($function::<f16>),
            Type::Bf16 => Function::$arity($function::<bf16>),
            Type::F16x2 => Function::$arity(pairs!($function::<f16>, $operands)),
            Type::Bf16x2 => Function::$arity(pairs!($function::<bf16>, $operands)),
            _ => return None,
        }
    };
}

/// `add`, `sub`, `mul`, `fma`, `fma.relu`, `min`, `max`, `neg`, `abs`.
pub(crate) fn plain(name: &str, kind: Type) -> Option<Function> {
    let paired = matches!(kind, Type::F16x2 | Type::Bf16x2);
    Some(match name {
        "add" => choices!(kind, sum, Two, (a, b)),
        "sub" => choices!(kind, difference, Two, (a, b)),
        "mul" => choices!(kind, product, Two, (a, b)),
        "fma" => choices!(kind, product_sum, Three, (a, b, c)),
        "fma.relu" => choices!(kind, rectified, Three, (a, b, c)),
        "min" => choices!(kind, minimum, Two, (a, b)),
        "max" => choices!(kind, maximum, Two, (a, b)),
        "neg" if paired => Function::One(|a| a ^ 0x8000_8000),
        "neg" => Function::One(|a| a ^ 0x8000),
        "abs" if paired => Function::One(|a| a & 0x7fff_7fff),
        "abs" => Function::One(|a| a & 0x7fff),
        "ex2" if kind == Type::F16 => Function::One(|a| <f16 as Half>::bits(f16::value(a).exp2())),
        "tanh" if kind == Type::F16 => Function::One(|a| <f16 as Half>::bits(f16::value(a).tanh())),
        _ => return None,
    })
}

/// The value of one half as single precision.
pub(crate) fn widening(kind: Type) -> Option<Function> {
    match kind {
        Type::F16 => Some(Function::One(|a| single::bits(f16::value(a)))),
        Type::Bf16 => Some(Function::One(|a| single::bits(bf16::value(a)))),
        _ => None,
    }
}
