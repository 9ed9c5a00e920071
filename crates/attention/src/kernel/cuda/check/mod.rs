//! Every CUDA kernel on seeded ragged batches, judged in f64, and run twice for the same bytes.

mod judge;
mod matching;
mod precision;
mod training;

pub use matching::matching;
pub use precision::precision;
pub use training::training;

use half::{bf16, f16};

use super::Half;
use crate::kernel::check::{Check, Extent};

/// f32 sums of products of 16 bits, amplified by the inverse temperature, against f64.
const FORWARD_LIMIT: f64 = 3e-5;

/// In which matching is checked.
fn precisions(extent: Extent) -> &'static [Half] {
    match extent {
        Extent::Smallest => &[Half::Bf16],
        Extent::Quick | Extent::Full => &[Half::Bf16, Half::F16],
    }
}

/// A number of 16 bits, as a number of f32 becomes it.
fn rounded(half: Half) -> impl Fn(f32) -> f64 {
    move |x| match half {
        Half::Bf16 => bf16::from_f32(x).to_f64(),
        Half::F16 => f16::from_f32(x).to_f64(),
    }
}

/// What must be equal to the last bit.
fn exactly(name: String, is_equal: bool) -> Check {
    Check {
        name,
        found: if is_equal { 0.0 } else { 1.0 },
        limit: 0.0,
    }
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}
