//! Vectors of sixteen f32 for every instruction set, for loops that choose their instructions by name.
//!
//! The vectors are those of `pulp`: one register of AVX-512, two of AVX2, an array in plain Rust. All
//! have 16 lanes, so that sums over a vector have one order for every instruction set. There is a type
//! for each instruction set because the compiler turned loops over arrays of 16 numbers into scalar
//! instructions, fifteen times slower.

use pulp::bytemuck::cast;
pub use pulp::f32x16;
use pulp::{Scalar, Scalar512b, Simd};

use super::number::{clamped_exponential, powers};
use crate::panels::Instructions;

#[cfg(target_arch = "x86_64")]
mod x86;

/// How many numbers a vector has.
pub const LANES: usize = 16;

/// The index of each lane, as f32.
const INDEX: [f32; LANES] = [
    0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
];

/// Vectors of [`LANES`] f32 of one instruction set, with operations that `pulp` lacks. No operation may
/// be given NaN.
pub trait Sixteen: Simd<f32s = f32x16> {
    /// `a b + c`, fused except in plain Rust.
    fn times_plus(self, a: f32x16, b: f32x16, c: f32x16) -> f32x16;

    /// `a b + c` of single numbers, fused where [`Sixteen::times_plus`] is.
    fn times_plus_one(self, a: f32, b: f32, c: f32) -> f32;

    /// `e^x`, with x clamped to ±87.
    fn exponential(self, x: f32x16) -> f32x16;

    /// Bit `l` is 1 where `a > b` in lane `l`.
    fn above(self, a: f32x16, b: f32x16) -> u16;

    /// The [`LANES`] numbers that begin at index `at`.
    ///
    /// # Panics
    /// When the slice ends before: rows must be padded to whole vectors.
    #[inline(always)]
    fn load_at(self, numbers: &[f32], at: usize) -> f32x16 {
        Self::as_simd_f32s(&numbers[at..at + LANES]).0[0]
    }

    /// Writes the vector to the [`LANES`] numbers that begin at index `at`.
    ///
    /// # Panics
    /// As [`Sixteen::load_at`].
    #[inline(always)]
    fn store_at(self, vector: f32x16, numbers: &mut [f32], at: usize) {
        Self::as_mut_simd_f32s(&mut numbers[at..at + LANES]).0[0] = vector;
    }

    /// `then` in the lanes where `a > b`, `otherwise` in the others.
    #[inline(always)]
    fn where_greater(self, a: f32x16, b: f32x16, then: f32x16, otherwise: f32x16) -> f32x16 {
        self.select_f32s(self.greater_than_f32s(a, b), then, otherwise)
    }

    /// The first `count` lanes of a vector, and `filling` in the others.
    #[inline(always)]
    fn first(self, count: usize, vector: f32x16, filling: f32) -> f32x16 {
        let (count, index) = (self.splat_f32s(count as f32), self.load_at(&INDEX, 0));
        self.where_greater(count, index, vector, self.splat_f32s(filling))
    }

    /// Converts one of the two bf16 in each 32-bit word to f32: the one in the lower half if `parity` is
    /// 0, the one in the upper half if it is 1. The bits of a bf16 become the upper half of the f32.
    #[inline(always)]
    fn widened(self, words: f32x16, parity: usize) -> f32x16 {
        let words = self.transmute_u32s_f32s(words);
        self.transmute_f32s_u32s(match parity {
            0 => self.wrapping_dyn_shl_u32s(words, self.splat_u32s(16)),
            _ => self.and_u32s(words, self.splat_u32s(!0xffff)),
        })
    }
}

/// Plain Rust: multiply-adds are not fused.
impl Sixteen for Scalar512b {
    #[inline(always)]
    fn times_plus(self, a: f32x16, b: f32x16, c: f32x16) -> f32x16 {
        self.add_f32s(self.mul_f32s(a, b), c)
    }

    #[inline(always)]
    fn times_plus_one(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }

    #[inline(always)]
    fn exponential(self, x: f32x16) -> f32x16 {
        let lanes: [f32; LANES] = cast(x);
        cast(lanes.map(|x| {
            let (p, power) = clamped_exponential(Scalar, x.clamp(-87.0, 87.0));
            f32::from_bits(p.to_bits().wrapping_add(powers(Scalar, power)))
        }))
    }

    #[inline(always)]
    fn above(self, a: f32x16, b: f32x16) -> u16 {
        let (a, b): ([f32; LANES], [f32; LANES]) = (cast(a), cast(b));
        let bits = a.iter().zip(&b).enumerate();
        bits.fold(0, |bits, (lane, (a, b))| bits | u16::from(a > b) << lane)
    }
}

/// A computation over slices in vectors of [`LANES`] numbers.
///
/// Mark [`SixteenLoops::run`] and what it calls `#[inline(always)]`: only code inlined there is
/// compiled for the wide vectors.
pub trait SixteenLoops {
    /// The result.
    type Output;

    /// Computes it with the vectors of `simd`.
    fn run<S: Sixteen>(self, simd: S) -> Self::Output;
}

impl Instructions {
    /// Runs loops with these instructions. `pulp` also needs the other instructions of the same level
    /// of x86-64, such as bit counting; on a machine that lacks those, the loops run in plain Rust.
    pub fn run<L: SixteenLoops>(self, loops: L) -> L::Output {
        #[cfg(target_arch = "x86_64")]
        {
            x86::run(self, loops)
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            loops.run(Scalar512b)
        }
    }
}
