//! Waits for changes in folders, and calls an update after each.
//!
//! The crate notify-debouncer-mini is not used: its events do not say whether a folder was read or changed,
//! so that each update, which reads the folders, would start the next one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use uard_files::is_ignored;

use crate::commands::Outcome;
use crate::exit;
use crate::terminal::note;

/// How often Ctrl-C is looked for.
const POLL: Duration = Duration::from_millis(200);

/// An update begins when nothing has changed for this time: a camera that is copied writes many files.
const QUIET: Duration = Duration::from_secs(2);

/// An update begins after this time even if changes go on.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// When an update that failed is tried again: another process may have been writing, or a disk was away.
const RETRY: Duration = Duration::from_secs(60);

/// A watch on folders, from its start on.
pub struct FolderWatcher {
    changes: Receiver<()>,
    /// Dropping it ends the watch.
    _watcher: RecommendedWatcher,
}

impl FolderWatcher {
    /// Starts to watch folders and single files. Changes in the folder of the index are ignored.
    pub fn start(roots: &[PathBuf], index: &Path) -> anyhow::Result<Self> {
        let (sender, changes) = channel();
        let index = super::paths::resolved(index);
        let handler = move |event: notify::Result<Event>| {
            // After an error, events may be missing: look at all files.
            if event.map_or(true, |event| is_change(&event, &index)) {
                // The receiver is gone when the program ends.
                let _ = sender.send(());
            }
        };
        let mut watcher = notify::recommended_watcher(handler).context("watching folders")?;
        for root in roots {
            let (path, mode) = match root.is_dir() {
                true => (root.as_path(), RecursiveMode::Recursive),
                // A program that saves a file may replace it, which ends a watch on the file itself.
                false => (root.parent().unwrap_or(root), RecursiveMode::NonRecursive),
            };
            watcher.watch(path, mode).with_context(|| {
                format!(
                    "cannot watch {}; without --watch the same command updates the index once",
                    root.display()
                )
            })?;
        }
        Ok(Self {
            changes,
            _watcher: watcher,
        })
    }

    /// Calls `update` after changes, until `stop` is set or an update was stopped. An update that fails is
    /// reported and tried again later.
    pub fn run(
        &self,
        stop: &AtomicBool,
        mut update: impl FnMut() -> anyhow::Result<Outcome>,
    ) -> Outcome {
        let mut retry: Option<Instant> = None;
        let mut reported = String::new();
        while !stop.load(Ordering::Relaxed) {
            match self.changes.recv_timeout(POLL) {
                Ok(()) => self.wait_until_quiet(),
                Err(RecvTimeoutError::Timeout) if retry.is_none_or(|at| Instant::now() < at) => {
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            match update() {
                Ok(Outcome::Done) => {
                    retry = None;
                    reported.clear();
                }
                Ok(Outcome::Stopped) => return Outcome::Stopped,
                Err(error) => {
                    retry = Some(Instant::now() + RETRY);
                    let message = exit::message(&error);
                    if message != reported {
                        note(&format!("not updated, will be tried again: {message}"));
                        reported = message;
                    }
                }
            }
        }
        Outcome::Done
    }

    fn wait_until_quiet(&self) {
        let started = Instant::now();
        while started.elapsed() < LONGEST_WAIT && self.changes.recv_timeout(QUIET).is_ok() {}
    }
}

/// Whether an event may change the index. Reading does not: the update itself reads the folders.
fn is_change(event: &Event, index: &Path) -> bool {
    let is_photo = |path: &PathBuf| {
        !path.starts_with(index)
            && !path
                .file_name()
                .is_some_and(|name: &OsStr| is_ignored(name))
    };
    event.need_rescan() || (!event.kind.is_access() && event.paths.iter().any(is_photo))
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::EventKind;
    use notify::event::{AccessKind, CreateKind, ModifyKind};

    #[test]
    fn reading_hidden_files_and_the_index_itself_start_no_update() {
        let index = Path::new("/photos/index");
        let event = |kind, path: &str| Event::new(kind).add_path(path.into());
        let written = EventKind::Modify(ModifyKind::Any);
        let created = EventKind::Create(CreateKind::Any);
        for (kind, path, expected) in [
            (created, "/photos/a.jpg", true),
            (written, "/photos/a.jpg", true),
            (EventKind::Access(AccessKind::Any), "/photos", false),
            (written, "/photos/index/index.sqlite", false),
            (created, "/photos/.a.jpg.part", false),
        ] {
            assert_eq!(is_change(&event(kind, path), index), expected, "{path}");
        }
    }
}
