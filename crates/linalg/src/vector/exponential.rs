//! The numbers of e^x in f32: whoever has vectors of its own computes the same function.
//!
//! ```text
//! e^x = 2^k (1 + r + r^2 p(r)),   k = round(x / ln 2),   r = x - k ln 2
//! ```
//!
//! # Source
//! Cephes `expf` (S. L. Moshier): relative error of e^r below 2e-7.

/// Added and subtracted, it rounds to the nearest integer, which its low bits then hold: 1.5 * 2^23.
pub const ROUNDING: f32 = 12_582_912.0;

/// The first part of ln 2 has 9 bits, so that its product with an exponent is exact.
pub const LN_2_HIGH: f32 = 0.693_359_4;

/// What is left of ln 2.
pub const LN_2_LOW: f32 = -2.121_944_4e-4;

/// p(r) for |r| <= ln 2 / 2, highest power first.
pub const COEFFICIENTS: [f32; 6] = [
    1.987_569_1e-4,
    1.398_199_9e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    5e-1,
];
