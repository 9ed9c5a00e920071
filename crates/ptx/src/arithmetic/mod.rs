//! The functions of the instructions that touch registers only.
//!
//! The function of an instruction is chosen once, when the PTX is parsed.

pub(crate) mod float;
mod integer;

use crate::instruction::Function;
use crate::types::Type;

/// The function of an instruction, by its name without the type at its end: `setp.lt`, `u32`.
pub(crate) fn function(name: &str, kind: Type) -> Option<Function> {
    match (name, kind) {
        // The interpreter uses the same number as global and as generic address.
        ("mov", _) | ("cvta.to.global", Type::U64) => Some(Function::One(|a| a)),
        ("selp", _) => Some(Function::Three(|a, b, predicate| match predicate & 1 {
            1 => a,
            _ => b,
        })),
        (_, Type::F32) => float::single(name),
        (_, Type::F64) => float::double(name),
        _ => integer::function(name, kind),
    }
}

/// The function of two operands that an atomic or a reduction applies.
pub(crate) fn binary_function(name: &str, kind: Type) -> Option<fn(u64, u64) -> u64> {
    let combines = matches!(name, "add" | "min" | "max" | "and" | "or" | "xor");
    match function(name, kind) {
        Some(Function::Two(function)) if combines => Some(function),
        _ => None,
    }
}
