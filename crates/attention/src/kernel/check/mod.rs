//! Whether the kernels of this machine compute what they should: what is checked, on what, how far
//! off.
//!
//! `uard self-test` runs these checks where they matter, and tests run them where that is possible.

pub mod packed;
pub(crate) mod sample;

/// One thing that was checked: how far it was off, and how far it may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// The largest difference.
    pub found: f64,
    /// The largest allowed; 0 where bytes must be equal.
    pub limit: f64,
}

impl Check {
    /// Whether it is within the limit; what is not a number is not.
    pub fn passed(&self) -> bool {
        self.found <= self.limit
    }
}

/// Told each check as soon as it is done.
pub type OnCheck<'a> = &'a mut dyn FnMut(Check);

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Each kernel on one small batch, in one precision: for tools that slow everything down a
    /// hundredfold.
    Smallest,
    /// Small shapes.
    Quick,
    /// Those and full tiles.
    Full,
}

/// NaN where the lengths differ or a number is not one.
pub(crate) fn largest_difference(found: &[f32], expected: &[f64]) -> f64 {
    if found.len() != expected.len() {
        return f64::NAN;
    }
    let differences = found
        .iter()
        .zip(expected)
        .map(|(&found, &expected)| (f64::from(found) - expected).abs());
    differences.fold(0.0, |largest, difference| match difference.is_nan() {
        true => f64::NAN,
        false if difference > largest => difference,
        false => largest,
    })
}
