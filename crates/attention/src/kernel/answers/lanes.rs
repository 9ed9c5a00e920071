//! Sixteen lanes of f32: what the loops of this module ask of a machine.
//!
//! The loops are written once over [`Machine`]. Left to the compiler, arrays of 16 numbers ended as
//! single lanes in half of the loops, fifteen times slower: hence a type of vector for each machine.

/// Lanes of a vector: one register of AVX-512, two of AVX2.
pub(super) const LANES: usize = 16;

/// A vector in memory.
pub(super) type Lanes = [f32; LANES];

/// The number of each lane.
const INDEX: Lanes = [
    0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
];

/// A machine's vectors. No operation is given NaN.
pub(super) trait Machine {
    /// Sixteen lanes.
    type Vector: Copy;

    fn load(lanes: &Lanes) -> Self::Vector;
    fn store(vector: Self::Vector, lanes: &mut Lanes);
    fn splat(number: f32) -> Self::Vector;

    fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn subtract(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn multiply(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn divide(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn larger(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn smaller(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn root(a: Self::Vector) -> Self::Vector;

    /// `a b + c`, fused where the machine can.
    fn multiply_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// `a b + c` of single numbers, fused where the vectors are.
    fn multiply_add_one(a: f32, b: f32, c: f32) -> f32;

    /// Bit `l` tells whether `a` is above `b` in lane `l`.
    fn above(a: Self::Vector, b: Self::Vector) -> u16;

    /// `then` in the lanes where the first of `ab` is above the second, else `otherwise`.
    fn choose(
        ab: (Self::Vector, Self::Vector),
        then: Self::Vector,
        otherwise: Self::Vector,
    ) -> Self::Vector;

    /// Adds the low nine bits of `power`, as they stand, to the exponent.
    fn add_to_exponent(number: Self::Vector, power: Self::Vector) -> Self::Vector;

    /// Combines halves with halves until one lane is left: the same order on every machine.
    fn sum(vector: Self::Vector) -> f32;

    /// The highest lane.
    fn highest(vector: Self::Vector) -> f32;

    /// The first `count` lanes of a vector, and a filling in the others.
    #[inline(always)]
    fn first(count: usize, vector: Self::Vector, filling: f32) -> Self::Vector {
        let is_first = (Self::splat(count as f32), Self::load(&INDEX));
        Self::choose(is_first, vector, Self::splat(filling))
    }

    /// The vector from `at` on.
    #[inline(always)]
    fn load_at(numbers: &[f32], at: usize) -> Self::Vector {
        match numbers[at..].first_chunk() {
            Some(lanes) => Self::load(lanes),
            None => panic!("a row ends with slack"),
        }
    }

    /// Writes the vector from `at` on.
    #[inline(always)]
    fn store_at(vector: Self::Vector, numbers: &mut [f32], at: usize) {
        match numbers[at..].first_chunk_mut() {
            Some(lanes) => Self::store(vector, lanes),
            None => panic!("a row ends with slack"),
        }
    }
}

/// Plain Rust.
#[derive(Debug)]
pub(super) struct Portable;

#[inline(always)]
fn each(a: Lanes, b: Lanes, operation: impl Fn(f32, f32) -> f32) -> Lanes {
    std::array::from_fn(|l| operation(a[l], b[l]))
}

/// One instruction on every machine, unlike `f32::max`.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn fold(vector: Lanes, operation: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = vector;
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            lanes[l] = operation(lanes[l], lanes[l + half]);
        }
    }
    lanes[0]
}

impl Machine for Portable {
    type Vector = Lanes;

    #[inline(always)]
    fn load(lanes: &Lanes) -> Lanes {
        *lanes
    }

    #[inline(always)]
    fn store(vector: Lanes, lanes: &mut Lanes) {
        *lanes = vector;
    }

    #[inline(always)]
    fn splat(number: f32) -> Lanes {
        [number; LANES]
    }

    #[inline(always)]
    fn add(a: Lanes, b: Lanes) -> Lanes {
        each(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn subtract(a: Lanes, b: Lanes) -> Lanes {
        each(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn multiply(a: Lanes, b: Lanes) -> Lanes {
        each(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn divide(a: Lanes, b: Lanes) -> Lanes {
        each(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn larger(a: Lanes, b: Lanes) -> Lanes {
        each(a, b, larger)
    }

    #[inline(always)]
    fn smaller(a: Lanes, b: Lanes) -> Lanes {
        each(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn root(a: Lanes) -> Lanes {
        a.map(f32::sqrt)
    }

    #[inline(always)]
    fn multiply_add(a: Lanes, b: Lanes, c: Lanes) -> Lanes {
        std::array::from_fn(|l| a[l] * b[l] + c[l])
    }

    #[inline(always)]
    fn multiply_add_one(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }

    #[inline(always)]
    fn above(a: Lanes, b: Lanes) -> u16 {
        let bits = a.iter().zip(&b).enumerate();
        bits.fold(0, |bits, (lane, (a, b))| bits | u16::from(a > b) << lane)
    }

    #[inline(always)]
    fn choose((a, b): (Lanes, Lanes), then: Lanes, otherwise: Lanes) -> Lanes {
        std::array::from_fn(|l| if a[l] > b[l] { then[l] } else { otherwise[l] })
    }

    #[inline(always)]
    fn add_to_exponent(number: Lanes, power: Lanes) -> Lanes {
        each(number, power, |number, power| {
            f32::from_bits(number.to_bits().wrapping_add(power.to_bits() << 23))
        })
    }

    #[inline(always)]
    fn sum(vector: Lanes) -> f32 {
        fold(vector, |a, b| a + b)
    }

    #[inline(always)]
    fn highest(vector: Lanes) -> f32 {
        fold(vector, larger)
    }
}
