//! Vectors of sixteen f32 on every machine, for loops whose instructions are named.
//!
//! One register of AVX-512, two of AVX2, an array in plain Rust: sums over a vector have one order
//! everywhere. Left to the compiler, loops over arrays of 16 numbers ended as single lanes, fifteen
//! times slower: hence a type of vector for each machine.

use pulp::Scalar;

use super::number::{clamped_exponential, powers};
use crate::panels::Instructions;

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86;

/// Numbers of a vector.
pub const LANES: usize = 16;

/// The number of each lane.
const INDEX: [f32; LANES] = [
    0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
];

/// A machine's vectors of [`LANES`] f32. No operation is given NaN.
pub trait Sixteen: Copy {
    /// Sixteen numbers; any bits of its size are one.
    type Vector: Copy;

    /// How many vectors the registers hold.
    const REGISTERS: usize;

    /// The vector from `at` on.
    ///
    /// # Panics
    /// When there are fewer numbers: a row of the caller ends without slack.
    fn load_at(self, numbers: &[f32], at: usize) -> Self::Vector;

    /// Writes the vector from `at` on.
    ///
    /// # Panics
    /// As [`Sixteen::load_at`].
    fn store_at(self, vector: Self::Vector, numbers: &mut [f32], at: usize);

    /// The same number everywhere.
    fn splat(self, number: f32) -> Self::Vector;

    /// `a + b`
    fn plus(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a - b`
    fn minus(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a b`
    fn times(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a / b`
    fn over(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// The square root.
    fn root(self, a: Self::Vector) -> Self::Vector;

    /// The larger number of each lane.
    fn larger(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a b + c`, fused where the machine can.
    fn times_plus(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// `a b + c` of single numbers, fused where the vectors are.
    fn times_plus_one(self, a: f32, b: f32, c: f32) -> f32;

    /// `e^x`, between e^-87 and e^87.
    fn exponential(self, x: Self::Vector) -> Self::Vector;

    /// Bit `l` tells whether `a` is above `b` in lane `l`.
    fn above(self, a: Self::Vector, b: Self::Vector) -> u16;

    /// `then` in the lanes where the first of `ab` is above the second, else `otherwise`.
    fn choose(
        self,
        ab: (Self::Vector, Self::Vector),
        then: Self::Vector,
        otherwise: Self::Vector,
    ) -> Self::Vector;

    /// The sum: halves are added to halves until one lane is left.
    fn total(self, vector: Self::Vector) -> f32;

    /// The highest lane.
    fn highest(self, vector: Self::Vector) -> f32;

    /// Of pairs of bf16, which 16 words hold, the first or the second as f32: the upper half of an f32
    /// is a bf16.
    fn widened(self, words: Self::Vector, parity: usize) -> Self::Vector;

    /// The first `count` lanes of a vector, and a filling in the others.
    #[inline(always)]
    fn first(self, count: usize, vector: Self::Vector, filling: f32) -> Self::Vector {
        let is_first = (self.splat(count as f32), self.load_at(&INDEX, 0));
        self.choose(is_first, vector, self.splat(filling))
    }
}

/// Plain Rust.
#[derive(Debug, Clone, Copy)]
pub struct Portable;

#[inline(always)]
fn each(a: [f32; LANES], b: [f32; LANES], operation: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|lane| operation(a[lane], b[lane]))
}

/// One instruction on every machine, unlike `f32::max`.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES], operation: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] = operation(lanes[lane], lanes[lane + half]);
        }
    }
    lanes[0]
}

impl Sixteen for Portable {
    type Vector = [f32; LANES];

    const REGISTERS: usize = 8;

    #[inline(always)]
    fn load_at(self, numbers: &[f32], at: usize) -> Self::Vector {
        match numbers[at..].first_chunk() {
            Some(lanes) => *lanes,
            None => panic!("a row ends with slack"),
        }
    }

    #[inline(always)]
    fn store_at(self, vector: Self::Vector, numbers: &mut [f32], at: usize) {
        numbers[at..at + LANES].copy_from_slice(&vector);
    }

    #[inline(always)]
    fn splat(self, number: f32) -> Self::Vector {
        [number; LANES]
    }

    #[inline(always)]
    fn plus(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        each(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn minus(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        each(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn times(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        each(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn over(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        each(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn root(self, a: Self::Vector) -> Self::Vector {
        a.map(f32::sqrt)
    }

    #[inline(always)]
    fn larger(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        each(a, b, larger)
    }

    #[inline(always)]
    fn times_plus(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        self.plus(self.times(a, b), c)
    }

    #[inline(always)]
    fn times_plus_one(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }

    #[inline(always)]
    fn exponential(self, x: Self::Vector) -> Self::Vector {
        x.map(|x| {
            let (p, power) = clamped_exponential(Scalar, x.clamp(-87.0, 87.0));
            f32::from_bits(p.to_bits().wrapping_add(powers(Scalar, power)))
        })
    }

    #[inline(always)]
    fn above(self, a: Self::Vector, b: Self::Vector) -> u16 {
        let bits = a.iter().zip(&b).enumerate();
        bits.fold(0, |bits, (lane, (a, b))| bits | u16::from(a > b) << lane)
    }

    #[inline(always)]
    fn choose(
        self,
        (a, b): (Self::Vector, Self::Vector),
        then: Self::Vector,
        otherwise: Self::Vector,
    ) -> Self::Vector {
        std::array::from_fn(|lane| {
            if a[lane] > b[lane] {
                then[lane]
            } else {
                otherwise[lane]
            }
        })
    }

    #[inline(always)]
    fn total(self, vector: Self::Vector) -> f32 {
        fold(vector, |a, b| a + b)
    }

    #[inline(always)]
    fn highest(self, vector: Self::Vector) -> f32 {
        fold(vector, larger)
    }

    #[inline(always)]
    fn widened(self, words: Self::Vector, parity: usize) -> Self::Vector {
        words.map(|word| match parity {
            0 => f32::from_bits(word.to_bits() << 16),
            _ => f32::from_bits(word.to_bits() & !0xffff),
        })
    }
}

/// Work over slices in vectors of [`LANES`] numbers.
///
/// Mark [`SixteenLoops::run`] and what it calls `#[inline(always)]`: only code inlined there is
/// compiled for the wide vectors.
pub trait SixteenLoops {
    /// What the work gives.
    type Output;

    /// Does the work with the vectors of `simd`.
    fn run<S: Sixteen>(self, simd: S) -> Self::Output;
}

impl Instructions {
    /// Runs loops with these instructions. Where the machine hides others that belong to the same
    /// level of x86-64, such as bit counting, they run in plain Rust.
    pub fn run<L: SixteenLoops>(self, loops: L) -> L::Output {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            x86::run(self, loops)
        }
        #[cfg(any(not(target_arch = "x86_64"), miri))]
        {
            loops.run(Portable)
        }
    }
}
