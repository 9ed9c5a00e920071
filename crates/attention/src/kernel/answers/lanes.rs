//! What do the portable loops ask of a machine? Two operations on 16 lanes of f32.
//!
//! Everything else is a loop over `[f32; LANES]` that the compiler turns into vectors of whatever
//! width the enclosing function may use.

/// Lanes of f32: one AVX-512 register, two of AVX2.
pub(super) const LANES: usize = 16;

/// A vector.
pub(super) type Lanes = [f32; LANES];

/// An instruction set as the portable loops see it.
pub(super) trait Machine {
    /// `a b + c`, fused where the machine can.
    fn multiply_add(a: f32, b: f32, c: f32) -> f32;

    /// Bit `l` tells whether cell `l` is above the threshold.
    fn above(cells: &Lanes, threshold: f32) -> u16;
}

/// Plain Rust.
#[derive(Debug)]
pub(super) struct Portable;

impl Machine for Portable {
    #[inline(always)]
    fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }

    #[inline(always)]
    fn above(cells: &Lanes, threshold: f32) -> u16 {
        let mut bits = 0;
        for (lane, &s) in cells.iter().enumerate() {
            bits |= u16::from(s > threshold) << lane;
        }
        bits
    }
}

/// The 16 numbers from `at` on.
#[inline(always)]
pub(super) fn lanes(numbers: &[f32], at: usize) -> &Lanes {
    match numbers[at..].first_chunk() {
        Some(lanes) => lanes,
        None => panic!("a row ends with slack"),
    }
}

/// The 16 numbers from `at` on, to be written.
#[inline(always)]
pub(super) fn lanes_mut(numbers: &mut [f32], at: usize) -> &mut Lanes {
    match numbers[at..].first_chunk_mut() {
        Some(lanes) => lanes,
        None => panic!("a row ends with slack"),
    }
}

/// The sum of the lanes: halves onto halves, the same order on every machine.
#[inline(always)]
pub(super) fn sum(lanes: &Lanes) -> f32 {
    let mut eight = [0.0; 8];
    for l in 0..8 {
        eight[l] = lanes[l] + lanes[l + 8];
    }
    let mut four = [0.0; 4];
    for l in 0..4 {
        four[l] = eight[l] + eight[l + 4];
    }
    (four[0] + four[2]) + (four[1] + four[3])
}

/// The highest lane.
#[inline(always)]
pub(super) fn highest(lanes: &Lanes) -> f32 {
    let mut eight = [0.0; 8];
    for l in 0..8 {
        eight[l] = larger(lanes[l], lanes[l + 8]);
    }
    let mut four = [0.0; 4];
    for l in 0..4 {
        four[l] = larger(eight[l], eight[l + 4]);
    }
    larger(larger(four[0], four[2]), larger(four[1], four[3]))
}

/// The larger of two numbers, neither NaN: one instruction, unlike `f32::max`.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}
