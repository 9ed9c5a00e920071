//! What do the integer instructions compute?
//!
//! Registers hold 64 bits; a function looks only at the bits of its type, and may leave anything
//! above them.

#![allow(
    clippy::unnecessary_cast,
    reason = "the bodies are written for every type, and one of them is u64"
)]

use crate::instruction::Function;
use crate::types::Type;

/// A function of the integer type at hand, which the body calls `T`.
macro_rules! of_integer {
    ($kind:expr, $arity:ident, $body:expr) => {
        match $kind {
            Type::U16 | Type::B16 => of_integer!(@ u16, $arity, $body),
            Type::U32 | Type::B32 => of_integer!(@ u32, $arity, $body),
            Type::U64 | Type::B64 => of_integer!(@ u64, $arity, $body),
            Type::S16 => of_integer!(@ i16, $arity, $body),
            Type::S32 => of_integer!(@ i32, $arity, $body),
            Type::S64 => of_integer!(@ i64, $arity, $body),
            _ => None,
        }
    };
    (@ $type:ident, $arity:ident, $body:expr) => {{
        #[allow(dead_code, reason = "not every body names it")]
        type T = $type;
        Some(Function::$arity($body))
    }};
}

/// What the type `T` of a body needs besides arithmetic.
pub(crate) trait Integer: Copy {
    /// Division as hardware does it: by zero gives all ones.
    fn divided(self, by: Self) -> Self;
    /// The remainder; of a division by zero, the dividend.
    fn remainder(self, by: Self) -> Self;
    /// The upper half of the product.
    fn product_high(self, other: Self) -> Self;
    /// The whole product, in twice the bits.
    fn product_wide(self, other: Self) -> u64;
    /// Shifted right, by at most all bits.
    fn shifted_right(self, by: u64) -> Self;
    /// `|self − other|` in the bits of the type.
    fn distance(self, other: Self) -> Self;
}

macro_rules! integer {
    ($($type:ident $wide:ident $bits:literal;)*) => {$(
        impl Integer for $type {
            fn divided(self, by: Self) -> Self {
                if by == 0 { !0 } else { self.wrapping_div(by) }
            }
            fn remainder(self, by: Self) -> Self {
                if by == 0 { self } else { self.wrapping_rem(by) }
            }
            fn product_high(self, other: Self) -> Self {
                ((self as $wide).wrapping_mul(other as $wide) >> $bits) as Self
            }
            fn product_wide(self, other: Self) -> u64 {
                (self as $wide).wrapping_mul(other as $wide) as u64
            }
            fn shifted_right(self, by: u64) -> Self {
                // A signed type fills with its sign.
                self >> (by as u32).min($bits - 1) >> u32::from(by as u32 >= $bits)
            }
            fn distance(self, other: Self) -> Self {
                self.max(other).wrapping_sub(self.min(other))
            }
        }
    )*};
}

integer! {
    u16 u32 16; u32 u64 32; u64 u128 64;
    i16 i32 16; i32 i64 32; i64 i128 64;
}

/// `add`, `sub`, `div`, `rem`, `min`, `max`, `neg`, `abs`, `sad`.
pub(crate) fn plain(name: &str, kind: Type) -> Option<Function> {
    match name {
        "add" => of_integer!(kind, Two, |a, b| (a as T).wrapping_add(b as T) as u64),
        "sub" => of_integer!(kind, Two, |a, b| (a as T).wrapping_sub(b as T) as u64),
        "div" => of_integer!(kind, Two, |a, b| (a as T).divided(b as T) as u64),
        "rem" => of_integer!(kind, Two, |a, b| (a as T).remainder(b as T) as u64),
        "min" => of_integer!(kind, Two, |a, b| (a as T).min(b as T) as u64),
        "max" => of_integer!(kind, Two, |a, b| (a as T).max(b as T) as u64),
        "neg" => of_integer!(kind, One, |a| (0 as T).wrapping_sub(a as T) as u64),
        "abs" if kind.is_signed() => {
            of_integer!(kind, One, |a| (a as T).max((0 as T).wrapping_sub(a as T))
                as u64)
        }
        "sad" => of_integer!(
            kind,
            Three,
            |a, b, c| (a as T).distance(b as T).wrapping_add(c as T) as u64
        ),
        _ => None,
    }
}

/// `add.sat.s32`, `sub.sat.s32`.
pub(crate) fn saturating(name: &str, kind: Type) -> Option<Function> {
    match (name, kind) {
        ("add", Type::S32) => Some(Function::Two(|a, b| {
            (a as i32).saturating_add(b as i32) as u64
        })),
        ("sub", Type::S32) => Some(Function::Two(|a, b| {
            (a as i32).saturating_sub(b as i32) as u64
        })),
        _ => None,
    }
}

