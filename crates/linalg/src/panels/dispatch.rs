//! Which kernel multiplies, for a set of instructions and a type of number?

#[cfg(any(not(target_arch = "x86_64"), miri))]
pub use portable::{ceiling_bf16, ceiling_f32, product_bf16, product_f32};
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub use x86::{ceiling_bf16, ceiling_f32, product_bf16, product_f32};

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86 {
    use half::bf16;

    use crate::panels::{InstructionSet, Instructions, Sides, amx, avx2, avx512, ceiling, scalar};

    /// Products in f32.
    pub fn product_f32(i: Instructions, sides: Sides<'_, f32>, out: &mut [f32], stride: usize) {
        // SAFETY: `Instructions` was seen on this machine, and `panels::product` has compared the
        // output with the panels.
        unsafe {
            match i.set() {
                InstructionSet::Scalar => scalar::product(sides, out, stride),
                InstructionSet::Avx2 => avx2::product_f32(sides, out, stride),
                InstructionSet::Avx512 | InstructionSet::Amx => {
                    avx512::product_f32(sides, out, stride);
                }
            }
        }
    }

    /// Products in bf16.
    pub fn product_bf16(i: Instructions, sides: Sides<'_, bf16>, out: &mut [f32], stride: usize) {
        // SAFETY: as above.
        unsafe {
            match i.set() {
                InstructionSet::Scalar => scalar::product(sides, out, stride),
                InstructionSet::Avx2 => avx2::product_bf16(sides, out, stride),
                InstructionSet::Avx512 if i.bf16_pairs() => {
                    avx512::product_bf16(sides, out, stride);
                }
                InstructionSet::Avx512 => avx512::product_bf16_widened(sides, out, stride),
                InstructionSet::Amx => amx::product_bf16(sides, out, stride),
            }
        }
    }

    /// Multiply-adds done in registers with the steps of f32.
    pub fn ceiling_f32(i: Instructions, rounds: usize) -> u64 {
        // SAFETY: as above.
        unsafe {
            match i.set() {
                InstructionSet::Scalar => ceiling::scalar(rounds),
                InstructionSet::Avx2 => avx2::ceiling(rounds),
                InstructionSet::Avx512 | InstructionSet::Amx => avx512::ceiling_f32(rounds),
            }
        }
    }

    /// Multiply-adds done in registers with the steps of bf16.
    pub fn ceiling_bf16(i: Instructions, rounds: usize) -> u64 {
        // SAFETY: as above.
        unsafe {
            match i.set() {
                InstructionSet::Avx512 if i.bf16_pairs() => avx512::ceiling_bf16(rounds),
                InstructionSet::Amx => amx::ceiling(rounds),
                _ => ceiling_f32(i, rounds),
            }
        }
    }
}

#[cfg(any(not(target_arch = "x86_64"), miri))]
mod portable {
    use half::bf16;

    use crate::panels::{Instructions, Sides, ceiling, scalar};

    /// Products in f32.
    pub fn product_f32(_: Instructions, sides: Sides<'_, f32>, out: &mut [f32], stride: usize) {
        scalar::product(sides, out, stride);
    }

    /// Products in bf16.
    pub fn product_bf16(_: Instructions, sides: Sides<'_, bf16>, out: &mut [f32], stride: usize) {
        scalar::product(sides, out, stride);
    }

    /// Multiply-adds done in registers.
    pub fn ceiling_f32(_: Instructions, rounds: usize) -> u64 {
        ceiling::scalar(rounds)
    }

    /// Multiply-adds done in registers.
    pub fn ceiling_bf16(_: Instructions, rounds: usize) -> u64 {
        ceiling::scalar(rounds)
    }
}
