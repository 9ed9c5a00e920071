//! Packs fragments batch by batch: panels and Gram matrices in parallel tasks.

use std::ops::Range;
use std::slice::ChunksExactMut;

use bytemuck::Pod;
use half::bf16;
use uard_linalg::panels::PANEL;

use super::fragments::{Fragments, MOST_FRAGMENTS, Part, Shape, number_index};
use super::gram::gram;
use super::layout::{Kind, Layout};
use super::panel::{Vectors, fill};
use super::rounding::{norm, residual};
use super::source::Batch;
use super::storage::{LINE_BYTES, Lines, Section};
use super::work;
use crate::{Error, Result};

/// How many entries' Gram matrices one task computes.
const GRAMS_OF_A_TASK: usize = 16;

/// Fragments of either kind while they are being packed.
pub struct Builder {
    shape: Shape,
    layout: Layout,
    parts: [Lines; Part::ALL.len()],
}

impl Builder {
    /// A builder without entries.
    pub fn new(kind: Kind, shape: Shape) -> Self {
        Self {
            shape,
            layout: Layout::new(kind),
            parts: Default::default(),
        }
    }

    /// Adds a batch. After an error nothing of it was added.
    ///
    /// # Errors
    /// When the batch has another width, an entry has too many fragments, or a number is not finite.
    pub fn push(&mut self, batch: Batch) -> Result<()> {
        self.check(batch)?;
        let first_entry = self.layout.counts().len();
        let first_panel = self.layout.end() / PANEL;
        for &count in batch.counts {
            self.layout.push(count);
        }
        for part in Part::ALL {
            let bytes = part.bytes(self.shape, &self.layout);
            self.parts[part as usize].grow(bytes);
        }
        let added = Added {
            batch,
            layout: &self.layout,
            first_entry,
        };
        let [f32, bf16, grams, residuals, norms] = &mut self.parts;
        let panels = PanelTask::cut([f32, bf16, residuals, norms], first_panel, &added);
        work::for_each(panels, |task| task.fill(&added));
        work::for_each(gram_tasks(grams, &added), |task| added.fill_grams(task));
        Ok(())
    }

    /// Adds entries that are packed already, by copying their numbers. After an error nothing was
    /// added.
    ///
    /// # Errors
    /// When they have another width or precision, or an entry is out of range.
    pub fn push_packed(&mut self, packed: &Fragments, entries: &[usize]) -> Result<()> {
        self.check_packed(packed, entries)?;
        let first = self.layout.counts().len();
        for &entry in entries {
            self.layout.push(packed.layout().counts()[entry]);
        }
        for part in Part::ALL {
            self.parts[part as usize].grow(part.bytes(self.shape, &self.layout));
            if part.is_needed(self.shape.precision) {
                for (index, &from) in entries.iter().enumerate() {
                    let to = first + index;
                    self.copy_part(part, packed, &CopiedEntry { from, to });
                }
            }
        }
        Ok(())
    }

    /// Copies the numbers of one entry in one part.
    fn copy_part(&mut self, part: Part, packed: &Fragments, entry: &CopiedEntry) {
        let (old, new) = (packed.layout(), &self.layout);
        let from: &[u32] = packed.part(part).numbers();
        let to: &mut [u32] = self.parts[part as usize].numbers_mut();
        if part == Part::Grams {
            to[new.gram_of(entry.to)].copy_from_slice(&from[old.gram_of(entry.from)]);
            return;
        }
        // A line of a panel holds one u32 of each vector: a number of f32, a pair of bf16, or a
        // bound.
        let lines = part.bytes_of_panel(self.shape.width) / LINE_BYTES;
        for line in 0..lines {
            let places = new.places_of(entry.to).zip(old.places_of(entry.from));
            for (new, old) in places {
                to[number_index(new, line, lines)] = from[number_index(old, line, lines)];
            }
        }
    }

    /// Refuses packed entries that cannot be copied.
    fn check_packed(&self, packed: &Fragments, entries: &[usize]) -> Result<()> {
        let (what, shape) = (self.layout.kind().name(), packed.shape());
        if shape.width != self.shape.width {
            return Err(Error::PackedWidth {
                what,
                expected: self.shape.width,
                found: shape.width,
            });
        }
        if shape.precision != self.shape.precision {
            return Err(Error::NotPackedFor {
                what,
                packed: shape.precision,
                asked: self.shape.precision,
            });
        }
        let count = packed.layout().counts().len();
        match entries.iter().find(|&&entry| entry >= count) {
            Some(&index) => Err(Error::NoSuchEntry {
                what: "image",
                index,
                count,
            }),
            None => Ok(()),
        }
    }

    /// Refuses a batch that cannot be packed.
    fn check(&self, batch: Batch) -> Result<()> {
        let what = self.layout.kind().name();
        if batch.width != self.shape.width {
            return Err(Error::PackedWidth {
                what,
                expected: self.shape.width,
                found: batch.width,
            });
        }
        let before = self.layout.counts().len();
        for (entry, &count) in batch.counts.iter().enumerate() {
            if count > MOST_FRAGMENTS {
                return Err(Error::Core(uard_core::Error::CountOutOfRange {
                    tensor: what,
                    index: before + entry,
                    count,
                    longest: MOST_FRAGMENTS,
                }));
            }
        }
        match batch.not_finite() {
            None => Ok(()),
            Some((entry, fragment)) => Err(Error::NotFinite {
                what,
                entry: before + entry,
                fragment,
            }),
        }
    }

