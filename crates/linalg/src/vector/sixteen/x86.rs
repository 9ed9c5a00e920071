//! Vectors of sixteen f32 on x86-64: one register of AVX-512 or two of AVX2.

use pulp::x86::{V3, V3_512b, V4};
use pulp::{NullaryFnOnce, Scalar512b, Simd, bytemuck, f32x16};

use super::{Sixteen, SixteenLoops};
use crate::panels::{InstructionSet, Instructions};
use crate::vector::number::{clamped_exponential, powers};

/// Runs loops with these instructions, or in plain Rust where `pulp` does not find all that it needs.
pub fn run<L: SixteenLoops>(instructions: Instructions, loops: L) -> L::Output {
    match instructions.set() {
        InstructionSet::Scalar => {}
        InstructionSet::Avx2 => {
            if let Some(simd) = V3::try_new() {
                return simd.vectorize(Compiled(loops, V3_512b(simd)));
            }
        }
        InstructionSet::Avx512 | InstructionSet::Amx => {
            if let Some(simd) = V4::try_new() {
                return V4::vectorize(simd, Compiled(loops, simd));
            }
        }
    }
    loops.run(Scalar512b)
}

/// Loops, and the vectors whose instruction set they are compiled for.
struct Compiled<L, S>(L, S);

impl<L: SixteenLoops, S: Sixteen> NullaryFnOnce for Compiled<L, S> {
    type Output = L::Output;

    #[inline(always)]
    fn call(self) -> L::Output {
        self.0.run(self.1)
    }
}

macro_rules! sixteen {
    ($vectors:ident, |$simd:ident, $mask:ident| $bits:expr) => {
        impl Sixteen for $vectors {
            #[inline(always)]
            fn times_plus(self, a: f32x16, b: f32x16, c: f32x16) -> f32x16 {
                self.mul_add_f32s(a, b, c)
            }

            #[inline(always)]
            fn times_plus_one(self, a: f32, b: f32, c: f32) -> f32 {
                a.mul_add(b, c)
            }

            #[inline(always)]
            fn exponential(self, x: f32x16) -> f32x16 {
                let x = self.max_f32s(x, self.splat_f32s(-87.0));
                let x = self.min_f32s(x, self.splat_f32s(87.0));
                let (p, power) = clamped_exponential(self, x);
                let bits = self.transmute_u32s_f32s(p);
                self.transmute_f32s_u32s(self.add_u32s(bits, powers(self, power)))
            }

            #[inline(always)]
            fn above(self, a: f32x16, b: f32x16) -> u16 {
                let ($simd, $mask) = (self, self.greater_than_f32s(a, b));
                $bits
            }
        }
    };
}

sixteen!(V4, |_simd, mask| mask.0);
sixteen!(V3_512b, |simd, mask| {
    let [low, high]: [std::arch::x86_64::__m256; 2] = bytemuck::cast(mask);
    let low = simd.avx._mm256_movemask_ps(low);
    (low | simd.avx._mm256_movemask_ps(high) << 8) as u16
});
