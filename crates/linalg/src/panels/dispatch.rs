//! Which kernel multiplies panels, for a set of instructions and a type of number?

use super::{Element, Instructions, Sides, scalar};

#[cfg(all(target_arch = "x86_64", not(miri)))]
use super::{InstructionSet, amx, tiling::Operands, wide};

/// The product of both sides; `panels::product` has compared the output with them.
pub fn product<T: Element>(i: Instructions, sides: Sides<'_, T>, out: &mut [f32], stride: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if i.set() != InstructionSet::Scalar {
        return compiled(i, T::GROUP, Operands::new(sides, out, stride));
    }
    let _ = i;
    scalar::product(sides, out, stride);
}

/// Products of words that hold `group` depths each; compiled here, whoever calls.
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn compiled(i: Instructions, group: usize, operands: Operands) {
    match (group, i.set(), i.pairs()) {
        (1, ..) => i.run(wide::Singles(operands)),
        // SAFETY: `Instructions` was seen on this machine, and the operands can be read and written:
        // the output was compared with the panels.
        (_, InstructionSet::Amx, _) => unsafe { amx::product_bf16(&operands) },
        // SAFETY: as above.
        (_, _, Some(simd)) => unsafe { wide::pairs::product(simd, &operands) },
        (_, _, None) => i.run(wide::Pairs(operands)),
    }
}
