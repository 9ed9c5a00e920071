//! What does Ctrl-C do? The first one asks to finish the step and save, the second exits.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use crate::{exit, terminal};

static STOP: AtomicBool = AtomicBool::new(false);

static WATCHED: AtomicBool = AtomicBool::new(false);

/// Watches for Ctrl-C (and, on Unix, a polite request to terminate) from now on; the flag becomes
/// true with the first. What watches already goes on.
pub fn watch() -> anyhow::Result<&'static AtomicBool> {
    if WATCHED.swap(true, Ordering::Relaxed) {
        return Ok(&STOP);
    }
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(exit::STOPPED));
        }
        terminal::note("finishing the step and saving; Ctrl-C again exits at once");
    })
    .context("watching for Ctrl-C")?;
    Ok(&STOP)
}
