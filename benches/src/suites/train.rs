//! What does training cost? The matcher's operator, the text encoder, a whole step.

mod matcher;
mod step;
mod text;

use super::{Found, Setting};
use crate::arguments::RaceName;

pub use matcher::serve as serve_matcher;

/// Runs the races of training.
///
/// # Errors
/// When a contestant of ours fails.
pub fn run(setting: &Setting, found: &mut Found) -> anyhow::Result<()> {
    if setting.arguments.wants(RaceName::Matcher) {
        matcher::race(setting, found)?;
    }
    if setting.arguments.wants(RaceName::Text) {
        text::race(setting, found)?;
    }
    if setting.arguments.wants(RaceName::Step) {
        step::race(setting, found)?;
    }
    Ok(())
}
