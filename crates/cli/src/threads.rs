//! How many threads does a command use?
//!
//! rayon's pool is ours to set, but candle reads `RAYON_NUM_THREADS` itself and otherwise counts
//! the physical cores of the machine, whatever share of them this process may use. So the number is
//! settled first and, where the variable says otherwise, the program starts again with it set.
//! No result depends on the number.

use std::num::NonZeroUsize;

use anyhow::Context;

const VARIABLE: &str = "RAYON_NUM_THREADS";

/// Uses as many threads as were asked for, else as `RAYON_NUM_THREADS` says, else as this process
/// may run at once.
pub fn settle(asked: Option<NonZeroUsize>) -> anyhow::Result<()> {
    let variable = std::env::var(VARIABLE).ok();
    let given = variable.as_deref().and_then(|text| text.parse().ok());
    let threads = asked
        .or(given)
        .or_else(|| std::thread::available_parallelism().ok());
    let threads = threads.map_or(1, NonZeroUsize::get);
    if variable != Some(threads.to_string()) {
        restart_with(threads);
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .context("starting threads")
}

/// Becomes the same command with the variable set; returns only where that is not possible, and
/// then candle keeps its own number.
#[cfg(unix)]
fn restart_with(threads: usize) {
    use std::os::unix::process::CommandExt;
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut command = std::process::Command::new(program);
    command.args(std::env::args_os().skip(1));
    command.env(VARIABLE, threads.to_string());
    let _not_started: std::io::Error = command.exec();
}

#[cfg(not(unix))]
fn restart_with(_threads: usize) {}