/// `mul` and `mad` with `.lo`, `.hi` or `.wide`.
pub(crate) fn product(name: &str, part: &str, kind: Type) -> Option<Function> {
    match (name, part) {
        ("mul", "lo") => of_integer!(kind, Two, |a, b| (a as T).wrapping_mul(b as T) as u64),
        ("mul", "hi") => of_integer!(kind, Two, |a, b| (a as T).product_high(b as T) as u64),
        ("mul", "wide") if kind.bytes() < 8 => {
            of_integer!(kind, Two, |a, b| (a as T).product_wide(b as T))
        }
        ("mad", "lo") => of_integer!(kind, Three, |a, b, c| (a as T)
            .wrapping_mul(b as T)
            .wrapping_add(c as T)
            as u64),
        ("mad", "hi") => of_integer!(kind, Three, |a, b, c| (a as T)
            .product_high(b as T)
            .wrapping_add(c as T)
            as u64),
        ("mad", "wide") if kind.bytes() < 8 => {
            of_integer!(kind, Three, |a, b, c| (a as T)
                .product_wide(b as T)
                .wrapping_add(c))
        }
        _ => None,
    }
}

/// `and`, `or`, `xor`, `not`, `cnot`, `shl`, `shr`, also of predicates.
pub(crate) fn bitwise(name: &str, kind: Type) -> Option<Function> {
    match name {
        "and" => Some(Function::Two(|a, b| a & b)),
        "or" => Some(Function::Two(|a, b| a | b)),
        "xor" => Some(Function::Two(|a, b| a ^ b)),
        "not" if kind == Type::Pred => Some(Function::One(|a| a ^ 1)),
        "not" => Some(Function::One(|a| !a)),
        "cnot" => of_integer!(kind, One, |a| u64::from(a as T == 0)),
        "shl" => of_integer!(kind, Two, |a, b| match b as u32 {
            by if by < T::BITS => a << by,
            _ => 0,
        }),
        "shr" => of_integer!(kind, Two, |a, b| (a as T).shifted_right(b) as u64),
        _ => None,
    }
}

/// A comparison of integers: 1 or 0.
pub(crate) fn comparison(comparison: &str, kind: Type) -> Option<Function> {
    match comparison {
        "eq" => of_integer!(kind, Two, |a, b| u64::from(a as T == b as T)),
        "ne" => of_integer!(kind, Two, |a, b| u64::from(a as T != b as T)),
        "lt" | "lo" => of_integer!(kind, Two, |a, b| u64::from((a as T) < b as T)),
        "le" | "ls" => of_integer!(kind, Two, |a, b| u64::from(a as T <= b as T)),
        "gt" | "hi" => of_integer!(kind, Two, |a, b| u64::from(a as T > b as T)),
        "ge" | "hs" => of_integer!(kind, Two, |a, b| u64::from(a as T >= b as T)),
        _ => None,
    }
}

/// `add.cc`, `addc`, `sub.cc`, `subc`, …: the sum or difference, and the carry out of it.
///
/// The flag is the one of the hardware, which subtracts by adding the complement: after a
/// difference it is set where nothing was borrowed. The manual calls it a borrow; NVRTC's own
/// division of 128 bits adds what a difference left in the flag, and needs it this way.
pub(crate) fn with_carry(name: &str, kind: Type) -> Option<[Function; 2]> {
    match (name, kind) {
        ("add", Type::U32) => Some([
            Function::Three(|a, b, flag| a.wrapping_add(b).wrapping_add(flag)),
            Function::Three(carry32),
        ]),
        ("sub", Type::U32) => Some([
            Function::Three(|a, b, flag| a.wrapping_add(!b).wrapping_add(flag)),
            Function::Three(|a, b, flag| carry32(a, !b, flag)),
        ]),
        ("add", Type::U64) => Some([
            Function::Three(|a, b, flag| a.wrapping_add(b).wrapping_add(flag)),
            Function::Three(carry64),
        ]),
        ("sub", Type::U64) => Some([
            Function::Three(|a, b, flag| a.wrapping_add(!b).wrapping_add(flag)),
            Function::Three(|a, b, flag| carry64(a, !b, flag)),
        ]),
        _ => None,
    }
}

fn carry32(a: u64, b: u64, flag: u64) -> u64 {
    (u64::from(a as u32) + u64::from(b as u32) + flag) >> 32
}

fn carry64(a: u64, b: u64, flag: u64) -> u64 {
    ((u128::from(a) + u128::from(b) + u128::from(flag)) >> 64) as u64
}
