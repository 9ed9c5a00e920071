//! What a study does: read what is asked for, run it seed by seed, keep each result, compare.

pub mod file;
pub mod plan;
pub mod results;
pub mod runner;
pub mod table;
