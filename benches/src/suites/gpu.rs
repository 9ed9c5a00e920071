//! What does a GPU do a second? Matching against PyTorch's forms of it, and a training step.
//!
//! Nothing is known of a GPU's noise beforehand, so ceilings are PyTorch's products in the same
//! race. Everything waits for the GPU before a clock is read.

#[cfg(feature = "cuda-kernels")]
mod corner;
#[cfg(feature = "cuda-kernels")]
mod data;
#[cfg(feature = "cuda-kernels")]
mod matching;
#[cfg(feature = "cuda-kernels")]
mod ours;
#[cfg(feature = "cuda-kernels")]
mod peers;
#[cfg(feature = "cuda")]
mod training;

use super::{Found, Setting};

/// Runs the races of a GPU.
///
/// # Errors
/// In one sentence: the build has no kernels, there is no driver or GPU, or too little memory.
#[cfg(feature = "cuda-kernels")]
pub fn run(setting: &Setting, found: &mut Found) -> anyhow::Result<()> {
    use std::sync::Arc;
    use uard_core::gpu::Driver;
    let driver = Arc::new(Driver::open(0)?);
    println!("gpu       {}\n", driver.name());
    found.gpu = Some(driver.name().to_owned());
    let measured = matching::run(&driver, setting, found)?;
    train(&driver, setting, measured, found)
}

/// Without kernels for a GPU there is nothing to race.
///
/// # Errors
/// Always.
#[cfg(not(feature = "cuda-kernels"))]
pub fn run(_: &Setting, _: &mut Found) -> anyhow::Result<()> {
    anyhow::bail!("this build has no kernels for a GPU: build it with the feature cuda-kernels")
}

#[cfg(feature = "cuda")]
use training::race as train;

#[cfg(all(feature = "cuda-kernels", not(feature = "cuda")))]
fn train(_: &uard_core::gpu::Driver, _: &Setting, _: f64, found: &mut Found) -> anyhow::Result<()> {
    found.miss(
        "training step",
        "this build has no CUDA under its training: build it with the feature cuda",
    );
    Ok(())
}
