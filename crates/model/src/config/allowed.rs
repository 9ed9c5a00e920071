//! Numbers that settings may have.

use crate::{Error, Result};

/// Numbers that a setting may have.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    holds: fn(f64) -> bool,
    expected: &'static str,
}

impl Allowed {
    /// Numbers for which something holds, and how errors say what is expected.
    pub const fn new(expected: &'static str, holds: fn(f64) -> bool) -> Self {
        Self { holds, expected }
    }

    /// Refuses another number of the setting with this dotted key.
    ///
    /// # Errors
    /// Names the setting, its number, and what is allowed.
    pub fn check(&self, key: &'static str, found: f64) -> Result<()> {
        match (self.holds)(found) {
            true => Ok(()),
            false => Err(Error::setting(key, &found, self.expected)),
        }
    }
}

/// The published models of this field have joint spaces of 1,024 and words of 300 numbers.
pub(super) const WIDTH: Allowed = Allowed::new("1 to 8192", |x| (1.0..=8192.0).contains(&x));

/// A fraction or a cosine that is not negative.
pub const FRACTION: Allowed = Allowed::new("0 to 1", |x| (0.0..=1.0).contains(&x));
