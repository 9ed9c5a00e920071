//! Upper bounds of |v| and of |v - bf16(v)| of a packed vector v, which hold in spite of rounding.
//!
//! A bound is the square root of a sum of squares, computed in f64 and rounded up to f32. The square
//! of an f32 is exact in f64 (48 of 53 bits, no underflow), and so is `x - bf16(x)` in f32 (it has
//! at most 16 bits). With u = 2^-53, a sum of n terms that are not negative, in any order, has a
//! relative error of at most (n - 1) u (1 + u)^n, and its root half of that plus u. Rounding to the
//! nearest f32 and then moving to the next f32 above adds at least half a step of f32, a factor of
//! 1 + 2^-25 or more. So the bound holds for n / 2 + 1 < 2^28; the largest width is 2^24.

use half::bf16;
use uard_linalg::panels::Element;

/// How many independent sums are computed in one vector register. The order of additions is fixed.
const LANES: usize = 8;

/// An upper bound of |v|.
pub fn norm(vector: &[f32]) -> f32 {
    bound(vector, |x| x)
}

/// An upper bound of |v - bf16(v)|.
pub fn residual(vector: &[f32]) -> f32 {
    bound(vector, |x| x - <bf16 as Element>::from_f32(x).to_f32())
}

/// An upper bound of the length of the vector of `part(x)`.
fn bound(vector: &[f32], part: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0f64; LANES];
    let (chunks, rest) = vector.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, &x) in sums.iter_mut().zip(chunk) {
            let x = f64::from(part(x));
            *sum += x * x;
        }
    }
    for (sum, &x) in sums.iter_mut().zip(rest) {
        let x = f64::from(part(x));
        *sum += x * x;
    }
    let squared: f64 = sums.iter().sum();
    // No square underflows, so the sum is zero only if every term is.
    match squared {
        0.0 => 0.0,
        _ => (squared.sqrt() as f32).next_up(),
    }
}

/// Whether no number is NaN or infinite. It has no branch, so it is as fast as memory.
pub fn is_finite(vector: &[f32]) -> bool {
    vector.iter().fold(true, |all, x| all & x.is_finite())
}
