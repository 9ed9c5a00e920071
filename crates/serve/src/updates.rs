//! Updates of the index from the folders of photos, one at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::problem::{Code, Problem};

/// Makes the index equal to its folders of photos. The error is the cause in words, for the log.
pub type IndexUpdate = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Starts updates.
pub(crate) struct Updates {
    /// None if the service was started without folders.
    update: Option<IndexUpdate>,
    is_running: Arc<AtomicBool>,
}

impl std::fmt::Debug for Updates {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Updates").finish_non_exhaustive()
    }
}

impl Updates {
    pub(crate) fn new(update: Option<IndexUpdate>) -> Self {
        Self {
            update,
            is_running: Arc::default(),
        }
    }

    /// Whether there are folders.
    pub(crate) fn are_possible(&self) -> bool {
        self.update.is_some()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Acquire)
    }

    /// Starts an update in a thread of its own.
    pub(crate) fn start(&self) -> Result<(), Problem> {
        let Some(update) = self.update.clone() else {
            return Err(Problem::new(
                Code::Unavailable,
                "no folder of photos was given",
            ));
        };
        if self.is_running.swap(true, Ordering::AcqRel) {
            return Err(Problem::new(Code::Conflict, "an update is running"));
        }
        let is_running = Arc::clone(&self.is_running);
        let run = move || {
            let updated = uard_files::caught(|| update());
            is_running.store(false, Ordering::Release);
            match updated {
                Ok(Ok(())) => tracing::info!("the index was updated"),
                Ok(Err(cause)) | Err(cause) => {
                    tracing::error!("the index was not updated: {cause}")
                }
            }
        };
        let started = thread::Builder::new().name("update".to_owned()).spawn(run);
        started.map_err(|error| {
            self.is_running.store(false, Ordering::Release);
            Problem::failed(&error)
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn one_update_runs_at_a_time_and_a_failed_one_is_no_obstacle() {
        assert_eq!(
            Updates::new(None).start().unwrap_err().code,
            Code::Unavailable
        );
        let (begin, wait) = channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let updates = Updates::new(Some(Arc::new(move || {
            wait.lock().unwrap().recv().unwrap();
            Err("no disk".to_owned())
        })));
        for _ in 0..2 {
            updates.start().unwrap();
            assert_eq!(updates.start().unwrap_err().code, Code::Conflict);
            begin.send(()).unwrap();
            while updates.is_running() {
                thread::yield_now();
            }
        }
    }
}
