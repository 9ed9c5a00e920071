//! The ranges of numeric settings.

use crate::{Error, Result};

/// The range of a numeric setting.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    holds: fn(f64) -> bool,
    expected: &'static str,
}

impl Allowed {
    /// All numbers for which `holds` is true; `expected` describes them in errors.
    pub const fn new(expected: &'static str, holds: fn(f64) -> bool) -> Self {
        Self { holds, expected }
    }

    /// Checks the number of the setting with this dotted key.
    ///
    /// # Errors
    /// When it is out of range: names the setting, the number and the range.
    pub fn check(&self, key: &'static str, found: f64) -> Result<()> {
        match (self.holds)(found) {
            true => Ok(()),
            false => Err(Error::setting(key, &found, self.expected)),
        }
    }
}

/// Widths. Published models of this field have a joint space of 1,024 and word vectors of 300.
pub(super) const WIDTH: Allowed = Allowed::new("1 to 8192", |x| (1.0..=8192.0).contains(&x));

/// Fractions, and cosines that are not negative.
pub const FRACTION: Allowed = Allowed::new("0 to 1", |x| (0.0..=1.0).contains(&x));
