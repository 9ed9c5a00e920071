//! The functions of the instructions on integers, bits and predicates.
//!
//! Registers hold 64 bits; a function reads only the bits of its type, and the bits above them in its
//! result are undefined.

#![allow(
    clippy::unnecessary_cast,
    reason = "the bodies are written for every type, and one of them is u64"
)]

use super::float;
use crate::instruction::Function;
use crate::types::Type;

/// Makes the function of an instruction for the integer type of `$kind`, which the body calls `T`.
macro_rules! of_integer {
    ($kind:expr, $arity:ident, $body:expr) => {
        match $kind {
            Type::U32 | Type::B32 => of_integer!(@ u32, $arity, $body),
            Type::U64 | Type::B64 => of_integer!(@ u64, $arity, $body),
            Type::S32 => of_integer!(@ i32, $arity, $body),
            Type::S64 => of_integer!(@ i64, $arity, $body),
            _ => return None,
        }
    };
    (@ $type:ident, $arity:ident, $body:expr) => {{
        type T = $type;
        Function::$arity($body)
    }};
}

/// The function of the instruction with this name and type.
///
/// As on the GPU, a division by zero gives all ones and its remainder the dividend, and a shift by
/// the width or more gives zero, or copies of the sign for a signed shift to the right.
pub(crate) fn function(name: &str, kind: Type) -> Option<Function> {
    Some(match (name, kind) {
        ("and", _) => Function::Two(|a, b| a & b),
        ("or", _) => Function::Two(|a, b| a | b),
        ("xor", _) => Function::Two(|a, b| a ^ b),
        ("not", Type::Pred) => Function::One(|a| a ^ 1),
        ("not", _) => Function::One(|a| !a),
        ("bfi", Type::B32) => Function::Four(insert),
        ("mul.wide", Type::U32) => Function::Two(|a, b| u64::from(a as u32) * u64::from(b as u32)),
        ("mul.wide", Type::S32) => {
            Function::Two(|a, b| (i64::from(a as i32) * i64::from(b as i32)) as u64)
        }
        ("cvt.u32", Type::U64) | ("cvt.u64", Type::U32) => Function::One(|a| u64::from(a as u32)),
        ("cvt.rn.f32", Type::U32) => Function::One(|a| float::bits(a as u32 as f32)),
        ("cvt.rn.f32", Type::S32) => Function::One(|a| float::bits(a as i32 as f32)),
        ("add", _) => of_integer!(kind, Two, |a, b| (a as T).wrapping_add(b as T) as u64),
        ("sub", _) => of_integer!(kind, Two, |a, b| (a as T).wrapping_sub(b as T) as u64),
        ("mul.lo", _) => of_integer!(kind, Two, |a, b| (a as T).wrapping_mul(b as T) as u64),
        ("mad.lo", _) => of_integer!(kind, Three, |a, b, c| (a as T)
            .wrapping_mul(b as T)
            .wrapping_add(c as T)
            as u64),
        ("div", _) => of_integer!(kind, Two, |a, b| match b as T {
            0 => u64::MAX,
            b => (a as T).wrapping_div(b) as u64,
        }),
        ("rem", _) => of_integer!(kind, Two, |a, b| match b as T {
            0 => a,
            b => (a as T).wrapping_rem(b) as u64,
        }),
        ("min", _) => of_integer!(kind, Two, |a, b| (a as T).min(b as T) as u64),
        ("max", _) => of_integer!(kind, Two, |a, b| (a as T).max(b as T) as u64),
        ("shl", _) => of_integer!(kind, Two, |a, b| match b as u32 {
            by if by < T::BITS => a << by,
            _ => 0,
        }),
        ("shr", _) => of_integer!(kind, Two, |a, b| match b as u32 {
            by if by < T::BITS => (a as T >> by) as u64,
            _ => (a as T >> (T::BITS - 1) >> 1) as u64,
        }),
        ("setp.eq", _) => of_integer!(kind, Two, |a, b| u64::from(a as T == b as T)),
        ("setp.ne", _) => of_integer!(kind, Two, |a, b| u64::from(a as T != b as T)),
        ("setp.lt", _) => of_integer!(kind, Two, |a, b| u64::from((a as T) < b as T)),
        ("setp.le", _) => of_integer!(kind, Two, |a, b| u64::from(a as T <= b as T)),
        ("setp.gt", _) => of_integer!(kind, Two, |a, b| u64::from(a as T > b as T)),
        ("setp.ge", _) => of_integer!(kind, Two, |a, b| u64::from(a as T >= b as T)),
        _ => return None,
    })
}

/// `bfi.b32`: `b` with `length` bits from bit `at` on replaced by the low bits of `a`.
fn insert(a: u64, b: u64, at: u64, length: u64) -> u64 {
    let (at, length) = (at & 0xff, length & 0xff);
    if at > 31 {
        return b;
    }
    let mask = ((1 << length.min(32)) - 1) << at;
    b & !mask | a << at & mask
}
