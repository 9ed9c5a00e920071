//! What does one training command do beyond the training itself? Plan, progress, comparison,
//! examples, report.

pub mod examples;
pub mod jobs;
pub mod outcome;
pub mod photographs;
pub mod picture;
pub mod plan;
pub mod progress;
