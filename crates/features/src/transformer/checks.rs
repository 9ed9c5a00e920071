//! Can a transformer of these sizes be? Checks that every configuration shares; a message names the
//! file, the key, what was expected and what was found.

use std::path::Path;

use crate::{Error, Result};

/// Of one file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checks<'a>(pub(crate) &'a Path);

impl Checks<'_> {
    pub(crate) fn refuse(
        self,
        key: &'static str,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Result<()> {
        Err(Error::ModelConfig {
            path: self.0.to_owned(),
            key,
            expected: expected.into(),
            found: found.to_string(),
        })
    }

    pub(crate) fn at_least_one(self, sizes: &[(&'static str, usize)]) -> Result<()> {
        match sizes.iter().find(|(_, size)| *size == 0) {
            Some((key, _)) => self.refuse(key, "at least 1", 0),
            None => Ok(()),
        }
    }

    /// Heads that divide the width; neither is zero.
    pub(crate) fn heads(self, heads: usize, width: usize) -> Result<()> {
        match width.is_multiple_of(heads) {
            true => Ok(()),
            false => self.refuse(
                "num_attention_heads",
                format!("a divisor of hidden_size {width}"),
                heads,
            ),
        }
    }

    pub(crate) fn above_zero(self, numbers: &[(&'static str, f64)]) -> Result<()> {
        let off = |(_, number): &&(&str, f64)| !(number.is_finite() && *number > 0.0);
        match numbers.iter().find(off) {
            Some((key, number)) => self.refuse(key, "a number above zero", number),
            None => Ok(()),
        }
    }

    /// Rates of dropout.
    pub(crate) fn rates(self, rates: &[(&'static str, f32)]) -> Result<()> {
        match rates.iter().find(|(_, rate)| !(0.0..1.0).contains(rate)) {
            Some((key, rate)) => self.refuse(key, "a share of at least 0 and below 1", rate),
            None => Ok(()),
        }
    }
}
