//! How is a convolution computed fast on a CPU? As products of panels.
//!
//! Every output pixel is a row of the left side: the numbers that its window sees, copied straight
//! into panels, a block of pixels at a time and small enough to stay in cache. The kernel is the
//! right side, packed once when it is loaded. Bias, the sum with a shortcut and ReLU happen while
//! the sums are still in cache.
//!
//! An output pixel depends on its own window alone, to the last bit: not on the photos beside it,
//! nor on how many threads there are.

mod finish;
mod patches;

use rayon::prelude::*;
use uard_linalg::panels::{self, ColumnPanels, Instructions, PANEL, RowPanels};
use uard_linalg::panels::{padded_depth, panels_for};
use uard_linalg::vector::vectorised;

use self::finish::Finish;
use self::patches::{Lines, Pack, Source};
use super::maps::Maps;
use super::number::{Aligned, Number, Space};
use super::window::Window;

/// Packed windows of a block: at most this, a quarter of a second cache of 1 MB, which the kernel
/// passes through as well.
const ROW_BYTES: usize = 256 << 10;

/// A block has at least as many pixels, so that a kernel from memory is used often enough.
const FEWEST_PANELS: usize = 4;

/// Output channels that are multiplied at a time: two rounds of the widest tile.
const COLUMNS: usize = 96;

/// What happens to a sum before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Nothing,
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
}

/// The numbers of a convolution, as they come from a file.
///
/// # Shapes
/// `kernel` [O, F, KH, KW], `bias` `[O]`.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The kernel.
    pub values: Vec<f32>,
    /// O and F: output and input channels.
    pub channels: (usize, usize),
    /// One number an output channel.
    pub bias: Vec<f32>,
}

/// A convolution that only goes forward.
///
/// ```text
/// out[y, x, o] = after(bias[o] + sum kernel[o, f, i, j] in[y sy + i dy - py, x sx + j dx - px, f] + shortcut[y, x, o])
/// ```
#[derive(Debug)]
pub struct Convolution<T> {
    /// Columns of the product, depth in the order row, column, channel of the window.
    columns: Aligned<T>,
    /// Zero beyond the output channels.
    bias: Vec<f32>,
    channels: (usize, usize),
    depth: usize,
    window: Window,
    after: After,
}

/// Some channels of maps that a layer writes to.
#[derive(Debug)]
pub(crate) struct Target<'a, T> {
    /// The maps.
    pub maps: &'a mut Maps<T>,
    /// The first of the channels.
    pub channel: usize,
}

impl<T: Number> Convolution<T> {
    /// Packs a kernel, rounded to `T`.
    ///
    /// # Panics
    /// When kernel, bias and window do not fit each other: the caller cut them wrongly.
    pub fn new(kernel: &Kernel, window: Window, after: After) -> Self {
        let (outputs, inputs) = kernel.channels;
        let (height, width) = window.kernel;
        let count = height * width * inputs;
        assert_eq!(
            kernel.values.len(),
            outputs * count,
            "a kernel [O, F, KH, KW]"
        );
        assert_eq!(kernel.bias.len(), outputs, "a bias for each output channel");
        let depth = padded_depth(count);
        let mut columns = Aligned::zeros(panels_for(outputs) * PANEL * depth);
        let packed = columns.first(panels_for(outputs) * PANEL * depth);
        let mut vector = vec![0.0; count];
        for (output, values) in kernel.values.chunks_exact(count).enumerate() {
            for (channel, values) in values.chunks_exact(height * width).enumerate() {
                for (pixel, &value) in values.iter().enumerate() {
                    vector[pixel * inputs + channel] = value;
                }
            }
            ColumnPanels::place(packed, depth, output, &vector);
        }
        let mut bias = kernel.bias.clone();
        bias.resize(panels_for(outputs) * PANEL, 0.0);
        Self {
            columns,
            bias,
            channels: kernel.channels,
            depth,
            window,
            after,
        }
    }

    /// Output channels.
    pub fn outputs(&self) -> usize {
        self.channels.0
    }

    /// Input channels.
    pub fn inputs(&self) -> usize {
        self.channels.1
    }

