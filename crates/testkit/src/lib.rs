//! Gradient check and closeness, for the tests of every crate.
//!
//! The functions panic with the worst entry when a check fails: they are assertions. No crate
//! depends on this one outside its tests.

mod closeness;
mod gradient;

pub use closeness::{assert_close, assert_same_bytes, worst_difference};
pub use gradient::{assert_finite_nonzero, assert_gradients};
