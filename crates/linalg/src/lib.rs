//! Products of matrices and loops over vectors, in plain slices, for each instruction set.
//!
//! | to | use |
//! |---|---|
//! | multiply matrices in slices on one thread, or pack a side once | [`mod@product`] |
//! | multiply over all threads, in f32 or rounded to bf16 | [`matmul::Matmul`] |
//! | multiply packed panels with the instructions that are named | [`panels`] |
//! | write a loop once for all widths of vectors | [`vector`] |
//! | write one for vectors of 16 numbers and name its instructions | [`vector::sixteen`] |
//!
//! The crate knows nothing of tensors: candle may not be linked.

#[cfg(test)]
mod draws;
pub mod matmul;
#[allow(unsafe_code, reason = "kernels over registers")]
pub mod panels;
#[allow(unsafe_code, reason = "calls gemm")]
pub mod product;
pub mod vector;