    /// The packed fragments of all batches.
    pub fn finish(self) -> Fragments {
        let parts = self.parts.map(Section::owned);
        Fragments::new(self.shape, self.layout, parts, None)
    }
}

/// An entry that is copied from packed fragments.
struct CopiedEntry {
    /// Its index there.
    from: usize,
    /// Its index in the builder.
    to: usize,
}

/// A batch that is being added, and the layout that already includes it.
struct Added<'a> {
    batch: Batch<'a>,
    layout: &'a Layout,
    /// The index of the batch's first entry in the layout.
    first_entry: usize,
}

impl<'a> Added<'a> {
    /// The batch's vectors that lie in a panel.
    fn vectors(&self, panel: usize) -> Vectors<'a> {
        let mut vectors = [None; PANEL];
        let places = &self.layout.places()[self.first_entry..];
        let begin = panel * PANEL;
        // Of the entries that begin at or before the panel's first place only the last can have
        // fragments in it.
        let reached = places.partition_point(|&place| place <= begin);
        let skipped = reached.saturating_sub(1);
        for (entry, &place) in places.iter().enumerate().skip(skipped) {
            if place >= begin + PANEL {
                break;
            }
            let end = (place + self.batch.counts[entry]).min(begin + PANEL);
            for at in place.max(begin)..end {
                vectors[at - begin] = Some(self.batch.row(entry, at - place));
            }
        }
        vectors
    }

    fn fill_grams(&self, task: GramTask) {
        let mut grams = task.grams;
        for entry in task.entries {
            let numbers = self.layout.gram_of(self.first_entry + entry).len();
            let (own, rest) = grams.split_at_mut(numbers);
            gram(self.batch.rows(entry), self.batch.width, own);
            grams = rest;
        }
    }
}

/// The Gram matrices of some entries of a batch.
struct GramTask<'a> {
    /// The entries, counted within the batch.
    entries: Range<usize>,
    /// Where their matrices are written, one after the other.
    grams: &'a mut [f32],
}

/// One panel of every part that is stored in panels; parts that are not stored are empty.
struct PanelTask<'a> {
    panel: usize,
    f32: &'a mut [u32],
    bf16: &'a mut [u32],
    residuals: &'a mut [f32],
    norms: &'a mut [f32],
}

impl<'a> PanelTask<'a> {
    /// A task for each panel from `first` on.
    fn cut(parts: [&'a mut Lines; 4], first: usize, added: &Added) -> Vec<Self> {
        let width = added.batch.width;
        let [f32, bf16, residuals, norms] = parts;
        let mut f32 = panels(f32, first, Part::F32.bytes_of_panel(width));
        let mut bf16 = panels(bf16, first, Part::Bf16.bytes_of_panel(width));
        let mut residuals = panels(residuals, first, Part::Residuals.bytes_of_panel(width));
        let mut norms = panels(norms, first, Part::Norms.bytes_of_panel(width));
        (first..added.layout.panels())
            .map(|panel| Self {
                panel,
                f32: f32.next().unwrap_or_default(),
                bf16: bf16.next().unwrap_or_default(),
                residuals: residuals.next().unwrap_or_default(),
                norms: norms.next().unwrap_or_default(),
            })
            .collect()
    }

    fn fill(self, added: &Added) {
        let vectors = added.vectors(self.panel);
        let kind = added.layout.kind();
        fill::<f32>(kind, self.f32, &vectors);
        fill::<bf16>(kind, self.bf16, &vectors);
        for (bounds, bound) in [
            (self.residuals, residual as fn(&[f32]) -> f32),
            (self.norms, norm),
        ] {
            for (out, vector) in bounds.iter_mut().zip(vectors) {
                if let Some(vector) = vector {
                    *out = bound(vector);
                }
            }
        }
    }
}

/// The panels of a part from `first` on; none for a part that is not stored.
fn panels<T: Pod>(part: &mut Lines, first: usize, bytes: usize) -> ChunksExactMut<'_, T> {
    let numbers = bytes / size_of::<T>();
    let rest = part.numbers_mut().get_mut(first * numbers..);
    rest.unwrap_or_default().chunks_exact_mut(numbers)
}

/// Cuts the Gram matrices of a batch into tasks.
fn gram_tasks<'a>(grams: &'a mut Lines, added: &Added) -> Vec<GramTask<'a>> {
    let entries = added.batch.counts.len();
    let start = |entry| added.layout.gram_start(added.first_entry + entry);
    let mut rest = &mut grams.numbers_mut()[start(0)..];
    let mut tasks = Vec::new();
    for first in (0..entries).step_by(GRAMS_OF_A_TASK) {
        let last = (first + GRAMS_OF_A_TASK).min(entries);
        let (grams, others) = rest.split_at_mut(start(last) - start(first));
        tasks.push(GramTask {
            entries: first..last,
            grams,
        });
        rest = others;
    }
    tasks
}
