//! Vectors of sixteen f32 on x86-64: those of `pulp`, one register of AVX-512 or two of AVX2.

use pulp::x86::{V3, V3_512b, V4};
use pulp::{NullaryFnOnce, Simd, bytemuck, f32x16};

use super::{LANES, Portable, Sixteen, SixteenLoops};
use crate::panels::{InstructionSet, Instructions};
use crate::vector::number::{clamped_exponential, powers};

/// Runs loops where the machine has the instructions, else in plain Rust.
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
    loops.run(Portable)
}

/// Loops that are compiled for the machine whose vectors stand beside them.
struct Compiled<L, S>(L, S);

impl<L: SixteenLoops, S: Sixteen> NullaryFnOnce for Compiled<L, S> {
    type Output = L::Output;

    #[inline(always)]
    fn call(self) -> L::Output {
        self.0.run(self.1)
    }
}

/// Methods that are one operation of `pulp`.
macro_rules! operations {
    ($($name:ident($($argument:ident),+) = $operation:ident;)+) => {$(
        #[inline(always)]
        fn $name(self, $($argument: f32x16),+) -> f32x16 {
            self.$operation($($argument),+)
        }
    )+};
}

macro_rules! machine {
    ($machine:ident, $registers:literal, |$simd:ident, $mask:ident| $bits:expr) => {
        impl Sixteen for $machine {
            type Vector = f32x16;

            const REGISTERS: usize = $registers;

            operations! {
                plus(a, b) = add_f32s;
                minus(a, b) = sub_f32s;
                times(a, b) = mul_f32s;
                over(a, b) = div_f32s;
                root(a) = sqrt_f32s;
                larger(a, b) = max_f32s;
                times_plus(a, b, c) = mul_add_f32s;
            }

            #[inline(always)]
            fn load_at(self, numbers: &[f32], at: usize) -> f32x16 {
                Self::as_simd_f32s(&numbers[at..at + LANES]).0[0]
            }

            #[inline(always)]
            fn store_at(self, vector: f32x16, numbers: &mut [f32], at: usize) {
                Self::as_mut_simd_f32s(&mut numbers[at..at + LANES]).0[0] = vector;
            }

            #[inline(always)]
            fn splat(self, number: f32) -> f32x16 {
                self.splat_f32s(number)
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

            #[inline(always)]
            fn choose(self, ab: (f32x16, f32x16), then: f32x16, otherwise: f32x16) -> f32x16 {
                self.select_f32s(self.greater_than_f32s(ab.0, ab.1), then, otherwise)
            }

            #[inline(always)]
            fn total(self, vector: f32x16) -> f32 {
                self.reduce_sum_f32s(vector)
            }

            #[inline(always)]
            fn highest(self, vector: f32x16) -> f32 {
                self.reduce_max_f32s(vector)
            }

            #[inline(always)]
            fn widened(self, words: f32x16, parity: usize) -> f32x16 {
                let words = self.transmute_u32s_f32s(words);
                self.transmute_f32s_u32s(match parity {
                    0 => self.wrapping_dyn_shl_u32s(words, self.splat_u32s(16)),
                    _ => self.and_u32s(words, self.splat_u32s(!0xffff)),
                })
            }
        }
    };
}

machine!(V4, 32, |_simd, mask| mask.0);
machine!(V3_512b, 8, |simd, mask| {
    let [low, high]: [std::arch::x86_64::__m256; 2] = bytemuck::cast(mask);
    let low = simd.avx._mm256_movemask_ps(low);
    (low | simd.avx._mm256_movemask_ps(high) << 8) as u16
});
