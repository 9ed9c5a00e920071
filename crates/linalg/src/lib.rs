//! Products of matrices and loops over vectors of numbers, in plain slices, for each instruction set.
//!
//! | to | use |
//! |---|---|
//! | multiply matrices on one thread, or pack one for many products | [`mod@product`] |
//! | multiply over all threads, in f32 or rounded to bf16 | [`matmul::Matmul`] |
//! | multiply packed panels with an instruction set of your choice | [`panels`] |
//! | write a loop once for vector registers of all widths | [`vector`] |
//! | write a loop over vectors of 16 numbers, with an instruction set of your choice | [`vector::sixteen`] |
//!
//! The crate has no tensors and does not depend on candle.

#[cfg(test)]
mod draws;
pub mod matmul;
#[allow(unsafe_code, reason = "kernels over registers")]
pub mod panels;
#[allow(unsafe_code, reason = "calls gemm")]
pub mod product;
pub mod vector;
