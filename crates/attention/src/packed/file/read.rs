//! Reads a file of packed fragments. Header, table and counts are checked before use, the numbers of the
//! parts only by [`verify`].

use std::path::Path;
use std::sync::Arc;

use uard_files::{FileError, MappedFile};

use super::super::fragments::{Fragments, MOST_FRAGMENTS, Part, Shape};
use super::super::layout::{Kind, Layout};
use super::super::storage::{Bytes, Section};
use super::checksum::checksum;
use super::header::{HEADER_BYTES, Header};
use super::table::{FilePart, ROW_BYTES, Row, bytes_of_counts, first_offset, plan};
use super::write::block_columns;
use super::{Origin, expect, expect_checksum, field, part_of};
use crate::{Error, Result};

/// Maps a file of regions or of words.
///
/// # Errors
/// When it cannot be mapped, or as [`decode`].
pub fn open(path: &Path, kind: Kind) -> Result<Fragments> {
    let map = MappedFile::open(path).map_err(FileError::io(path, "open"))?;
    decode(path, &Arc::new(Bytes::Mapped(map)), kind)
}

/// Reads header, table and counts, and cuts the file into its parts. Messages name `path`.
///
/// # Errors
/// When header, table, counts and length contradict each other, or differ from what this version writes.
pub fn decode(path: &Path, bytes: &Arc<Bytes>, kind: Kind) -> Result<Fragments> {
    let file = bytes.as_slice();
    let header = Header::decode(path, file)?;
    let found = header.kind(path)?;
    if found != kind {
        return Err(Error::PackedKind {
            path: path.to_owned(),
            expected: kind.name(),
            found: found.name(),
        });
    }
    if header.length != file.len() as u64 {
        return Err(Error::PackedLength {
            path: path.to_owned(),
            expected: header.length,
            found: file.len() as u64,
        });
    }
    let shape = shape(path, &header)?;
    let table = table(path, file, &header, shape)?;
    let layout = layout(path, file, &header, shape, table[0])?;
    expect(
        path,
        "fragments",
        layout.fragments() as u64,
        header.fragments,
    )?;
    expect(path, "panels", layout.panels() as u64, header.panels)?;
    let columns = u64::from(block_columns(kind));
    expect(
        path,
        "columns of a block",
        columns,
        u64::from(header.block_columns),
    )?;
    let parts = parts(path, bytes, &table, shape, &layout)?;
    let origin = Origin {
        path: path.to_owned(),
        table,
    };
    Ok(Fragments::new(shape, layout, parts, Some(Arc::new(origin))))
}

/// Width and precision from the header.
fn shape(path: &Path, header: &Header) -> Result<Shape> {
    let width = usize::try_from(header.width).unwrap_or(usize::MAX);
    Shape::new(width, header.precision(path)?)
        .map_err(|_| field(path, "width", "1 to 16777216", header.width))
}

/// The table after the header.
fn table(path: &Path, file: &[u8], header: &Header, shape: Shape) -> Result<Vec<Row>> {
    let rows = FilePart::all(shape).count();
    expect(
        path,
        "rows of the table",
        rows as u64,
        u64::from(header.rows),
    )?;
    let bytes = part_of(path, file, HEADER_BYTES..HEADER_BYTES + rows * ROW_BYTES)?;
    expect_checksum(path, "table", header.table_checksum, checksum(bytes))?;
    Ok(bytemuck::pod_collect_to_vec(bytes))
}

/// The layout that follows from the counts; `row` is their row of the table.
fn layout(path: &Path, file: &[u8], header: &Header, shape: Shape, row: Row) -> Result<Layout> {
    let entries = usize::try_from(header.entries).unwrap_or(usize::MAX);
    let (start, bytes) = (first_offset(shape), bytes_of_counts(entries));
    let counts = part_of(path, file, start..start.saturating_add(bytes))?;
    expect_checksum(
        path,
        FilePart::Counts.name(),
        row.checksum,
        checksum(counts),
    )?;
    let mut layout = Layout::new(header.kind(path)?);
    for count in bytemuck::pod_collect_to_vec::<u8, u32>(&counts[..entries * size_of::<u32>()]) {
        let count = count as usize;
        if !(1..=MOST_FRAGMENTS).contains(&count) {
            return Err(field(path, "count of an entry", "1 to 65536", count));
        }
        layout.push(count);
    }
    Ok(layout)
}

/// The parts of the file, whose table must be the one that follows from shape and layout.
fn parts(
    path: &Path,
    bytes: &Arc<Bytes>,
    table: &[Row],
    shape: Shape,
    layout: &Layout,
) -> Result<[Section; Part::ALL.len()]> {
    let mut parts = [0; Part::ALL.len()].map(|start| Section::new(bytes.clone(), start..start));
    let mut end = 0;
    for (&row, (part, planned)) in table.iter().zip(plan(shape, layout)) {
        expect(
            path,
            "number of a part",
            u64::from(planned.code),
            u64::from(row.code),
        )?;
        expect(path, "offset of a part", planned.offset, row.offset)?;
        expect(path, "bytes of a part", planned.bytes, row.bytes)?;
        let start = planned.offset as usize;
        end = start.saturating_add(planned.bytes as usize);
        part_of(path, bytes.as_slice(), start..end)?;
        if let FilePart::Stored(part) = part {
            parts[part as usize] = Section::new(bytes.clone(), start..end);
        }
    }
    let length = bytes.as_slice().len();
    expect(path, "bytes of all parts", end as u64, length as u64)?;
    Ok(parts)
}

/// Reads every part and compares its checksum with the stored one.
///
/// # Errors
/// When a checksum differs; the error names the first such part.
pub fn verify(fragments: &Fragments) -> Result<()> {
    let Some(origin) = fragments.origin() else {
        return Ok(());
    };
    let parts = FilePart::all(fragments.shape());
    for (part, row) in parts.zip(&origin.table) {
        if let FilePart::Stored(stored) = part {
            let found = checksum(fragments.part(stored).as_bytes());
            expect_checksum(&origin.path, part.name(), row.checksum, found)?;
        }
    }
    Ok(())
}
