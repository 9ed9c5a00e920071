//! The bounds of `docs/exactness.md`: on the difference between relevance in bf16 and in f32, on
//! the rounding of Gram forms, and on the answer R of a query.
//!
//! Each lemma has a property test in `tests.rs`. From these bounds [`crate::kernel::answers`] computes the
//! reach of a pair, an upper bound of its similarity in f32; tests compare it with `tests/scalar.rs`.

/// Half the distance from 1 to the next f32: the largest relative error of one rounding.
const UNIT: f64 = 1.0 / (1u64 << 24) as f64;

/// The greatest length of vectors that are screened; longer ones are no unit vectors.
const LONGEST: f64 = 1.5;

/// The largest error by underflow of one product and its addition in f32.
const LOST_TO_UNDERFLOW: f64 = 8.0 * f32::MIN_POSITIVE as f64;

/// Bounds on the vectors of one image or caption and on their rounding to bf16.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Rounding {
    /// The longest |v|.
    pub norm: f32,
    /// The largest |v - bf16(v)|.
    pub residual: f32,
}

impl Rounding {
    pub(crate) fn new(norms: &[f32], residuals: &[f32]) -> Self {
        let highest = |numbers: &[f32]| numbers.iter().copied().fold(0.0, f32::max);
        Self {
            norm: highest(norms),
            residual: highest(residuals),
        }
    }
}

/// Lemma 1: the largest difference between a relevance in bf16 and the same relevance in f32.
///
/// ```text
/// |s - s^| <= rho_u nu_v + (nu_u + rho_u) rho_v + 3 d 2^-24 / (1 - 2 d 2^-24) (nu_u + rho_u) (nu_v + rho_v)
/// ```
///
/// Here nu is `norm` and rho `residual`, of the words u and the regions v; s is a relevance in f32,
/// s^ in bf16; d is the depth. What underflow may lose is added. The bound is infinite where
/// vectors are far longer than 1, or so deep that the lemma's condition on roundings fails.
pub(crate) fn relevance_bound(words: Rounding, regions: Rounding, depth: usize) -> f32 {
    let [norm_u, rho_u] = [words.norm, words.residual].map(f64::from);
    let [norm_v, rho_v] = [regions.norm, regions.residual].map(f64::from);
    let roundings = depth as f64 * UNIT;
    let screened = norm_u + rho_u <= LONGEST && norm_v + rho_v <= LONGEST && roundings <= 0.125;
    if !screened {
        return f32::INFINITY;
    }
    let vectors = rho_u * norm_v + (norm_u + rho_u) * rho_v;
    let sums = 3.0 * roundings / (1.0 - 2.0 * roundings) * (norm_u + rho_u) * (norm_v + rho_v);
    let underflow = LOST_TO_UNDERFLOW * depth as f64;
    // The nearest f32 of a sum of a few positive terms in f64, moved up, is above the exact sum.
    ((vectors + sums + underflow) as f32).next_up()
}

/// Lemma 2: a cell whose relevance in bf16 is at or below this is at or below the threshold in f32.
pub(crate) fn visible_above(threshold: f32, bound: f32) -> f32 {
    (threshold - bound).next_down()
}

/// The largest error by rounding of the product of two vectors of weights with a stored Gram matrix,
/// relative to the product of the sums of the weights: `3 (d + 2 n + 8) 2^-24`, where n is the larger
/// number of fragments of both sides.
pub(crate) fn gram_error(depth: usize, fragments: usize) -> f32 {
    (3.0 * (depth + 2 * fragments + 8) as f64 * UNIT) as f32
}

/// Lemma 4 for a query with a single visible cell (one that may be above the threshold in f32): the
/// largest R, relative to the highest possible relevance of the cell, over all context fragments
/// that the cell may belong to.
///
/// `squared` are the stored squared lengths of the fragments; one of length zero is never visible.
pub(crate) fn alone(squared: impl Iterator<Item = f32>, gram_error: f32) -> f32 {
    let error = f64::from(gram_error);
    let present = squared.map(f64::from).filter(|squared| *squared != 0.0);
    let answers = present.map(|squared| {
        let length = (squared + error).sqrt() / (squared - error);
        let lost = error * length * length;
        if squared > error && lost <= 0.5 {
            length * (1.0 + lost)
        } else {
            f64::INFINITY
        }
    });
    (answers.fold(0.0, f64::max) as f32).next_up()
}

/// The factor by which a reach is raised: one plus the largest relative errors by rounding of a
/// similarity in f32 and of its reach together.
pub(crate) fn slack(words: usize, regions: usize) -> f64 {
    1.0 + (words + regions + 32) as f64 * 4.0 * UNIT
}

#[cfg(test)]
mod tests;
