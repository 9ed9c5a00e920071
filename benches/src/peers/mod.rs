//! The peers of our kernels on the CPU, and the reference.

pub mod composed;
pub mod literal;
pub mod numkong;
pub mod python;
pub mod reference;
