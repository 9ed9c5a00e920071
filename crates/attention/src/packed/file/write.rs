//! How does a file come to be? Beside its place, whole and on disk, and then renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::fragments::Fragments;
use super::super::layout::{BLOCK_COLUMNS, Kind};
use super::super::storage::LINE_BYTES;
use super::checksum::checksum;
use super::header::{HEADER_BYTES, Header};
use super::table::{FilePart, Row, bytes_of_counts, plan};
use crate::{Error, Result};

/// Writes a file, or replaces one; whoever has the old one mapped keeps reading it.
///
/// # Errors
/// When the system refuses; nothing is left behind then.
pub fn write(fragments: &Fragments, path: &Path) -> Result<()> {
    super::refuse_big_endian("write", path)?;
    let (file, mut unfinished) = Unfinished::create(path)?;
    let written = encode(fragments, &file).and_then(|()| file.sync_all());
    written.map_err(Error::io("write", &unfinished.path))?;
    drop(file);
    fs::rename(&unfinished.path, path).map_err(Error::io("rename a new file to", path))?;
    unfinished.is_there = false;
    sync_directory(path).map_err(Error::io("write the directory of", path))
}

/// Header, table and parts. The same fragments give the same bytes.
///
/// # Errors
/// When `out` refuses.
pub fn encode(fragments: &Fragments, mut out: impl Write) -> io::Result<()> {
    let (shape, layout) = (fragments.shape(), fragments.layout());
    let counts = encode_counts(layout.counts());
    let bytes_of = |part| match part {
        FilePart::Counts => &counts[..],
        FilePart::Stored(part) => fragments.part(part).as_bytes(),
    };
    let plan = plan(shape, layout);
    let mut table = Vec::new();
    for &(part, row) in &plan {
        let checksum = checksum(bytes_of(part));
        table.extend(Row { checksum, ..row }.encode());
    }
    let length = plan.last().map_or(0, |(_, row)| row.offset + row.bytes);
    let header = Header {
        kind: layout.kind(),
        precision: shape.precision,
        width: shape.width as u64,
        entries: layout.counts().len() as u64,
        fragments: layout.fragments() as u64,
        panels: layout.panels() as u64,
        block_columns: block_columns(layout.kind()),
        rows: plan.len() as u32,
        length,
        table_checksum: checksum(&table),
    };
    table.resize(table.len().next_multiple_of(LINE_BYTES), 0);
    debug_assert_eq!(HEADER_BYTES % LINE_BYTES, 0, "the table begins on a line");
    out.write_all(&header.encode())?;
    out.write_all(&table)?;
    plan.iter()
        .try_for_each(|&(part, _)| out.write_all(bytes_of(part)))
}

/// What a header says of blocks.
pub fn block_columns(kind: Kind) -> u32 {
    match kind {
        Kind::Regions => BLOCK_COLUMNS as u32,
        Kind::Words => 0,
    }
}

fn encode_counts(counts: &[usize]) -> Vec<u8> {
    let numbers = counts.iter().map(|&count| count as u32);
    let mut bytes: Vec<u8> = numbers.flat_map(u32::to_le_bytes).collect();
    bytes.resize(bytes_of_counts(counts.len()), 0);
    bytes
}

/// A file that is removed again unless it gets its name.
struct Unfinished {
    path: PathBuf,
    is_there: bool,
}

impl Unfinished {
    /// A new file beside `path`, whose name nobody else uses.
    fn create(path: &Path) -> Result<(File, Self)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Some(name) = path.file_name() else {
            let cause = io::Error::new(io::ErrorKind::InvalidInput, "expected a path to a file");
            return Err(Error::io("create", path)(cause));
        };
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".{}-{number}.unfinished", process::id()));
            let path = path.with_file_name(hidden);
            match File::create_new(&path) {
                Ok(file) => {
                    let is_there = true;
                    return Ok((file, Self { path, is_there }));
                }
                // Left by a process of the same number that was killed: the next name is free.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", &path)(error)),
            }
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.is_there {
            // The error that led here is the one to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the new name survive a power cut; where directories cannot be opened, the system does.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}
