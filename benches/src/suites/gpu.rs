//! What does a GPU do a second? Matching and a training step against PyTorch's forms of them, and
//! epochs of a real run.
//!
//! Nothing is known of a GPU's noise beforehand, so ceilings are PyTorch's products in the same
//! race. Everything waits for the GPU before a clock is read.

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

use super::{Found, Setting};

/// Runs the races of a GPU.
///
/// # Errors
/// In one sentence: the build has no kernels, there is no driver or GPU, or too little memory.
#[cfg(feature = "cuda-kernels")]
pub fn run(setting: &Setting, found: &mut Found) -> anyhow::Result<()> {
    use std::sync::Arc;
    use uard_core::gpu::{Driver, Machine};
    let driver = Arc::new(Driver::open(0)?);
    let machine: Arc<dyn Machine> = Arc::<Driver>::clone(&driver);
    println!("gpu       {}\n", driver.name());
    found.gpu = Some(driver.name().to_owned());
    found.survive("matching", |found| matching::run(&machine, setting, found));
    train(&driver, setting, found);
    Ok(())
}

/// Without kernels for a GPU there is nothing to race.
///
/// # Errors
/// Always.
#[cfg(not(feature = "cuda-kernels"))]
pub fn run(_: &Setting, _: &mut Found) -> anyhow::Result<()> {
    anyhow::bail!("this build has no kernels for a GPU: build it with the feature cuda-kernels")
}

/// A training step, and epochs of a real run.
#[cfg(feature = "cuda")]
fn train(driver: &std::sync::Arc<uard_core::gpu::Driver>, setting: &Setting, found: &mut Found) {
    use uard_benches::step::Setup;
    use uard_core::device::{DeviceChoice, open};
    found.survive("training", |found| {
        let device = open(DeviceChoice::Cuda)?.device;
        training::run(driver, &device, setting, found);
        epochs::run(&device, (&Setup::flickr30k()?, epochs::SIZE), found)
    });
}

#[cfg(all(feature = "cuda-kernels", not(feature = "cuda")))]
fn train(_: &uard_core::gpu::Driver, _: &Setting, found: &mut Found) {
    found.miss(
        "training step and epochs",
        "this build has no CUDA under its training: build it with the feature cuda",
    );
}
