//! What `uard train` does around the training: configuration and runs, progress, comparison of runs,
//! examples and pictures for the report.

pub mod examples;
pub mod jobs;
pub mod outcome;
pub mod photographs;
pub mod picture;
pub mod plan;
pub mod progress;
