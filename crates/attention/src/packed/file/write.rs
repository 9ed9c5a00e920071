//! Writes packed fragments to a file, completely or not at all.

use std::io::{self, Write};
use std::path::Path;

use uard_files::{FileError, UnfinishedFile};

use super::super::fragments::Fragments;
use super::super::layout::{BLOCK_COLUMNS, Kind};
use super::super::storage::LINE_BYTES;
use super::checksum::checksum;
use super::header::{HEADER_BYTES, Header};
use super::table::{FilePart, Row, bytes_of_counts, plan};
use crate::Result;

/// Writes a file, or replaces one. A process that has the old one mapped still reads that.
///
/// # Errors
/// When the file cannot be written; then no unfinished file stays.
pub fn write(fragments: &Fragments, path: &Path) -> Result<()> {
    let mut file = UnfinishedFile::create(path).map_err(FileError::io(path, "create"))?;
    encode(fragments, &mut file)
        .and_then(|()| file.finish())
        .map_err(FileError::io(path, "write"))?;
    Ok(())
}

/// Writes header, table and parts. Equal fragments give equal bytes.
///
/// # Errors
/// When `out` cannot be written.
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
        table.extend_from_slice(bytemuck::bytes_of(&Row { checksum, ..row }));
    }
    let length = plan.last().map_or(0, |(_, row)| row.offset + row.bytes);
    let header = Header {
        width: shape.width as u64,
        entries: layout.counts().len() as u64,
        fragments: layout.fragments() as u64,
        panels: layout.panels() as u64,
        block_columns: block_columns(layout.kind()),
        rows: plan.len() as u32,
        length,
        table_checksum: checksum(&table),
        ..Header::new(layout.kind(), shape.precision)
    };
    table.resize(table.len().next_multiple_of(LINE_BYTES), 0);
    debug_assert_eq!(HEADER_BYTES % LINE_BYTES, 0, "the table begins on a line");
    out.write_all(&header.encode())?;
    out.write_all(&table)?;
    plan.iter()
        .try_for_each(|&(part, _)| out.write_all(bytes_of(part)))
}

/// The field `block_columns` of a header.
pub fn block_columns(kind: Kind) -> u32 {
    match kind {
        Kind::Regions => BLOCK_COLUMNS as u32,
        Kind::Words => 0,
    }
}

/// The bytes of the counts, filled with zeros to a line.
fn encode_counts(counts: &[usize]) -> Vec<u8> {
    let numbers = counts.iter().map(|&count| count as u32);
    let mut bytes: Vec<u8> = numbers.flat_map(u32::to_ne_bytes).collect();
    bytes.resize(bytes_of_counts(counts.len()), 0);
    bytes
}
