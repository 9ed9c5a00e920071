//! Where fragments and Gram matrices lie in memory, computed from the counts of fragments.

use std::ops::Range;

use uard_linalg::panels::{PANEL, panels_for};

/// The most regions of a block of images, unless a single image has more.
pub const BLOCK_COLUMNS: usize = 288;

/// The stride of the rows of a Gram matrix of `count` fragments: a multiple of 16 numbers.
pub fn gram_stride(count: usize) -> usize {
    count.next_multiple_of(PANEL)
}

/// Images whose regions are multiplied together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageBlock {
    /// The images.
    pub images: Range<usize>,
    /// The panels of their regions.
    pub panels: Range<usize>,
}

/// Which fragments are packed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Regions, packed as columns of the product. Each block of images begins at a new panel.
    Regions,
    /// Words, packed as rows of the product. Each caption follows the previous one without a gap.
    Words,
}

impl Kind {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Regions => "regions",
            Self::Words => "words",
        }
    }
}

/// The places of all fragments and Gram matrices. A *place* is the index of a vector, counted over all
/// panels.
///
/// Arithmetic saturates: the counts in a damaged file may be arbitrary, and no file is as long as a
/// saturated size.
#[derive(Debug, Clone)]
pub struct Layout {
    kind: Kind,
    counts: Vec<usize>,
    places: Vec<usize>,
    gram_starts: Vec<usize>,
    blocks: Vec<ImageBlock>,
    fragments: usize,
    /// The place after the last fragment.
    end: usize,
    gram_numbers: usize,
}

impl Layout {
    /// A layout without entries.
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

    /// Adds an entry of `count` fragments after the others.
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

    /// Adds an image to the last block, or begins another block at a new panel.
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

    /// Whether regions or words are packed.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many fragments each entry has.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// The place of each entry's first fragment.
    pub fn places(&self) -> &[usize] {
        &self.places
    }

    /// Blocks of images, in order; none for words.
    pub fn blocks(&self) -> &[ImageBlock] {
        &self.blocks
    }

    /// How many fragments all entries have together.
    pub fn fragments(&self) -> usize {
        self.fragments
    }

    /// The place after the last fragment.
    pub fn end(&self) -> usize {
        self.end
    }

    /// How many panels hold all fragments.
    pub fn panels(&self) -> usize {
        panels_for(self.end)
    }

    /// How many numbers all Gram matrices have together.
    pub fn gram_numbers(&self) -> usize {
        self.gram_numbers
    }

    /// The places of an entry's fragments.
    pub fn places_of(&self, entry: usize) -> Range<usize> {
        let first = self.places[entry];
        first..first + self.counts[entry]
    }

    /// The index of the first number of an entry's Gram matrix; for the entry after the last, the end of
    /// all matrices.
    pub fn gram_start(&self, entry: usize) -> usize {
        let start = self.gram_starts.get(entry);
        start.copied().unwrap_or(self.gram_numbers)
    }

    /// The indices of an entry's Gram matrix among the numbers of all.
    pub fn gram_of(&self, entry: usize) -> Range<usize> {
        let (first, count) = (self.gram_starts[entry], self.counts[entry]);
        first..first + count * gram_stride(count)
    }
}
