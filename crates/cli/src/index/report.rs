//! What a command says about an index: the changes of an update, its contents, its damage.

use std::path::Path;

use anyhow::bail;
use indicatif::HumanBytes;
use serde::Serialize;
use serde_json::json;
use uard_search::{CompactionCounts, Damage, Index, ScanProblem, UnreadablePhoto};

use crate::commands::{Format, Outcome};
use crate::exit::wrong;
use crate::tables::table;
use crate::terminal::{note, print, print_json, printable};

/// How many problems of each kind are printed.
const LISTED: usize = 20;

/// How many photos of a damaged part are printed.
const LISTED_PHOTOS: usize = 5;

/// What an update changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Changes {
    /// Photos that were added.
    pub new: usize,
    /// Photos that were encoded again.
    pub changed: usize,
    /// Photos with the same content and another path or time.
    pub moved: usize,
    /// Photos that were removed.
    pub removed: usize,
    /// Photos that are as they were indexed.
    pub unchanged: usize,
    /// New and changed files that could not be read.
    pub unreadable: usize,
}

/// An update, and what it could not read.
#[derive(Debug)]
pub struct Updated {
    /// The changes.
    pub changes: Changes,
    /// Photos in the index now.
    pub photos: usize,
    /// Photos that are left for the next call, because this one was stopped.
    pub remaining: usize,
    /// How fast photos were encoded, in words; empty if none was.
    pub speed: String,
    /// Photos that cannot be read, found now or before.
    pub unreadable: Vec<UnreadablePhoto>,
    /// Files and folders that were left out.
    pub problems: Vec<ScanProblem>,
}

impl Updated {
    /// Whether it was finished or stopped.
    pub fn outcome(&self) -> Outcome {
        match self.remaining {
            0 => Outcome::Done,
            _ => Outcome::Stopped,
        }
    }

    /// Whether it changed the index.
    pub fn has_changes(&self) -> bool {
        let unchanged = self.changes.unchanged;
        let nothing = Changes {
            unchanged,
            ..Changes::default()
        };
        self.changes != nothing
    }

    /// Checks that it found a photo that is in the index now, or was stopped before.
    pub fn expect_photos(&self) -> anyhow::Result<()> {
        let Changes {
            new,
            changed,
            moved,
            unchanged,
            ..
        } = self.changes;
        match new + changed + moved + unchanged + self.remaining {
            0 => Err(wrong("none of the photos could be read")),
            _ => Ok(()),
        }
    }

    /// Prints what changed and what could not be read.
    pub fn print(&self, folder: &Path) {
        let Changes {
            new,
            changed,
            moved,
            removed,
            unchanged,
            ..
        } = self.changes;
        let speed = match self.speed.is_empty() {
            true => String::new(),
            false => format!("; {}", self.speed),
        };
        note(&format!(
            "{} photos indexed ({new} new, {changed} changed, {moved} moved, {removed} removed, \
             {unchanged} unchanged) in {}{speed}",
            self.photos,
            folder.display()
        ));
        if self.remaining > 0 {
            note(&format!(
                "stopped: {} photos are not indexed yet; the same command continues",
                self.remaining
            ));
        }
        let all = format!(
            "`uard index --stats --format json --index {}` lists all",
            folder.display()
        );
        let unreadable = self.unreadable.iter();
        let unreadable: Vec<String> = unreadable
            .map(|photo| format!("{}: {}", photo.file.path.display(), photo.reason))
            .collect();
        note_list("photos could not be read", &unreadable, &all);
        let problems: Vec<String> = self.problems.iter().map(ScanProblem::to_string).collect();
        note_list("files and folders were left out", &problems, "");
    }
}

/// Prints the first lines of a list, with its title and how many more there are.
fn note_list(title: &str, lines: &[String], all: &str) {
    if lines.is_empty() {
        return;
    }
    note(&format!("{} {title}:", lines.len()));
    for line in lines.iter().take(LISTED) {
        note(&format!("  {line}"));
    }
    if lines.len() > LISTED {
        let separator = if all.is_empty() { "" } else { "; " };
        note(&format!(
            "  … and {} more{separator}{all}",
            lines.len() - LISTED
        ));
    }
}

/// Prints what an index holds. JSON has all photos that could not be read.
pub fn print_contents(index: &Index, folder: &Path, format: Format) -> anyhow::Result<()> {
    let (model, size) = (index.model(), index.size()?);
    if format == Format::Json {
        let unreadable = index.unreadable()?;
        let unreadable = unreadable.iter().map(
            |photo| json!({ "path": photo.file.path.to_string_lossy(), "reason": photo.reason }),
        );
        return print_json(&json!({
            "index": folder.to_string_lossy(),
            "model": {
                "hash": model.hash,
                "threshold": model.threshold,
                "encoder": model.encoder,
                "width": model.width,
                "precision": model.precision,
            },
            "photos": size.photos,
            "segments": size.segments,
            "packed_images": size.packed_images,
            "segment_bytes": size.segment_bytes,
            "database_bytes": size.database_bytes,
            "unreadable": unreadable.collect::<Vec<_>>(),
        }));
    }
    let bytes = |bytes| HumanBytes(bytes).to_string();
    let mut rows = table(&["index", &folder.display().to_string()]);
    for (name, value) in [
        ("photos", size.photos.to_string()),
        ("photos that could not be read", size.unreadable.to_string()),
        ("encoder", model.encoder.clone()),
        ("threshold", format!("{:.4}", model.threshold)),
        (
            "regions",
            format!("width {}, {}", model.width, model.precision),
        ),
        (
            "files of regions",
            format!("{}, {}", size.segments, bytes(size.segment_bytes)),
        ),
        ("database", bytes(size.database_bytes)),
        ("model", model.hash.clone()),
    ] {
        rows.add_row([name.to_owned(), value]);
    }
    let dropped = size.packed_images.saturating_sub(size.photos);
    if dropped > 0 {
        rows.add_row([
            "regions of removed photos".to_owned(),
            format!("of {dropped} photos; --compact drops them"),
        ]);
    }
    print(&rows.to_string())
}

/// Prints what is damaged in an index; damage is an error.
pub fn print_check(damage: &[Damage], folder: &Path) -> anyhow::Result<()> {
    if damage.is_empty() {
        return print(&format!(
            "{}: everything is as it was written",
            folder.display()
        ));
    }
    for part in damage {
        print(&printable(&part.to_string()))?;
        for photo in part.photos.iter().take(LISTED_PHOTOS) {
            print(&printable(&format!("  {}", photo.display())))?;
        }
        if part.photos.len() > LISTED_PHOTOS {
            print(&format!(
                "  … and {} more photos",
                part.photos.len() - LISTED_PHOTOS
            ))?;
        }
    }
    let parts = damage.len();
    bail!(
        "{}: {parts} parts of the index are damaged; each line above says how to mend it",
        folder.display()
    )
}

/// Says what a compaction did.
pub fn compaction(counts: CompactionCounts) -> String {
    let CompactionCounts {
        merged,
        written,
        dropped,
    } = counts;
    match [merged, dropped] {
        [0, _] => "nothing to merge".to_owned(),
        [_, 0] => format!("files of regions: {merged} before, {written} now"),
        _ => format!(
            "files of regions: {merged} before, {written} now; regions of {dropped} removed photos were dropped"
        ),
    }
}
