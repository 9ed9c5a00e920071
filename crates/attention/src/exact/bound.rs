//! How far is what bf16 shows from what f32 finds, at most? The lemmas of `docs/exactness.md`.
//!
//! Each is a property test beside this file. [`crate::kernel::answers`] adds them up to the reach of
//! a pair, and `scalar` judges that.

/// Half the distance of 1 and the next f32: what one rounding can do, relatively.
const UNIT: f64 = 1.0 / (1u64 << 24) as f64;

/// Longer vectors are no unit vectors, and are not screened.
const LONGEST: f64 = 1.5;

/// What is lost to numbers too small for f32 in one product and its addition, at most.
const LOST_TO_UNDERFLOW: f64 = 8.0 * f32::MIN_POSITIVE as f64;

/// How far the vectors of one image or caption may be from their bf16.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Rounding {
    /// The longest |v|.
    pub norm: f32,
    /// The largest |v - bf16(v)|.
    pub residual: f32,
}

impl Rounding {
    pub(crate) fn of(norms: &[f32], residuals: &[f32]) -> Self {
        let highest = |numbers: &[f32]| numbers.iter().copied().fold(0.0, f32::max);
        Self {
            norm: highest(norms),
            residual: highest(residuals),
        }
    }
}

/// Lemma 1: how far a relevance in bf16 is from the same in f32, at most.
///
/// ```text
/// |s - s^| <= rho_u nu_v + (nu_u + rho_u) rho_v + 3 d 2^-24 / (1 - 2 d 2^-24) (nu_u + rho_u) (nu_v + rho_v)
/// ```
///
/// Infinite where vectors are far from unit length or so deep that roundings swamp the rest.
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

/// Lemma 2: a cell whose relevance in bf16 is not above this is not above the threshold in f32.
pub(crate) fn visible_above(threshold: f32, bound: f32) -> f32 {
    (threshold - bound).next_down()
}

/// What rounding does, at most, to a product of vectors and weights by a stored Gram matrix, relative
/// to the sums of the weights: `3 (d + 2 n + 8) 2^-24`, n the larger number of fragments.
pub(crate) fn gram_error(depth: usize, fragments: usize) -> f32 {
    (3.0 * (depth + 2 * fragments + 8) as f64 * UNIT) as f32
}

/// Lemma 4 for a query that sees one cell: what it answers at most, relative to the highest possible
/// relevance, whichever of some fragments the cell belongs to.
///
/// `squared` are the squared lengths of the fragments, as stored; one of length zero is never seen.
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

/// One plus what the roundings of a similarity in f32, and of its reach, add at most, relatively.
pub(crate) fn slack(words: usize, regions: usize) -> f64 {
    1.0 + (words + regions + 32) as f64 * 4.0 * UNIT
}

#[cfg(test)]
pub(crate) mod scalar;
#[cfg(test)]
mod tests;
