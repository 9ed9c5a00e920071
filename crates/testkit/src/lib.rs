//! Gradient checks and comparisons of tensors, for the tests of every crate.
//!
//! The functions are assertions: they panic and name the wrong entry. Crates depend on this one in
//! their tests only.

mod closeness;
mod gradient;

pub use closeness::{assert_close, assert_same_bytes, worst_difference};
pub use gradient::{assert_finite_nonzero, assert_gradients};
