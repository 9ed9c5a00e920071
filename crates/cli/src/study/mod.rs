//! `uard study`: reads the file of a study, trains its settings seed by seed, keeps the result of each
//! run, and compares the settings.

pub mod file;
pub mod plan;
pub mod results;
pub mod runner;
pub mod table;
