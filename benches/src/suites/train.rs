//! What does training cost? The matcher's operator, the text encoder, a whole step.

mod matcher;
mod step;
mod text;

use super::{Found, Setting};

pub use matcher::serve as serve_matcher;

/// Runs the races of training.
///
/// # Errors
/// When a contestant of ours fails.
pub fn run(setting: &Setting, found: &mut Found) -> anyhow::Result<()> {
    matcher::race(setting, found)?;
    text::race(setting, found)?;
    step::race(setting, found)
}
