//! How many threads a command uses.
//!
//! rayon's pool is ours to set, but candle reads `RAYON_NUM_THREADS` itself and otherwise counts
//! the physical cores of the machine, whatever share of them this process may use. So the number is
//! settled first and, where the variable says otherwise, the program starts again with it set.
//! No result depends on the number.

use std::num::NonZeroUsize;

use anyhow::Context;

use crate::terminal;

const VARIABLE: &str = "RAYON_NUM_THREADS";

/// More threads than this are used only where as many can run at once: thousands take seconds to
/// start, and the system refuses some of them in the end.
const MOST: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Uses as many threads as were asked for, else as `RAYON_NUM_THREADS` says, else as this process
/// may run at once; in any case no more than [`most`].
pub fn settle(asked: Option<NonZeroUsize>) -> anyhow::Result<()> {
    let variable = std::env::var(VARIABLE).ok();
    let given = variable.as_deref().and_then(|text| text.parse().ok());
    let at_once = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let wanted = asked.or(given).unwrap_or(at_once);
    let threads = wanted.min(most(at_once));
    let settled = variable == Some(threads.to_string());
    // Said once: the program that starts again has the same arguments and another variable.
    if wanted > threads && (settled || asked.is_none()) {
        terminal::note(&format!(
            "{wanted} threads are more than help: {threads} are used, and {at_once} can run at once"
        ));
    }
    if !settled {
        restart_with(threads);
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.get())
        .build_global()
        .context("starting threads")
}

/// The highest number of threads, where `at_once` can run at once.
fn most(at_once: NonZeroUsize) -> NonZeroUsize {
    at_once.max(MOST)
}

/// Becomes the same command with the variable set; returns only where that is not possible, and
/// then candle keeps its own number.
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
