//! Computes without the GIL, and stops on Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// How often signals are looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// The process that computed first. Its threads do not exist in a fork of it.
static PROCESS: OnceLock<u32> = OnceLock::new();

/// Runs `work` on a thread of its own while other threads of Python go on. Ctrl-C sets the flag that `work`
/// gets, waits for it, and becomes `KeyboardInterrupt`.
pub fn stoppable<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(Arc<AtomicBool>) -> PyResult<T> + Send,
) -> PyResult<T> {
    let here = std::process::id();
    if *PROCESS.get_or_init(|| here) != here {
        return Err(PyRuntimeError::new_err(
            "this process is a fork of one that has computed before, whose threads it lacks: start \
             workers by \"spawn\", or fork before the first computation",
        ));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    thread::scope(|scope| {
        let (sender, mut results) = channel();
        scope.spawn(move || {
            // Nobody waits for the result any more after Ctrl-C.
            let _unwanted = sender.send(work(flag));
        });
        loop {
            let waiting = &mut results;
            match py.detach(move || waiting.recv_timeout(PAUSE)) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(PyRuntimeError::new_err(
                        "the computation failed; please report this",
                    ));
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(interrupt) = py.check_signals() {
                        stop.store(true, Ordering::Relaxed);
                        let _unwanted = py.detach(move || results.recv());
                        return Err(interrupt);
                    }
                }
            }
        }
    })
}
