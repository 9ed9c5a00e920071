//! Can the kernel that was asked for do what was asked of it?

use uard_attention::Precision;
use uard_attention::kernel::Kernel;

use crate::exit::wrong;
use crate::terminal::note;

/// Refuses a kernel that this machine lacks, and a precision that a kernel has not; says when
/// another runs than was named.
pub fn check(kernel: Kernel, precision: Precision) -> anyhow::Result<()> {
    if !kernel.is_packed() {
        if precision == Precision::F32 {
            return Ok(());
        }
        return Err(wrong(format!(
            "--kernel {kernel} --precision {precision}: {kernel} has no precisions; leave one of \
             the two out"
        )));
    }
    let running = kernel.resolve().map_err(|error| wrong(error.to_string()))?;
    if let Some(missing) = running.fallback() {
        note(&format!("{missing}; {} runs instead", running.set()));
    }
    Ok(())
}
