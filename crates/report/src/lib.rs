//! Records of training runs and studies, and the tables and HTML pages that show them.
//!
//! [`record`] holds what training writes into `log.jsonl` and `metrics.json`, [`comparison`] compares
//! a few runs, [`study`] summarises many runs over seeds, and [`page`] renders both as one
//! self-contained HTML file. This crate has no tensors or models and reads and writes no files.

mod numbers;

pub mod comparison;
pub mod page;
pub mod record;
pub mod study;
