//! Computes without the GIL, and stops on Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// How often signals are looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs `work` on a thread of its own while other threads of Python go on. Ctrl-C sets the flag that `work`
/// gets, waits for it, and becomes `KeyboardInterrupt`.
pub fn stoppable<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(Arc<AtomicBool>) -> PyResult<T> + Send,
) -> PyResult<T> {
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
