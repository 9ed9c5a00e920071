//! Every CUDA kernel on seeded ragged batches, judged by the composed form in f64, and run twice for
//! the same bytes.

mod matching;
mod precision;
mod training;

pub use matching::matching;
pub use precision::precision;
pub use training::training;

use half::{bf16, f16};

use super::Half;

/// f32 sums of products of 16 bits, amplified by the inverse temperature, against f64.
const FORWARD_LIMIT: f64 = 3e-5;

/// A number of 16 bits, as a number of f32 becomes it.
fn rounded(half: Half) -> impl Fn(f32) -> f64 {
    move |x| match half {
        Half::Bf16 => bf16::from_f32(x).to_f64(),
        Half::F16 => f16::from_f32(x).to_f64(),
    }
}
