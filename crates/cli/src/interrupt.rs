//! The handler of Ctrl-C, SIGTERM and SIGHUP.
//!
//! A command that can save its progress gets a flag from [`watch`] and reads it between its steps: the
//! first signal sets the flag, the second ends the process. Every other command ends at the first
//! signal. Before the process ends, its unfinished files are removed.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use crate::{exit, terminal};

static STOP: AtomicBool = AtomicBool::new(false);

/// Whether the running command reads [`STOP`].
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Installs the handler.
pub fn handle() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if !WATCHED.load(Ordering::Relaxed) || STOP.swap(true, Ordering::Relaxed) {
            uard_files::remove_unfinished();
            std::process::exit(i32::from(exit::STOPPED));
        }
        terminal::note("finishing the current step and saving; Ctrl-C again exits at once");
    })
    .context("installing the handler of Ctrl-C")
}

/// The flag that the first signal sets. After this call a signal no longer ends the process at once, so
/// the caller must read the flag.
pub fn watch() -> &'static AtomicBool {
    WATCHED.store(true, Ordering::Relaxed);
    &STOP
}
