//! Where does each fragment lie? Places, blocks and Gram matrices, from the counts alone.

use std::ops::Range;

use uard_linalg::panels::{PANEL, panels_for};

/// Regions that a block of images holds at most, if no single image has more.
pub const BLOCK_COLUMNS: usize = 288;

/// Distance of the rows of a Gram matrix of `count` fragments: whole lines of 16.
pub fn gram_stride(count: usize) -> usize {
    count.next_multiple_of(PANEL)
}

/// Images whose regions are multiplied together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageBlock {
    /// The images.
    pub images: Range<usize>,
    /// Their panels.
    pub panels: Range<usize>,
}

/// What is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Columns, in blocks of images.
    Regions,
    /// Rows, without any gap.
    Words,
}

impl Kind {
    /// Its plural.
    pub fn name(self) -> &'static str {
        match self {
            Self::Regions => "regions",
            Self::Words => "words",
        }
    }
}

/// The place of everything, grown entry by entry.
///
/// Arithmetic saturates: counts that a file claims may be absurd, and then no file is long enough
/// for the sizes that follow from them.
#[derive(Debug, Clone)]
pub struct Layout {
    kind: Kind,
    counts: Vec<usize>,
    places: Vec<usize>,
    gram_starts: Vec<usize>,
    blocks: Vec<ImageBlock>,
    fragments: usize,
    /// One after the last place.
    end: usize,
    gram_numbers: usize,
}

impl Layout {
    /// No entry yet.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            counts: Vec::new(),
            places: Vec::new(),
            gram_starts: Vec::new(),
            blocks: Vec::new(),
            fragments: 0,
            end: 0,
            gram_numbers: 0,
        }
    }

    /// Adds an entry of `count` fragments behind the others.
    pub fn push(&mut self, count: usize) {
        if self.kind == Kind::Regions {
            self.push_into_blocks(count);
        }
        self.counts.push(count);
        self.places.push(self.end);
        self.end = self.end.saturating_add(count);
        self.fragments = self.fragments.saturating_add(count);
        self.gram_starts.push(self.gram_numbers);
        let gram = count.saturating_mul(gram_stride(count));
        self.gram_numbers = self.gram_numbers.saturating_add(gram);
    }

    /// Lengthens the last block, or begins another one at a panel border.
    fn push_into_blocks(&mut self, count: usize) {
        let image = self.counts.len();
        let fits = |block: &ImageBlock| {
            let columns = self.end - block.panels.start * PANEL;
            columns.saturating_add(count) <= BLOCK_COLUMNS
        };
        if !self.blocks.last().is_some_and(fits) {
            let panel = panels_for(self.end);
            self.end = panel.saturating_mul(PANEL);
            self.blocks.push(ImageBlock {
                images: image..image,
                panels: panel..panel,
            });
        }
        if let Some(block) = self.blocks.last_mut() {
            block.images.end = image + 1;
            block.panels.end = panels_for(self.end.saturating_add(count));
        }
    }

    /// What is packed.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Fragments of each entry.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// Place of each entry's first fragment, counted in vectors over all panels.
    pub fn places(&self) -> &[usize] {
        &self.places
    }

    /// Blocks of images, in order; none for words.
    pub fn blocks(&self) -> &[ImageBlock] {
        &self.blocks
    }

    /// Fragments of all entries.
    pub fn fragments(&self) -> usize {
        self.fragments
    }

    /// One after the last place.
    pub fn end(&self) -> usize {
        self.end
    }

    /// Panels that hold them.
    pub fn panels(&self) -> usize {
        panels_for(self.end)
    }

    /// Numbers of all Gram matrices.
    pub fn gram_numbers(&self) -> usize {
        self.gram_numbers
    }

    /// Places of an entry's fragments.
    pub fn places_of(&self, entry: usize) -> Range<usize> {
        let first = self.places[entry];
        first..first + self.counts[entry]
    }

    /// Where an entry's Gram matrix begins; for the entry after the last, where all end.
    pub fn gram_start(&self, entry: usize) -> usize {
        let start = self.gram_starts.get(entry);
        start.copied().unwrap_or(self.gram_numbers)
    }

    /// Where an entry's Gram matrix lies among all their numbers.
    pub fn gram_of(&self, entry: usize) -> Range<usize> {
        let (first, count) = (self.gram_starts[entry], self.counts[entry]);
        first..first + count * gram_stride(count)
    }
}
