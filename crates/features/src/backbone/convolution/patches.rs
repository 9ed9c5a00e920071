//! Packs the windows of a block of output pixels into row panels, without storing the windows of
//! the whole input first (as im2col does).

use std::ops::Range;

use uard_linalg::panels::{PANEL, padded_depth};
use uard_linalg::vector::{Loops, Simd};

use crate::backbone::maps::{Maps, Size};
use crate::backbone::number::Number;
use crate::backbone::window::Window;

/// Where the `T::LINE` numbers of a line of a packed row lie in the input. Positions are counted
/// from the window's first number.
enum Line {
    /// All numbers of the line are contiguous, from this position on.
    Whole(usize),
    /// Several ranges; the rest of the line is zero.
    Ranges(Vec<CopyRange>),
}

/// Contiguous numbers of the input.
struct CopyRange {
    /// The position of the first number in the input.
    source: usize,
    /// The position of the first number in the line.
    line: usize,
    count: usize,
}

/// Where the numbers of a window lie in the input, line by line of a packed row.
pub struct WindowLayout(Vec<Line>);

impl WindowLayout {
    /// The layout of windows over maps with padding around them.
    pub fn new<T: Number>(window: Window, input: &Maps<T>) -> Self {
        let channels = input.channels();
        let row = (input.size().width + 2 * window.padding.width) * channels;
        // The pixels of a row of a window are contiguous, unless it is dilated.
        let (run, runs) = match window.dilation.width {
            1 => (window.kernel.width * channels, 1),
            _ => (channels, window.kernel.width),
        };
        let count = window.kernel.height * runs * run;
        let source = |depth: usize| {
            let (down, right) = (depth / run / runs, depth / run % runs);
            let right = right * window.dilation.width * channels;
            down * window.dilation.height * row + right + depth % run
        };
        let lines = (0..padded_depth(count)).step_by(T::LINE).map(|first| {
            let mut ranges = Vec::new();
            let mut depth = first;
            while depth < (first + T::LINE).min(count) {
                let range = CopyRange {
                    source: source(depth),
                    line: depth - first,
                    count: (run - depth % run).min((first + T::LINE).min(count) - depth),
                };
                depth += range.count;
                ranges.push(range);
            }
            match ranges.as_slice() {
                [only] if only.count == T::LINE => Line::Whole(only.source),
                _ => Line::Ranges(ranges),
            }
        });
        Self(lines.collect())
    }
}

/// The part of a photo's map that the windows of some output pixels read.
pub struct View<'a, T> {
    photo: &'a [T],
    size: Size,
    channels: usize,
    window: Window,
    /// Output pixels, counted row after row.
    pixels: Range<usize>,
    /// The number of output pixels in a row.
    width: usize,
}

impl<'a, T: Number> View<'a, T> {
    /// The windows of some output pixels of a photo of `maps`; the output has `width` columns.
    pub fn new(
        maps: &'a Maps<T>,
        photo: usize,
        window: Window,
        pixels: Range<usize>,
        width: usize,
    ) -> Self {
        Self {
            photo: maps.photo(photo),
            size: maps.size(),
            channels: maps.channels(),
            window,
            pixels,
            width,
        }
    }

    /// The numbers that the windows read, and where in them each window begins. There are as many
    /// windows as fill whole panels: the last one is repeated. `padded` receives the rows with
    /// their padding, if there is any.
    pub fn into_windows<'b>(self, padded: &'b mut Vec<T>) -> (&'b [T], Vec<usize>)
    where
        'a: 'b,
    {
        let (first, last) = (self.pixels.start, self.pixels.end - 1);
        let Window {
            stride, padding, ..
        } = self.window;
        let is_padded = padding != Size::square(0);
        let top = if is_padded { first / self.width } else { 0 };
        let row = (self.size.width + 2 * padding.width) * self.channels;
        let start = |pixel: usize| {
            let (y, x) = (pixel / self.width, pixel % self.width);
            (y - top) * stride.height * row + x * stride.width * self.channels
        };
        let whole_panels = first..first + self.pixels.len().next_multiple_of(PANEL);
        let starts = whole_panels.map(|pixel| start(pixel.min(last))).collect();
        if !is_padded {
            return (self.photo, starts);
        }
        let bottom = last / self.width;
        let span = self.window.dilation.height * (self.window.kernel.height - 1) + 1;
        let rows = (bottom - top) * stride.height + span;
        if padded.len() < rows * row {
            padded.resize(rows * row, T::zeroed());
        }
        let padded = &mut padded[..rows * row];
        for (at, out) in padded.chunks_exact_mut(row).enumerate() {
            self.write_padded_row(top * stride.height + at, out);
        }
        (padded, starts)
    }

    /// Writes a row of the input with its padding; row 0 is the first row of padding.
    fn write_padded_row(&self, at: usize, out: &mut [T]) {
        let row = at.checked_sub(self.window.padding.height);
        let Some(row) = row.filter(|row| *row < self.size.height) else {
            out.fill(T::zeroed());
            return;
        };
        let (side, length) = (
            self.window.padding.width * self.channels,
            self.size.width * self.channels,
        );
        out[..side].fill(T::zeroed());
        out[side..side + length].copy_from_slice(&self.photo[row * length..][..length]);
        out[side + length..].fill(T::zeroed());
    }
}

/// Copies windows into row panels.
pub struct PackWindows<'a, T> {
    /// The numbers that the windows read.
    pub source: &'a [T],
    /// Where in `source` each window begins.
    pub starts: &'a [usize],
    /// Where the numbers of a window lie.
    pub layout: &'a WindowLayout,
    /// The panels.
    pub rows: &'a mut [T],
}

impl<T: Number> Loops for PackWindows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let panel = PANEL * T::LINE * self.layout.0.len();
        let panels = self.rows.chunks_exact_mut(panel);
        for (panel, starts) in panels.zip(self.starts.chunks_exact(PANEL)) {
            let blocks = panel.chunks_exact_mut(PANEL * T::LINE);
            for (block, line) in blocks.zip(&self.layout.0) {
                for (out, start) in block.chunks_exact_mut(T::LINE).zip(starts) {
                    match line {
                        Line::Whole(at) => {
                            out.copy_from_slice(&self.source[start + at..][..T::LINE]);
                        }
                        Line::Ranges(ranges) => gather(&self.source[*start..], ranges, out),
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn gather<T: Number>(window: &[T], ranges: &[CopyRange], out: &mut [T]) {
    let filled = ranges.last().map_or(0, |last| last.line + last.count);
    for range in ranges {
        let out = &mut out[range.line..range.line + range.count];
        out.copy_from_slice(&window[range.source..][..range.count]);
    }
    out[filled..].fill(T::zeroed());
}
