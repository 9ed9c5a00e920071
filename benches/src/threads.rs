//! The number of threads of a run, set as in `uard`.
//!
//! candle reads `RAYON_NUM_THREADS` itself, and without it counts the cores of the machine. So the number
//! is chosen first, and if the variable has another value, the program restarts itself with the variable
//! set. Workers inherit the variable.

use anyhow::Context;

const VARIABLE: &str = "RAYON_NUM_THREADS";

/// Starts the thread pool with the number of `--threads`, else of `RAYON_NUM_THREADS`, else of the threads
/// that this process may run at once; returns the number.
pub fn configure(argument: Option<usize>) -> anyhow::Result<usize> {
    let variable = std::env::var(VARIABLE).ok();
    let given = variable.as_deref().and_then(|text| text.parse().ok());
    let available = std::thread::available_parallelism().map(std::num::NonZeroUsize::get);
    let threads = argument.or(given).or(available.ok()).unwrap_or(1);
    if variable != Some(threads.to_string()) {
        restart_with(threads);
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .context("starting threads")?;
    Ok(threads)
}

/// A pool of one thread, for races on one core.
pub fn single() -> anyhow::Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .context("starting a thread")
}

/// Replaces this process by the same command with the variable set. Returns only if that fails; candle
/// then uses its own number of threads.
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
