//! Ctrl-C and polite requests to end (SIGTERM, SIGHUP).
//!
//! Work that saves where it stands asks [`watch`] for a flag and looks at it between its steps: the
//! first signal sets the flag, the second ends the process. Everything else ends at the first
//! signal. Files that are being written are removed in each case.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use crate::{exit, terminal};

static STOP: AtomicBool = AtomicBool::new(false);

/// Whether somebody looks at [`STOP`].
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Handles signals from now on.
pub fn handle() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if !WATCHED.load(Ordering::Relaxed) || STOP.swap(true, Ordering::Relaxed) {
            uard_files::remove_unfinished();
            std::process::exit(i32::from(exit::STOPPED));
        }
        terminal::note("finishing the step and saving; Ctrl-C again exits at once");
    })
    .context("watching for Ctrl-C")
}

/// The flag that the first signal sets. Whoever asks for it looks at it from now on.
pub fn watch() -> &'static AtomicBool {
    WATCHED.store(true, Ordering::Relaxed);
    &STOP
}
