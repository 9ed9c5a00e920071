//! Merges small segments into larger ones, and drops the regions of removed photos.

use std::collections::HashMap;

use rusqlite::params;

use crate::index::RecordedSegment;
use crate::segment::SegmentBuilder;
use crate::writer::WrittenSegment;
use crate::{Filter, PhotoId, Result, SelectedSegment, Writer};

/// A new segment ends when it has reached this size, in bytes. It is held in memory while it is
/// written. Segments of at least half of this size are merged only if they hold images of removed
/// photos, or an earlier version has written them without means.
const TARGET_BYTES: u64 = 256 << 20;

/// How many segments and images a compaction changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompactionCounts {
    /// Segments that were merged and removed.
    pub merged: usize,
    /// Segments that were written in their place.
    pub written: usize,
    /// Images that were dropped, because their photos were removed or indexed again.
    pub dropped: usize,
}

impl Writer {
    /// Merges small segments, those that hold images of removed photos, and those that an earlier version
    /// has written without means, into new ones. One transaction replaces the old ones. What a reader has
    /// selected stays readable.
    ///
    /// The disk needs room for the new segments beside the old ones.
    ///
    /// # Errors
    /// A segment is damaged, the disk is full, or SQLite reports an error. Then nothing is changed.
    pub fn compact(&mut self) -> Result<CompactionCounts> {
        self.compact_to(TARGET_BYTES)
    }

    /// The same for segments of another size.
    pub(crate) fn compact_to(&mut self, target_bytes: u64) -> Result<CompactionCounts> {
        let live = self.index_mut().select(&Filter::default())?.segments;
        let mut live: HashMap<i64, SelectedSegment> =
            live.into_iter().map(|live| (live.segment, live)).collect();
        let mut old = self.index().recorded_segments()?;
        let photos = |number| live.get(&number).map_or(0, |live| live.photos.len());
        let is_current = |old: &RecordedSegment| {
            let live = live.get(&old.number);
            live.is_some_and(|live| live.photos.len() == old.photos && live.mapped.has_means())
        };
        old.retain(|old| old.bytes < target_bytes / 2 || !is_current(old));
        let dropped = old
            .iter()
            .map(|old| old.photos.saturating_sub(photos(old.number)))
            .sum();
        if old.len() < 2 && old.iter().all(is_current) {
            return Ok(CompactionCounts::default());
        }
        let mut merger = SegmentMerger::default();
        for old in &old {
            if let Some(live) = live.remove(&old.number) {
                // Damaged numbers would get a new checksum, and be found no more.
                live.regions().verify()?;
                let bytes_of_an_image = old.bytes / old.photos.max(1) as u64;
                for (&position, &photo) in live.positions.iter().zip(&live.photos) {
                    let builder = match &mut merger.builder {
                        Some(builder) => builder,
                        none => none.insert(SegmentBuilder::new(self.index().model())?),
                    };
                    builder.push_photo(&live.mapped, position)?;
                    merger.photos.push(photo);
                    merger.bytes += bytes_of_an_image;
                    if merger.bytes >= target_bytes {
                        merger.end_segment(self)?;
                    }
                }
            }
        }
        merger.end_segment(self)?;
        let numbers: Vec<i64> = old.iter().map(|old| old.number).collect();
        merger.replace(self, &numbers)?;
        self.remove_unlisted_segments()?;
        Ok(CompactionCounts {
            merged: numbers.len(),
            written: merger.written.len(),
            dropped,
        })
    }
}

/// Fills new segments with images of old ones.
#[derive(Default)]
struct SegmentMerger {
    /// The segment that is being filled, if it has an image.
    builder: Option<SegmentBuilder>,
    /// The photos in it, in order.
    photos: Vec<PhotoId>,
    /// About how many bytes it has.
    bytes: u64,
    /// The segments that are complete.
    written: Vec<MergedSegment>,
}

/// A new segment on disk, which the database does not list yet.
struct MergedSegment {
    segment: WrittenSegment,
    /// Its photos, in order.
    photos: Vec<PhotoId>,
}

impl SegmentMerger {
    /// Writes the segment that is being filled; does nothing if it has no image.
    fn end_segment(&mut self, writer: &mut Writer) -> Result<()> {
        if let Some(builder) = self.builder.take() {
            let segment = writer.write_segment(builder)?;
            let photos = std::mem::take(&mut self.photos);
            self.written.push(MergedSegment { segment, photos });
            self.bytes = 0;
        }
        Ok(())
    }

    /// Lists the new segments in the database instead of the old ones.
    fn replace(&self, writer: &mut Writer, old: &[i64]) -> Result<()> {
        writer.commit("merge segments of", |transaction| {
            let sql = "UPDATE photos SET segment = ?, position = ? WHERE id = ?";
            let mut update = transaction.prepare(sql)?;
            for MergedSegment { segment, photos } in &self.written {
                segment.insert(transaction)?;
                for (position, photo) in photos.iter().enumerate() {
                    update.execute(params![segment.number, position, photo])?;
                }
            }
            let mut delete = transaction.prepare("DELETE FROM segments WHERE id = ?")?;
            for number in old {
                delete.execute([number])?;
            }
            Ok(())
        })
    }
}
