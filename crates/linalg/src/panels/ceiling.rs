//! How fast could a product be on this machine, if nothing had to be fetched?

use std::hint::black_box;

use super::{Element, Instructions};
#[cfg(all(target_arch = "x86_64", not(miri)))]
use super::{InstructionSet, amx, wide};

/// Rounds over all accumulators in one call of [`ceiling`]: some tens of microseconds of work.
const ROUNDS: usize = 10_000;

/// Multiplies and adds in registers alone, with the instructions that [`super::product`] would
/// use, and says how many multiply-adds that were. Whoever times it knows the ceiling of one core:
/// no product of panels is faster.
///
/// Plain Rust has no fixed instructions; its ceiling is what the compiler makes of
/// independent sums.
pub fn ceiling<T: Element>(instructions: Instructions) -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if instructions.set() != InstructionSet::Scalar {
        return match (T::GROUP, instructions.set(), instructions.pairs()) {
            // SAFETY: `Instructions` was seen on this machine.
            (2, InstructionSet::Amx, _) => unsafe { amx::ceiling(ROUNDS) },
            // SAFETY: as above.
            (2, _, Some(simd)) => unsafe { wide::pairs::ceiling(simd, ROUNDS) },
            _ => instructions.run(wide::Ceiling(ROUNDS)),
        };
    }
    let _ = instructions;
    scalar(ROUNDS)
}

/// Plain Rust: multiplied and added apart, as in the scalar product.
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
