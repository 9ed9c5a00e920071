//! Which kernel multiplies, for a set of instructions and a type of number?

use half::bf16;

use super::{Instructions, Sides, ceiling, scalar};

#[cfg(all(target_arch = "x86_64", not(miri)))]
use super::{InstructionSet, amx, tiling::Operands, wide};

/// Products in f32.
pub fn product_f32(i: Instructions, sides: Sides<'_, f32>, out: &mut [f32], stride: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if i.set() != InstructionSet::Scalar {
        return i.run(wide::Singles(Operands::new(sides, out, stride)));
    }
    let _ = i;
    scalar::product(sides, out, stride);
}

/// Products in bf16.
pub fn product_bf16(i: Instructions, sides: Sides<'_, bf16>, out: &mut [f32], stride: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if i.set() != InstructionSet::Scalar {
        let operands = Operands::new(sides, out, stride);
        return match (i.set(), i.pairs()) {
            // SAFETY: `Instructions` was seen on this machine, and `panels::product` has compared
            // the output with the panels.
            (InstructionSet::Amx, _) => unsafe { amx::product_bf16(&operands) },
            // SAFETY: as above.
            (_, Some(simd)) => unsafe { wide::pairs::product(simd, &operands) },
            (_, None) => i.run(wide::Pairs(operands)),
        };
    }
    let _ = i;
    scalar::product(sides, out, stride);
}

/// Multiply-adds done in registers with the steps of f32.
pub fn ceiling_f32(i: Instructions, rounds: usize) -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if i.set() != InstructionSet::Scalar {
        return i.run(wide::Ceiling(rounds));
    }
    let _ = i;
    ceiling::scalar(rounds)
}

/// Multiply-adds done in registers with the steps of bf16.
pub fn ceiling_bf16(i: Instructions, rounds: usize) -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    match (i.set(), i.pairs()) {
        // SAFETY: `Instructions` was seen on this machine.
        (InstructionSet::Amx, _) => return unsafe { amx::ceiling(rounds) },
        // SAFETY: as above.
        (_, Some(simd)) => return unsafe { wide::pairs::ceiling(simd, rounds) },
        (_, None) => {}
    }
    ceiling_f32(i, rounds)
}
