//! How far may a packed vector be from the exact one? Bounds that hold in spite of rounding.
//!
//! A bound is the square root of a sum of squares, taken in f64 and rounded up to f32. The square
//! of an f32 is exact in f64 (48 of 53 bits, no underflow), and so is `x - bf16(x)` in f32 (it has
//! at most 16 bits). With u = 2^-53 a sum of n terms that are not negative, in whatever order, is
//! wrong by at most a factor 1 ± (n - 1) u (1 + u)^n, its root by half of that and one u more. What
//! is rounded to the nearest f32 and then moved to the next one above has gained at least half a
//! step of f32, a factor of 1 + 2^-25 or more. So the bound holds for n / 2 + 1 < 2^28, and widths
//! end at 2^24.

use half::bf16;
use uard_linalg::panels::Element;

/// Independent sums, so that they run side by side; the order is fixed.
const LANES: usize = 8;

/// A bound on |v|.
pub fn norm(vector: &[f32]) -> f32 {
    bound(vector, |x| x)
}

/// A bound on |v - bf16(v)|.
pub fn residual(vector: &[f32]) -> f32 {
    bound(vector, |x| x - <bf16 as Element>::from_f32(x).to_f32())
}

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
    // No square underflows, so a sum of zero has terms of zero only.
    match squared {
        0.0 => 0.0,
        _ => (squared.sqrt() as f32).next_up(),
    }
}

/// Whether no number is NaN or infinite; without a branch, so that it runs at memory speed.
pub fn is_finite(vector: &[f32]) -> bool {
    vector.iter().fold(true, |all, x| all & x.is_finite())
}
