//! Chooses the kernel that multiplies panels, by instruction set and type of number.

use super::{ColumnPanels, Element, Instructions, RowPanels, scalar};

#[cfg(target_arch = "x86_64")]
use super::{InstructionSet, amx, tiling::Operands, wide};

/// The product of rows and columns. [`super::product`] has checked that `out` holds it.
pub fn product<T: Element>(
    instructions: Instructions,
    rows: RowPanels<'_, T>,
    columns: ColumnPanels<'_, T>,
    out: &mut [f32],
    stride: usize,
) {
    #[cfg(target_arch = "x86_64")]
    if instructions.set() != InstructionSet::Scalar {
        let operands = Operands::new(rows, columns, out, stride);
        return compiled(instructions, T::GROUP, operands);
    }
    let _ = instructions;
    scalar::product(rows, columns, out, stride);
}

/// The product of panels. `group` is [`Element::GROUP`]: 1 for f32, 2 for bf16. The function is not
/// generic, so that the kernels are compiled in this crate and not in each crate that calls them.
#[cfg(target_arch = "x86_64")]
fn compiled(instructions: Instructions, group: usize, operands: Operands) {
    match (group, instructions.set(), instructions.pairs()) {
        (1, ..) => instructions.run(wide::Singles(operands)),
        // SAFETY: `amx::product_bf16` needs AMX: `Instructions::detect` gives `Amx` only where the
        // processor has it and the system permits tiles. It needs operands that can be read and
        // written: they point into slices that are borrowed until it returns, and
        // `panels::product` has compared depths, stride and output with the panels.
        (_, InstructionSet::Amx, _) => unsafe { amx::product_bf16(&operands) },
        // SAFETY: `pairs::product` needs AVX-512 with `vdpbf16ps`: `pairs()` is `Some` only where
        // detection found both. The operands can be read and written, as above.
        (_, _, Some(simd)) => unsafe { wide::pairs::product(simd, &operands) },
        (_, _, None) => instructions.run(wide::Pairs(operands)),
    }
}
