//! The suite train: the matcher's operator, the text encoder, and a whole training step.

mod matcher;
mod step;
mod text;

use super::{BenchContext, SuiteResults};
use crate::arguments::RaceName;

pub use matcher::serve as serve_matcher;

/// Runs the races of training.
///
/// # Errors
/// If a contestant of ours fails.
pub fn run(context: &BenchContext, results: &mut SuiteResults) -> anyhow::Result<()> {
    if context.arguments.includes_race(RaceName::Matcher) {
        matcher::race(context, results)?;
    }
    if context.arguments.includes_race(RaceName::Text) {
        text::race(context, results)?;
    }
    if context.arguments.includes_race(RaceName::Step) {
        step::race(context, results)?;
    }
    Ok(())
}
