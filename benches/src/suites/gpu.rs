//! The suite gpu: matching and a training step against PyTorch, and epochs of a real run.
//!
//! The ceilings are PyTorch's products in the same race, because the CPU's ceilings do not show the noise
//! of a GPU. Every contestant waits for the GPU before the clock is read.

#[cfg(feature = "cuda-kernels")]
mod corner;
#[cfg(feature = "cuda-kernels")]
mod data;
#[cfg(any(feature = "cuda", all(test, feature = "cuda-kernels")))]
mod epochs;
#[cfg(feature = "cuda-kernels")]
mod matching;
#[cfg(feature = "cuda-kernels")]
mod ours;
#[cfg(feature = "cuda-kernels")]
mod peers;
#[cfg(feature = "cuda")]
mod training;

use super::{BenchContext, SuiteResults};

/// Runs the races of a GPU.
///
/// # Errors
/// If this build has no kernels for a GPU, or there is no driver or no GPU.
#[cfg(feature = "cuda-kernels")]
pub fn run(context: &BenchContext, results: &mut SuiteResults) -> anyhow::Result<()> {
    use std::sync::Arc;
    use uard_core::gpu::{Driver, Gpu};
    let driver = Arc::new(Driver::open(0)?);
    let machine: Arc<dyn Gpu> = Arc::<Driver>::clone(&driver);
    println!("gpu       {}\n", driver.name());
    results.gpu = Some(driver.name().to_owned());
    results.run_part("matching", |results| {
        matching::run(&machine, context, results)
    });
    train(&driver, context, results);
    Ok(())
}

/// Refuses the suite, because this build has no kernels for a GPU.
///
/// # Errors
/// Always.
#[cfg(not(feature = "cuda-kernels"))]
pub fn run(_: &BenchContext, _: &mut SuiteResults) -> anyhow::Result<()> {
    anyhow::bail!("this build has no kernels for a GPU: build it with the feature cuda-kernels")
}

/// Runs the races of a training step, and epochs of a real run.
#[cfg(feature = "cuda")]
fn train(
    driver: &std::sync::Arc<uard_core::gpu::Driver>,
    context: &BenchContext,
    results: &mut SuiteResults,
) {
    use uard_core::device::{DeviceChoice, open};

    use crate::step::Setup;
    results.run_part("training", |results| {
        let device = open(DeviceChoice::Cuda)?.device;
        training::run(driver, &device, context, results);
        epochs::run(&device, &Setup::flickr30k()?, epochs::SIZE, results)
    });
}

#[cfg(all(feature = "cuda-kernels", not(feature = "cuda")))]
fn train(_: &uard_core::gpu::Driver, _: &BenchContext, results: &mut SuiteResults) {
    results.record_missing(
        "training step and epochs",
        "this build has no CUDA under its training: build it with the feature cuda",
    );
}
