//! The ceiling of a product's speed: multiply-adds on registers alone, without any memory access.

use std::hint::black_box;

use super::{Element, Instructions};
#[cfg(target_arch = "x86_64")]
use super::{InstructionSet, amx, wide};

/// Rounds over all accumulators in one call of [`ceiling`], which take some tens of microseconds.
const ROUNDS: usize = 10_000;

/// Multiplies and adds in registers alone, with the instructions that [`super::product`] would use,
/// and returns the number of multiply-adds. Divided by the time that a call takes, it is the most that
/// one core reaches: no product of panels is faster.
///
/// In plain Rust the compiler chooses the instructions, here for independent sums.
pub fn ceiling<T: Element>(instructions: Instructions) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if instructions.set() != InstructionSet::Scalar {
        return match (T::GROUP, instructions.set(), instructions.pairs()) {
            // SAFETY: `amx::ceiling` needs AMX: `Instructions::detect` gives `Amx` only where the
            // processor has it and the system permits tiles.
            (2, InstructionSet::Amx, _) => unsafe { amx::ceiling(ROUNDS) },
            // SAFETY: `pairs::ceiling` needs AVX-512 with `vdpbf16ps`: `pairs()` is `Some` only
            // where detection found both.
            (2, _, Some(simd)) => unsafe { wide::pairs::ceiling(simd, ROUNDS) },
            _ => instructions.run(wide::Ceiling(ROUNDS)),
        };
    }
    let _ = instructions;
    scalar(ROUNDS)
}

/// Plain Rust: multiplication and addition are not fused, as in the scalar product.
fn scalar(rounds: usize) -> u64 {
    const SUMS: usize = 48;
    let (a, b) = (black_box(0.5_f32), black_box(0.25_f32));
    let mut sums = black_box([0.0_f32; SUMS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = *sum * a + b;
        }
    }
    black_box(sums);
    (rounds * SUMS) as u64
}
