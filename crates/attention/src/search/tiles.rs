//! Computes relevance in tiles that stay in cache: panels of words, one after the other, with a block of
//! images.
//!
//! A task is a block of images with a range of captions. Each step multiplies two panels of words with
//! the block. A caption is passed on once all its words are multiplied; rows of a caption that continues
//! in the next step are kept for that. In a task no panel of words is multiplied twice, and beside the
//! packed fragments only the rows of one step and of one caption are in memory.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use bytemuck::Pod;
use uard_linalg::panels::{Element, Instructions, PANEL, panels_for, product};

use crate::kernel::answers::{ImageColumns, SLACK, Tile};
use crate::packed::{ImageBlock, PackedRegions, PackedWords};

/// How many panels of words are multiplied at once: 32 rows, the height of two AMX tiles.
const STEP: usize = 2;

/// The most words of a task, unless a single caption has more.
const WORDS_IN_A_TASK: usize = 1024;

/// How many f32 a cache line has.
const LINE: usize = 16;

/// Packed regions and words, and the instructions that multiply them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fragments<'a> {
    pub instructions: Instructions,
    pub regions: &'a PackedRegions,
    pub words: &'a PackedWords,
    /// Set by another thread when the results are no longer wanted.
    pub stop: &'a AtomicBool,
}

/// A buffer for rows of relevance, which a thread reuses from task to task.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    buffer: Vec<f32>,
    /// The index of the first number that begins a cache line; the first row begins there.
    start: usize,
    stride: usize,
}

impl Rows {
    /// Allocates memory for `rows` rows and keeps the first `kept` of them.
    fn reserve(&mut self, rows: usize, kept: usize) {
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

    /// The numbers from the beginning of a row on.
    fn rest_from(&mut self, row: usize) -> &mut [f32] {
        &mut self.buffer[self.start + row * self.stride..]
    }

    /// Some of the rows as a tile.
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
    /// Whether the results are no longer wanted, so that the rest need not be computed.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Computes the relevance of a range of captions with some panels of regions, and calls `on_caption`
    /// with each caption and its tile, in order.
    pub(crate) fn stream<T: Element + Pod>(
        &self,
        columns: Range<usize>,
        captions: Range<usize>,
        rows: &mut Rows,
        on_caption: &mut dyn FnMut(usize, Tile<'_>),
    ) {
        if captions.is_empty() {
            return;
        }
        let columns = self.regions.panels::<T>().slice(columns);
        let words = self.words.panels::<T>();
        rows.stride = columns.panels() * PANEL + SLACK;
        let panels = self.panels_of(captions.clone());
        let last = captions.end - 1;
        let end = self.words.place(last) + self.words.counts()[last];
        let (mut panel, mut caption) = (panels.start, captions.start);
        // The place of the word in the first row of the buffer, and how many rows are computed.
        let (mut first, mut filled) = (panel * PANEL, 0);
        while panel < panels.end {
            let step = panel..(panel + STEP).min(panels.end);
            let height = step.len() * PANEL;
            rows.reserve(filled + height, filled);
            let (stride, words) = (rows.stride, words.slice(step.clone()));
            let words = words.first(end - panel * PANEL);
            let out = rows.rest_from(filled);
            product(self.instructions, words, columns, out, stride);
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
                rows.rest_from(0)
                    .copy_within(begin * stride..filled * stride, 0);
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

    /// The columns of each image of a block in its tiles.
    pub(crate) fn columns(&self, block: &ImageBlock) -> Vec<ImageColumns<'a>> {
        let images = block.images.clone();
        images
            .map(|image| self.image_columns(image, block.panels.start))
            .collect()
    }

    /// The columns of an image in a tile that begins with panel `panel`.
    pub(crate) fn image_columns(&self, image: usize, panel: usize) -> ImageColumns<'a> {
        ImageColumns {
            start: self.regions.place(image) - panel * PANEL,
            count: self.regions.counts()[image],
            gram: self.regions.gram(image),
        }
    }
}

/// A block of images, by its index, with a range of captions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    pub block: usize,
    pub captions: Range<usize>,
}

/// Cuts all pairs into tasks, the same for any number of threads: for each range of captions all blocks,
/// so that the words of a range stay in cache while they are multiplied with all blocks.
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

/// Cuts captions into ranges of at most [`WORDS_IN_A_TASK`] words.
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
