//! The number of threads of a command. No result depends on it.
//!
//! This crate sets the size of rayon's pool. candle reads `RAYON_NUM_THREADS` itself, and without it
//! counts the physical cores of the machine, even those that this process may not use. So the number is
//! chosen first, and if the variable has another value, the program restarts itself with the variable
//! set to that number.

use std::num::NonZeroUsize;

use anyhow::Context;

use crate::terminal;

const VARIABLE: &str = "RAYON_NUM_THREADS";

/// The highest number of threads on a machine that cannot run more at once: thousands of threads take
/// seconds to start, and in the end the system refuses some of them.
const LIMIT: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Starts the thread pool with the number of `--threads`, else of `RAYON_NUM_THREADS`, else of the
/// threads that this process may run at once, but never with more than [`limit`].
pub fn configure(argument: Option<NonZeroUsize>) -> anyhow::Result<()> {
    let threads = chosen(argument);
    if variable() != Some(threads.to_string()) {
        restart_with(threads);
    }
    start(threads)
}

/// The same in a process that cannot be restarted: candle has as many threads as the variable says.
pub fn configure_without_restart(argument: Option<NonZeroUsize>) -> anyhow::Result<()> {
    start(chosen(argument))
}

fn variable() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

fn chosen(argument: Option<NonZeroUsize>) -> NonZeroUsize {
    let variable = variable();
    let given = variable.as_deref().and_then(|text| text.parse().ok());
    let at_once = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let requested = argument.or(given).unwrap_or(at_once);
    let threads = requested.min(limit(at_once));
    // Printed once: after a restart the arguments are the same, but the variable is set.
    let is_set = variable == Some(threads.to_string());
    if requested > threads && (is_set || argument.is_none()) {
        terminal::note(&format!(
            "{requested} threads were requested, {threads} are used: {at_once} can run at once on this \
             machine, and more would not help"
        ));
    }
    threads
}

fn start(threads: NonZeroUsize) -> anyhow::Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.get());
    pool.build_global().context("starting threads")
}

/// The highest number of threads, if `at_once` can run at once.
fn limit(at_once: NonZeroUsize) -> NonZeroUsize {
    at_once.max(LIMIT)
}

/// Replaces this process by the same command with the variable set. Returns only if that fails; candle
/// then uses its own number of threads.
#[cfg(unix)]
fn restart_with(threads: NonZeroUsize) {
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
fn restart_with(_threads: NonZeroUsize) {}
