//! How many threads take part?
//!
//! As in `uard`: candle reads `RAYON_NUM_THREADS` itself and otherwise counts the cores of the
//! machine, so the number is settled first and, where the variable says otherwise, the program
//! starts again with it set. Workers inherit it.

use anyhow::Context;

const VARIABLE: &str = "RAYON_NUM_THREADS";

/// Uses as many threads as were asked for, else as `RAYON_NUM_THREADS` says, else as this process
/// may run at once; returns the number.
pub fn settle(asked: Option<usize>) -> anyhow::Result<usize> {
    let variable = std::env::var(VARIABLE).ok();
    let given = variable.as_deref().and_then(|text| text.parse().ok());
    let available = std::thread::available_parallelism().map(std::num::NonZeroUsize::get);
    let threads = asked.or(given).or(available.ok()).unwrap_or(1);
    if variable != Some(threads.to_string()) {
        restart_with(threads);
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .context("starting threads")?;
    Ok(threads)
}

/// A pool of one thread, for what is compared core by core.
pub fn single() -> anyhow::Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .context("starting a thread")
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
