//! What runs and studies leave behind, and what a person sees of it.
//!
//! [`record`] holds what training writes into `log.jsonl` and `metrics.json`, [`comparison`] sets runs side
//! by side, [`study`] says what many come to, and [`page`] renders both as one self-contained HTML file. Numbers only: no tensor,
//! no model, no file.

mod numbers;

pub mod comparison;
pub mod page;
pub mod record;
pub mod study;
