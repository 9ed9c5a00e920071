//! How do the windows of a block of pixels become rows of panels? Line by line, without an image
//! of all windows.

use std::ops::Range;

use uard_linalg::panels::{PANEL, padded_depth};
use uard_linalg::vector::{Loops, Simd};

use crate::backbone::maps::Maps;
use crate::backbone::number::Number;
use crate::backbone::window::Window;

/// A line of depths of one row, told as places in the source, counted from the window's first
/// number.
enum Line {
    /// Neighbours.
    Whole(usize),
    /// Some numbers each; what is left of the line is zero.
    Pieces(Vec<Piece>),
}

struct Piece {
    source: usize,
    line: usize,
    count: usize,
}

/// All lines of a row.
pub struct Lines(Vec<Line>);

impl Lines {
    /// Of windows over maps, with their padding around them.
    pub fn new<T: Number>(window: Window, input: &Maps<T>) -> Self {
        let channels = input.channels();
        let row = (input.size().1 + 2 * window.padding.1) * channels;
        // The pixels of a row of a window are neighbours, unless it is dilated.
        let (run, runs) = match window.dilation.1 {
            1 => (window.kernel.1 * channels, 1),
            _ => (channels, window.kernel.1),
        };
        let count = window.kernel.0 * runs * run;
        let source = |depth: usize| {
            let (down, right) = (depth / run / runs, depth / run % runs);
            let right = right * window.dilation.1 * channels;
            down * window.dilation.0 * row + right + depth % run
        };
        let lines = (0..padded_depth(count)).step_by(T::LINE).map(|first| {
            let mut pieces = Vec::new();
            let mut depth = first;
            while depth < (first + T::LINE).min(count) {
                let piece = Piece {
                    source: source(depth),
                    line: depth - first,
                    count: (run - depth % run).min((first + T::LINE).min(count) - depth),
                };
                depth += piece.count;
                pieces.push(piece);
            }
            match pieces.as_slice() {
                [only] if only.count == T::LINE => Line::Whole(only.source),
                _ => Line::Pieces(pieces),
            }
        });
        Self(lines.collect())
    }
}

/// Maps that windows slide over.
pub struct Source<'a, T> {
    maps: &'a Maps<T>,
    window: Window,
}

/// What some windows of a photo see.
pub struct View<'a, T> {
    photo: &'a [T],
    size: (usize, usize),
    channels: usize,
    window: Window,
    /// Output pixels, and how many there are in a row.
    pixels: Range<usize>,
    width: usize,
}

impl<'a, T: Number> Source<'a, T> {
    pub fn new(maps: &'a Maps<T>, window: Window) -> Self {
        Self { maps, window }
    }

    /// Of output pixels of a photo, `width` in a row.
    pub fn view(&self, photo: usize, pixels: Range<usize>, width: usize) -> View<'a, T> {
        View {
            photo: self.maps.photo(photo),
            size: self.maps.size(),
            channels: self.maps.channels(),
            window: self.window,
            pixels,
            width,
        }
    }
}

impl<'a, T: Number> View<'a, T> {
    /// The numbers that the windows see, and where in them each window begins; for whole panels,
    /// the last window again where there is none. Padding is written to `space`.
    pub fn into_windows<'b>(self, space: &'b mut Vec<T>) -> (&'b [T], Vec<usize>)
    where
        'a: 'b,
    {
        let (first, last) = (self.pixels.start, self.pixels.end - 1);
        let padded = self.window.padding != (0, 0);
        let top = if padded { first / self.width } else { 0 };
        let row = (self.size.1 + 2 * self.window.padding.1) * self.channels;
        let start = |pixel: usize| {
            let (y, x) = (pixel / self.width, pixel % self.width);
            (y - top) * self.window.stride.0 * row + x * self.window.stride.1 * self.channels
        };
        let whole = first..first + self.pixels.len().next_multiple_of(PANEL);
        let starts = whole.map(|pixel| start(pixel.min(last))).collect();
        if !padded {
            return (self.photo, starts);
        }
        let bottom = last / self.width;
        let span = self.window.dilation.0 * (self.window.kernel.0 - 1) + 1;
        let rows = (bottom - top) * self.window.stride.0 + span;
        if space.len() < rows * row {
            space.resize(rows * row, T::zeroed());
        }
        let space = &mut space[..rows * row];
        for (at, out) in space.chunks_exact_mut(row).enumerate() {
            self.padded_row(top * self.window.stride.0 + at, out);
        }
        (space, starts)
    }

    /// A row of the input with its padding, counted from the first row of padding.
    fn padded_row(&self, at: usize, out: &mut [T]) {
        let row = at.checked_sub(self.window.padding.0);
        let Some(row) = row.filter(|row| *row < self.size.0) else {
            out.fill(T::zeroed());
            return;
        };
        let (side, length) = (
            self.window.padding.1 * self.channels,
            self.size.1 * self.channels,
        );
        out[..side].fill(T::zeroed());
        out[side..side + length].copy_from_slice(&self.photo[row * length..][..length]);
        out[side + length..].fill(T::zeroed());
    }
}

/// Copies windows into panels.
pub struct Pack<'a, T> {
    /// The numbers that windows see.
    pub source: &'a [T],
    /// Where each window begins.
    pub starts: &'a [usize],
    /// What lies where in a window.
    pub lines: &'a Lines,
    /// Panels.
    pub rows: &'a mut [T],
}

impl<T: Number> Loops for Pack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let panel = PANEL * T::LINE * self.lines.0.len();
        let panels = self.rows.chunks_exact_mut(panel);
        for (panel, starts) in panels.zip(self.starts.chunks_exact(PANEL)) {
            let blocks = panel.chunks_exact_mut(PANEL * T::LINE);
            for (block, line) in blocks.zip(&self.lines.0) {
                for (out, start) in block.chunks_exact_mut(T::LINE).zip(starts) {
                    match line {
                        Line::Whole(at) => {
                            out.copy_from_slice(&self.source[start + at..][..T::LINE]);
                        }
                        Line::Pieces(pieces) => gather(&self.source[*start..], pieces, out),
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn gather<T: Number>(window: &[T], pieces: &[Piece], out: &mut [T]) {
    let filled = pieces.last().map_or(0, |last| last.line + last.count);
    for piece in pieces {
        let out = &mut out[piece.line..piece.line + piece.count];
        out.copy_from_slice(&window[piece.source..][..piece.count]);
    }
    out[filled..].fill(T::zeroed());
}
