//! Can the kernel that was asked for do what was asked of it?

use uard_attention::Precision;
use uard_attention::kernel::Kernel;

use crate::exit::wrong;
use crate::terminal::note;

/// The precision that a kernel computes in; refuses a kernel that this machine lacks, and a
/// precision that a kernel has not, and says when another runs than was named.
///
/// On a GPU it is bf16 where that was asked for, else f16, which [`Precision`] has no name for.
pub fn check(kernel: Kernel, asked: Option<Precision>) -> anyhow::Result<Precision> {
    let precision = asked.unwrap_or_default();
    let lacks = |has: &str| {
        Err(wrong(format!(
            "--kernel {kernel} --precision {precision}: {kernel} {has}; leave one of the two out"
        )))
    };
    match (kernel, asked) {
        (Kernel::Cuda, None | Some(Precision::Bf16)) => {
            require_gpu()?;
            return Ok(precision);
        }
        (Kernel::Cuda, Some(_)) => return lacks("computes in f16, or in bf16 where that is asked"),
        _ if kernel.is_packed() => {}
        (_, None | Some(Precision::F32)) => return Ok(precision),
        _ => return lacks("has no precisions"),
    }
    let running = kernel.resolve().map_err(|error| wrong(error.to_string()))?;
    if let Some(missing) = running.fallback() {
        note(&format!("{missing}; {} runs instead", running.set()));
    }
    Ok(precision)
}

/// Opens the GPU once, and looks for what compiles kernels, before anything is read for it.
#[cfg(feature = "cuda-kernels")]
fn require_gpu() -> anyhow::Result<()> {
    use anyhow::Context;
    let driver = uard_core::gpu::Driver::open(0).context("--kernel cuda cannot run")?;
    note(&format!("kernel cuda on {}", driver.name()));
    Ok(())
}

#[cfg(not(feature = "cuda-kernels"))]
fn require_gpu() -> anyhow::Result<()> {
    let reason =
        "--kernel cuda: this binary was built without it (build with `--features cuda-kernels`)";
    Err(crate::exit::Failed(reason.to_owned()).into())
}