    /// The window.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Convolves maps.
    ///
    /// # Shapes
    /// `input` [N, H, W, F]; returns [N, H', W', O].
    ///
    /// # Panics
    /// When the maps have other channels or are smaller than the window: the caller chose them
    /// wrongly.
    pub fn forward(&self, input: &Maps<T>) -> Maps<T> {
        let (height, width) = self.window.output(input.size()).unwrap_or_default();
        let shape = [input.photos(), height, width, self.outputs()];
        let mut maps = Maps::new(vec![T::zeroed(); shape.iter().product()], shape);
        let target = Target {
            maps: &mut maps,
            channel: 0,
        };
        self.forward_into(input, target, None);
        maps
    }

    /// [`forward`](Self::forward) into some channels of maps that are there; `shortcut`, of the
    /// shape of the output, is added before [`After`].
    pub(crate) fn forward_into(
        &self,
        input: &Maps<T>,
        target: Target<'_, T>,
        shortcut: Option<&Maps<T>>,
    ) {
        let Target { maps, channel } = target;
        assert_eq!(input.channels(), self.inputs(), "channels of the input");
        let size = self.window.output(input.size());
        assert_eq!(Some(maps.size()), size, "the size of the output");
        let panels = panels_for(maps.size().0 * maps.size().1);
        let most = ROW_BYTES / (PANEL * self.depth * size_of::<T>());
        let blocks = panels.div_ceil(most.max(FEWEST_PANELS));
        let pixels = panels.div_ceil(blocks) * PANEL;
        let job = Job {
            layer: self,
            source: Source::new(input, self.window),
            lines: Lines::new::<T>(self.window, input),
            width: maps.size().1,
            channels: maps.channels(),
            channel,
            shortcut,
        };
        let photo = maps.photo_len();
        let mut tasks = Vec::new();
        for (photo, values) in maps.values_mut().chunks_mut(photo).enumerate() {
            let blocks = values.chunks_mut(pixels * job.channels).enumerate();
            tasks.extend(blocks.map(|(block, out)| (photo, block * pixels, out)));
        }
        let tasks = tasks.into_par_iter().with_max_len(1);
        tasks.for_each(|(photo, first, out)| {
            T::with_space(|space| job.run((photo, first), out, space));
        });
    }
}

/// A convolution of a batch.
struct Job<'a, T> {
    layer: &'a Convolution<T>,
    source: Source<'a, T>,
    lines: Lines,
    /// Columns of the output.
    width: usize,
    /// Channels of the maps that are written to, and the first that is.
    channels: usize,
    channel: usize,
    shortcut: Option<&'a Maps<T>>,
}

impl<T: Number> Job<'_, T> {
    /// Some output pixels of a photo, counted along its rows; `out` holds all their channels.
    fn run(&self, (photo, first): (usize, usize), out: &mut [T], space: &mut Space<T>) {
        let layer = self.layer;
        let pixels = first..first + out.len() / self.channels;
        let panels = panels_for(pixels.len());
        let depth = layer.depth;
        let (values, starts) = {
            let view = self.source.view(photo, pixels.clone(), self.width);
            view.into_windows(&mut space.padded)
        };
        vectorised(Pack {
            source: values,
            starts: &starts,
            lines: &self.lines,
            rows: space.rows.first(panels * PANEL * depth),
        });
        let rows = RowPanels::new(space.rows.get(panels * PANEL * depth), depth);
        let columns = layer.columns.get(layer.bias.len() * depth);
        let columns = ColumnPanels::new(columns, depth);
        let sums = space.sums.first(panels * PANEL * COLUMNS);
        for at in (0..layer.bias.len()).step_by(COLUMNS) {
            let last = (at + COLUMNS).min(layer.bias.len());
            let some = columns.slice(at / PANEL..last / PANEL);
            panels::product(Instructions::best(), rows, some, sums, COLUMNS);
            let channels = at..last.min(layer.outputs());
            vectorised(Finish {
                sums,
                stride: COLUMNS,
                bias: &layer.bias[channels.clone()],
                shortcut: self.shortcut.map(|maps| {
                    let pixels = &maps.photo(photo)[pixels.start * layer.outputs()..];
                    (&pixels[at..], layer.outputs())
                }),
                out: (&mut out[self.channel + at..], self.channels),
                relu: layer.after == After::Relu,
            });
        }
    }
}

#[cfg(test)]
mod tests;
