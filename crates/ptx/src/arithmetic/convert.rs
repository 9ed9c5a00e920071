//! What do the conversions compute?

use half::{bf16, f16};

use super::half::Half;
use super::rounding::{Rounding, odd_single, single as round};
use super::{double, single};
use crate::instruction::Function;
use crate::types::Type;

/// Cut to the bits of the type and extended again by zero or sign.
pub(crate) fn extension(kind: Type) -> Option<fn(u64) -> u64> {
    Some(match kind {
        Type::B8 | Type::U8 => |a| u64::from(a as u8),
        Type::B16 | Type::U16 => |a| u64::from(a as u16),
        Type::B32 | Type::U32 => |a| u64::from(a as u32),
        Type::B64 | Type::U64 | Type::S64 => |a| a,
        Type::S8 => |a| a as i8 as u64,
        Type::S16 => |a| a as i16 as u64,
        Type::S32 => |a| a as i32 as u64,
        _ => return None,
    })
}

/// The least and largest number of an integer type.
pub(crate) fn range(kind: Type) -> (i128, i128) {
    let bits = 8 * kind.bytes() as u32;
    match kind.is_signed() {
        true => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
        false => (0, (1 << bits) - 1),
    }
}

/// A signed 64-bit number between two bounds.
pub(crate) fn clamp_signed(a: u64, least: u64, largest: u64) -> u64 {
    (a as i64).clamp(least as i64, largest as i64) as u64
}

/// An unsigned 64-bit number below a bound.
pub(crate) fn clamp_unsigned(a: u64, largest: u64) -> u64 {
    a.min(largest)
}

/// From an integer of 64 bits, with or without sign, to a float.
pub(crate) fn from_integer(to: Type, signed: bool, rounding: Rounding) -> Option<Function> {
    use Rounding::{Down, Nearest, Up, Zero};
    Some(Function::One(match (to, signed, rounding) {
        (Type::F32, true, Nearest) => |a| single::bits(a as i64 as f32),
        (Type::F32, false, Nearest) => |a| single::bits(a as f32),
        (Type::F32, true, Zero) => |a| rounded(i128::from(a as i64), Zero),
        (Type::F32, true, Down) => |a| rounded(i128::from(a as i64), Down),
        (Type::F32, true, Up) => |a| rounded(i128::from(a as i64), Up),
        (Type::F32, false, Zero) => |a| rounded(i128::from(a), Zero),
        (Type::F32, false, Down) => |a| rounded(i128::from(a), Down),
        (Type::F32, false, Up) => |a| rounded(i128::from(a), Up),
        (Type::F64, true, Nearest) => |a| (a as i64 as f64).to_bits(),
        (Type::F64, false, Nearest) => |a| (a as f64).to_bits(),
        (Type::F16, true, Nearest) => |a| halved::<f16>(i128::from(a as i64)),
        (Type::F16, false, Nearest) => |a| halved::<f16>(i128::from(a)),
        (Type::Bf16, true, Nearest) => |a| halved::<bf16>(i128::from(a as i64)),
        (Type::Bf16, false, Nearest) => |a| halved::<bf16>(i128::from(a)),
        _ => return None,
    }))
}

/// An integer as a double and the rest.
fn parts(value: i128) -> (f64, f64) {
    let high = value as f64;
    (high, (value - high as i128) as f64)
}

fn rounded(value: i128, rounding: Rounding) -> u64 {
    let (high, low) = parts(value);
    single::bits(round(high, low, rounding))
}

fn halved<H: Half>(value: i128) -> u64 {
    let (high, low) = parts(value);
    H::bits(odd_single(high, low))
}

/// `.rni`, `.rzi`, `.rmi`, `.rpi`: a double rounded to an integer that is still a double.
pub(crate) fn whole(rounding: &str) -> Option<fn(u64) -> u64> {
    Some(match rounding {
        "rni" => |a| double::value(a).round_ties_even().to_bits(),
        "rzi" => |a| double::value(a).trunc().to_bits(),
        "rmi" => |a| double::value(a).floor().to_bits(),
        "rpi" => |a| double::value(a).ceil().to_bits(),
        _ => return None,
    })
}

