//! The checks of `uard self-test`: kernels against scalar loops on seeded batches, each check with its
//! difference and its limit. The command runs them on the user's machine; tests run those of a GPU on an
//! interpreter of PTX.

pub mod matching;
mod sample;
#[cfg(feature = "cuda-kernels")]
pub mod training;

use candle_core::Device;
use uard_attention::{Engine, Running};
pub use uard_training::check::Check;

/// Called with each check as soon as it is done.
pub type OnCheck<'a> = &'a mut dyn FnMut(Check);

/// The amount of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Each engine on one small batch in one precision, for tools that run kernels a hundred times
    /// slower.
    Smallest,
    /// Small shapes.
    Quick,
    /// Small shapes, and large ones that fill whole tiles.
    Full,
}

/// Every engine of the CPU that runs on this machine without being replaced by another, in each of its
/// precisions.
pub fn engines_of_the_cpu(extent: Extent) -> Vec<Running> {
    let is_checked =
        |engine: &Engine| !matches!(engine, Engine::Auto | Engine::Reference | Engine::Cuda);
    let open = |engine: Engine| {
        let precisions = extent.select(engine.precisions()).iter();
        precisions.filter_map(move |&precision| engine.open(Some(precision), &Device::Cpu).ok())
    };
    let engines = Engine::ALL.into_iter().filter(is_checked);
    let running = engines.flat_map(open);
    running
        .filter(|running| running.fallback().is_none())
        .collect()
}

impl Extent {
    /// The first value in the smallest extent, else all values.
    pub fn select<T>(self, all: &[T]) -> &[T] {
        match self {
            Self::Smallest => &all[..1],
            Self::Quick | Self::Full => all,
        }
    }
}

/// A check that allows no difference.
fn equality(name: String, is_equal: bool) -> Check {
    Check {
        name,
        found: if is_equal { 0.0 } else { 1.0 },
        limit: 0.0,
    }
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// The largest number; NaN if one of them is.
fn largest(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.fold(0.0, |largest: f64, number| {
        match largest.is_nan() || number.is_nan() {
            true => f64::NAN,
            false => largest.max(number),
        }
    })
}

/// The largest absolute difference; NaN if the lengths differ or a number is NaN.
fn largest_difference(found: &[f32], expected: &[f64]) -> f64 {
    if found.len() != expected.len() {
        return f64::NAN;
    }
    let pairs = found.iter().zip(expected);
    largest(pairs.map(|(&found, &expected)| (f64::from(found) - expected).abs()))
}

#[cfg(test)]
#[cfg(feature = "cuda-kernels")]
mod tests {
    use std::sync::Arc;

    use uard_attention::Precision;
    use uard_core::gpu::Gpu;
    use uard_ptx::Interpreter;

    use super::*;

    /// The interpreter of PTX, which needs NVRTC to compile kernels; `None` without it, unless
    /// `UARD_NVRTC` is set, as in `cargo xtask ci`.
    fn interpreter(capability: u32) -> Option<Arc<dyn Gpu>> {
        let required = std::env::var_os("UARD_NVRTC").is_some();
        let gpu = Interpreter::where_possible(capability, required)?;
        Some(Arc::new(gpu))
    }

    fn on(gpu: &Arc<dyn Gpu>) -> Vec<Running> {
        let run = |precision| Running::on_gpu(Arc::clone(gpu), precision).unwrap();
        [Precision::F16, Precision::Bf16].map(run).to_vec()
    }

    fn assert_all(check_all: impl FnOnce(OnCheck<'_>) -> anyhow::Result<()>) {
        let mut checks = Vec::new();
        check_all(&mut |check| checks.push(check)).unwrap();
        assert!(checks.len() > 50, "only {} checks", checks.len());
        let failed: Vec<_> = checks.iter().filter(|check| !check.passed()).collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }

    #[test]
    fn matching_on_the_interpreter_agrees_with_the_reference() {
        if let Some(gpu) = interpreter(80) {
            assert_all(|on_check| matching::check(&on(&gpu), Extent::Quick, on_check));
        }
    }

    #[test]
    fn training_on_the_interpreter_agrees_with_the_operator_in_f64() {
        if let Some(gpu) = interpreter(90) {
            assert_all(|on_check| training::check(&gpu, Extent::Quick, on_check));
        }
    }
}
