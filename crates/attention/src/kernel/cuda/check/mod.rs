//! Every CUDA kernel on seeded ragged batches, judged by the composed form in f64, and run twice for
//! the same bytes.

mod matching;
mod training;

pub use matching::matching;
pub use training::training;

/// f32 sums of products of 16 bits, amplified by the inverse temperature, against f64.
const FORWARD_LIMIT: f64 = 3e-5;
