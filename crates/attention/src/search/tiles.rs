//! Relevance in tiles that stay in cache: panels of words stream past a block of images.
//!
//! A task is a block of images and a range of captions. Steps of two panels of words are multiplied
//! with the block; a caption is told as soon as its last word is there, and rows of a caption that
//! goes on in the next step are carried over. No panel of words is multiplied twice in a task, and
//! beside the packed fragments memory holds the rows of one step and of one caption.

use std::ops::Range;

use half::bf16;
use uard_linalg::panels::{
    ColumnPanels, Element, Instructions, PANEL, RowPanels, panels_for, product,
};

use crate::kernel::answers::{ImageColumns, SLACK, Tile};
use crate::packed::{ImageBlock, PackedRegions, PackedWords};

/// Panels of words that are multiplied at once: 32 rows are two AMX tiles high.
const STEP: usize = 2;

/// Words in a task, if no single caption has more.
const WORDS_IN_A_TASK: usize = 1024;

/// Numbers of the start of a cache line.
const LINE: usize = 16;

/// A number that relevance is computed in.
pub(crate) trait Numbers: Element {
    /// The panels of these numbers.
    fn regions(regions: &PackedRegions) -> ColumnPanels<'_, Self>;
    /// The panels of these numbers.
    fn words(words: &PackedWords) -> RowPanels<'_, Self>;
}

impl Numbers for f32 {
    fn regions(regions: &PackedRegions) -> ColumnPanels<'_, Self> {
        regions.f32()
    }

    fn words(words: &PackedWords) -> RowPanels<'_, Self> {
        words.f32()
    }
}

impl Numbers for bf16 {
    fn regions(regions: &PackedRegions) -> ColumnPanels<'_, Self> {
        regions.bf16()
    }

    fn words(words: &PackedWords) -> RowPanels<'_, Self> {
        words.bf16()
    }
}

/// Packed fragments of both sides, and the instructions that multiply them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fragments<'a> {
    pub instructions: Instructions,
    pub regions: &'a PackedRegions,
    pub words: &'a PackedWords,
}

/// Rows of relevance, reused from task to task.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    buffer: Vec<f32>,
    /// Where the first whole cache line of the buffer begins.
    start: usize,
    stride: usize,
}

impl Rows {
    /// Makes room for rows of a width; keeps the first `kept` of them.
    fn hold(&mut self, rows: usize, kept: usize) {
        let numbers = rows * self.stride + LINE;
        if self.buffer.len() < numbers {
            let mut grown = vec![0.0; numbers];
            let start = grown
                .as_ptr()
                .align_offset(size_of::<[f32; LINE]>())
                .min(LINE);
            let kept = kept * self.stride;
            grown[start..start + kept].copy_from_slice(&self.buffer[self.start..][..kept]);
            (self.buffer, self.start) = (grown, start);
        }
    }

    fn from(&mut self, row: usize) -> &mut [f32] {
        &mut self.buffer[self.start + row * self.stride..]
    }

    fn tile(&self, rows: Range<usize>) -> Tile<'_> {
        let row = |at| self.start + at * self.stride;
        Tile {
            cells: &self.buffer[row(rows.start)..row(rows.end)],
            stride: self.stride,
            words: rows.len(),
        }
    }
}

impl<'a> Fragments<'a> {
    /// Tells the relevance of each caption of a range with a block of images, in order.
    pub(crate) fn stream<T: Numbers>(
        &self,
        columns: Range<usize>,
        captions: Range<usize>,
        rows: &mut Rows,
        on_caption: &mut dyn FnMut(usize, Tile<'_>),
    ) {
        if captions.is_empty() {
            return;
        }
        let columns = T::regions(self.regions).slice(columns);
        let words = T::words(self.words);
        rows.stride = columns.panels() * PANEL + SLACK;
        let panels = self.panels_of(captions.clone());
        let (mut panel, mut caption) = (panels.start, captions.start);
        // The word in the first row of the buffer, and the rows that are filled.
        let (mut first, mut filled) = (panel * PANEL, 0);
        while panel < panels.end {
            let step = panel..(panel + STEP).min(panels.end);
            let height = step.len() * PANEL;
            rows.hold(filled + height, filled);
            let (stride, words) = (rows.stride, words.slice(step.clone()));
            product(self.instructions, words, columns, rows.from(filled), stride);
            (panel, filled) = (step.end, filled + height);
            while caption < captions.end {
                let begin = self.words.place(caption) - first;
                let end = begin + self.words.counts()[caption];
                if end > filled {
                    break;
                }
                on_caption(caption, rows.tile(begin..end));
                caption += 1;
            }
            if caption < captions.end {
                let begin = self.words.place(caption) - first;
                let stride = rows.stride;
                rows.from(0).copy_within(begin * stride..filled * stride, 0);
                (first, filled) = (first + begin, filled - begin);
            }
        }
    }

    /// The panels that hold the words of a range of captions.
    fn panels_of(&self, captions: Range<usize>) -> Range<usize> {
        let last = captions.end - 1;
        let end = self.words.place(last) + self.words.counts()[last];
        self.words.place(captions.start) / PANEL..panels_for(end)
    }

    /// The images of a block as columns of its tiles.
    pub(crate) fn columns(&self, block: &ImageBlock) -> Vec<ImageColumns<'a>> {
        let images = block.images.clone();
        images
            .map(|image| self.image_columns(image, block.panels.start))
            .collect()
    }

    /// One image as columns of a tile that begins with a panel.
    pub(crate) fn image_columns(&self, image: usize, panel: usize) -> ImageColumns<'a> {
        ImageColumns {
            start: self.regions.place(image) - panel * PANEL,
            count: self.regions.counts()[image],
            gram: self.regions.gram(image),
        }
    }
}

/// A block of images and a range of captions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    pub block: usize,
    pub captions: Range<usize>,
}

/// All pairs, cut the same way for any number of threads: block after block, each range of captions
/// at a time, so that the words of a range stay near while blocks pass.
pub(crate) fn tasks(regions: &PackedRegions, words: &PackedWords) -> Vec<Task> {
    let blocks = 0..regions.blocks().len();
    let mut tasks = Vec::new();
    for captions in ranges(words.counts()) {
        tasks.extend(blocks.clone().map(|block| Task {
            block,
            captions: captions.clone(),
        }));
    }
    tasks
}

/// Captions in order, cut where a range would have too many words.
fn ranges(counts: &[usize]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut words = 0;
    for (caption, &count) in counts.iter().enumerate() {
        words += count;
        match ranges.last_mut() {
            Some(range) if words <= WORDS_IN_A_TASK => range.end = caption + 1,
            _ => {
                ranges.push(caption..caption + 1);
                words = count;
            }
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_every_caption_once_and_few_words() {
        let counts: Vec<usize> = (0..1000).map(|at| 1 + at * 7 % 40).collect();
        let ranges = ranges(&counts);
        assert_eq!(ranges[0].start, 0);
        assert_eq!(ranges[ranges.len() - 1].end, 1000);
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].end, pair[1].start);
        }
        for range in &ranges {
            assert!(counts[range.clone()].iter().sum::<usize>() <= WORDS_IN_A_TASK);
        }
        assert!(ranges.len() > 15);
    }

    #[test]
    fn a_caption_longer_than_a_task_has_one_of_its_own() {
        assert_eq!(ranges(&[3, 2000, 3, 3]), [0..1, 1..2, 2..4]);
    }
}