/// From a double that is whole to an integer; beyond the type's range, its nearest end.
///
/// NaN becomes 0 between types of at most 32 bits, else the number with only the highest bit.
pub(crate) fn to_integer(to: Type, from: Type) -> Option<Function> {
    let wide = to.bytes() == 8 || from == Type::F64;
    macro_rules! ends {
        ($type:ident) => {
            match wide {
                true => |a| match double::value(a).is_nan() {
                    true => 1 << ($type::BITS - 1),
                    false => double::value(a) as $type as u64,
                },
                false => |a| double::value(a) as $type as u64,
            }
        };
    }
    Some(Function::One(match to {
        Type::U8 => ends!(u8),
        Type::U16 => ends!(u16),
        Type::U32 => ends!(u32),
        Type::U64 => ends!(u64),
        Type::S8 => ends!(i8),
        Type::S16 => ends!(i16),
        Type::S32 => ends!(i32),
        Type::S64 => ends!(i64),
        _ => return None,
    }))
}

/// Any float as a double, which holds it exactly.
pub(crate) fn to_double(from: Type) -> Option<fn(u64) -> u64> {
    Some(match from {
        Type::F16 => |a| f64::from(f16::value(a)).to_bits(),
        Type::Bf16 => |a| f64::from(bf16::value(a)).to_bits(),
        Type::F32 => |a| f64::from(single::value(a)).to_bits(),
        Type::F64 => |a| a,
        _ => return None,
    })
}

/// A double as any float.
pub(crate) fn from_double(to: Type, rounding: Rounding) -> Option<fn(u64) -> u64> {
    use Rounding::{Down, Nearest, Up, Zero};
    Some(match (to, rounding) {
        (Type::F64, _) => |a| a,
        (Type::F32, Nearest) => |a| single::bits(double::value(a) as f32),
        (Type::F32, Zero) => |a| single::bits(round(double::value(a), 0.0, Zero)),
        (Type::F32, Down) => |a| single::bits(round(double::value(a), 0.0, Down)),
        (Type::F32, Up) => |a| single::bits(round(double::value(a), 0.0, Up)),
        (Type::F16, Nearest) => |a| f16::bits(odd_single(double::value(a), 0.0)),
        (Type::Bf16, Nearest) => |a| bf16::bits(odd_single(double::value(a), 0.0)),
        (Type::F16, Zero) => |a| toward_zero::<f16>(double::value(a)),
        (Type::Bf16, Zero) => |a| toward_zero::<bf16>(double::value(a)),
        _ => return None,
    })
}

fn toward_zero<H: Half>(value: f64) -> u64 {
    let near = H::bits(odd_single(value, 0.0));
    // The numbers of one sign are ordered as their bits are.
    match f64::from(H::value(near)).abs() > value.abs() {
        true => near - 1,
        false => near,
    }
}

/// `cvt.rna.tf32.f32` and `cvt.rn.tf32.f32`: the low 13 bits become zero.
pub(crate) fn to_tf32(to_even: bool) -> fn(u64) -> u64 {
    match to_even {
        true => |a| match single::value(a).is_finite() {
            true => (a + 0xfff + (a >> 13 & 1)) & 0xffff_e000,
            false => a,
        },
        false => |a| match single::value(a).is_finite() {
            true => (a + 0x1000) & 0xffff_e000,
            false => a,
        },
    }
}

/// Two single-precision numbers, the first into the upper half.
pub(crate) fn pair(to: Type, rectified: bool) -> Option<Function> {
    fn paired<H: Half>(a: u64, b: u64) -> u64 {
        H::bits(single::value(a)) << 16 | H::bits(single::value(b))
    }
    fn positive(a: u64) -> u64 {
        let value = single::value(a);
        single::bits(if value.is_nan() {
            value
        } else {
            value.max(0.0)
        })
    }
    Some(Function::Two(match (to, rectified) {
        (Type::F16x2, false) => paired::<f16>,
        (Type::Bf16x2, false) => paired::<bf16>,
        (Type::F16x2, true) => |a, b| paired::<f16>(positive(a), positive(b)),
        (Type::Bf16x2, true) => |a, b| paired::<bf16>(positive(a), positive(b)),
        _ => return None,
    }))
}
