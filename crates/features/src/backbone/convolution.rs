//! Convolution on the CPU as a product of packed panels.
//!
//! The left matrix has a row for each output pixel: the numbers in its window. It is packed a block
//! of pixels at a time, so that a block stays in cache. The right matrix is the kernel, packed once
//! when it is loaded. Bias, shortcut and ReLU are applied while a block's sums are in cache.
//!
//! An output pixel depends on its own window only, to the last bit: not on the other photos of the
//! batch, nor on the number of threads.

mod finish;
mod patches;

use rayon::prelude::*;
use uard_linalg::panels::{self, ColumnPanels, Instructions, PANEL, RowPanels};
use uard_linalg::panels::{padded_depth, panels_for};
use uard_linalg::vector::vectorised;

use self::finish::Finish;
use self::patches::{PackWindows, View, WindowLayout};
use super::maps::Maps;
use super::number::{AlignedBuffer, Number, Workspace};
use super::window::Window;

/// The most bytes of a block's packed windows: a quarter of an L2 cache of 1 MB, which also holds
/// the part of the kernel in use.
const ROW_BYTES: usize = 256 << 10;

/// The fewest panels of pixels in a block, so that a kernel read from memory is used several times.
const FEWEST_PANELS: usize = 4;

/// Output channels that are computed at a time: twice the columns of the widest tile.
const COLUMNS: usize = 96;

/// The function that is applied to a convolution's sums before they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonlinearity {
    /// `x`.
    Identity,
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
}

/// Numbers of output and input channels of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channels {
    /// O, what the layer computes.
    pub outputs: usize,
    /// F, what the layer reads.
    pub inputs: usize,
}

/// Kernel and bias of a convolution, in PyTorch's layout.
///
/// # Shapes
/// `values` [O, F, KH, KW], `bias` `[O]`, f32.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The kernel.
    pub values: Vec<f32>,
    /// O and F.
    pub channels: Channels,
    /// A number for each output channel.
    pub bias: Vec<f32>,
}

/// A convolution without a backward pass. In the formula, s, p and d are stride, padding and
/// dilation of the window.
///
/// ```text
/// out[y, x, o] = nonlinearity(bias[o] + sum kernel[o, f, i, j] in[y sy + i dy - py, x sx + j dx - px, f] + shortcut[y, x, o])
/// ```
#[derive(Debug)]
pub struct Convolution<T> {
    /// The kernel as column panels; the depth runs over the window's rows, columns and channels.
    columns: AlignedBuffer<T>,
    /// The bias of each output channel, `[O]`, padded with zeros to whole panels.
    bias: Vec<f32>,
    channels: Channels,
    /// Numbers in a window, padded for the panels.
    depth: usize,
    window: Window,
    nonlinearity: Nonlinearity,
}

/// Where a layer writes its output: some of the channels of existing maps.
#[derive(Debug)]
pub(crate) struct Target<'a, T> {
    /// The maps.
    pub maps: &'a mut Maps<T>,
    /// The first channel that is written to.
    pub channel: usize,
}

impl<T: Number> Convolution<T> {
    /// Packs a kernel, rounded to `T`.
    ///
    /// # Panics
    /// When the shapes of kernel, bias and window do not fit each other.
    pub fn new(kernel: &Kernel, window: Window, nonlinearity: Nonlinearity) -> Self {
        let Channels { outputs, inputs } = kernel.channels;
        let count = window.kernel.area() * inputs;
        assert_eq!(
            kernel.values.len(),
            outputs * count,
            "a kernel [O, F, KH, KW]"
        );
        assert_eq!(kernel.bias.len(), outputs, "a bias for each output channel");
        let depth = padded_depth(count);
        let mut columns = AlignedBuffer::zeros(panels_for(outputs) * PANEL * depth);
        let packed = columns.prefix_mut(panels_for(outputs) * PANEL * depth);
        let mut vector = vec![0.0; count];
        for (output, values) in kernel.values.chunks_exact(count).enumerate() {
            for (channel, values) in values.chunks_exact(window.kernel.area()).enumerate() {
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
            nonlinearity,
        }
    }

    /// Output channels.
    pub fn outputs(&self) -> usize {
        self.channels.outputs
    }

    /// Input channels.
    pub fn inputs(&self) -> usize {
        self.channels.inputs
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
    /// When the maps have another number of channels or are smaller than the window.
    pub fn forward(&self, input: &Maps<T>) -> Maps<T> {
        let size = self.window.output(input.size()).unwrap_or_default();
        let shape = [input.photos(), size.height, size.width, self.outputs()];
        let mut maps = Maps::new(vec![T::zeroed(); shape.iter().product()], shape);
        let target = Target {
            maps: &mut maps,
            channel: 0,
        };
        self.forward_into(input, target, None);
        maps
    }

    /// [`forward`](Self::forward) into some channels of existing maps; `shortcut`, of the shape of
    /// the output, is added before the [`Nonlinearity`].
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
        let panels = panels_for(maps.size().area());
        let most = ROW_BYTES / (PANEL * self.depth * size_of::<T>());
        let blocks = panels.div_ceil(most.max(FEWEST_PANELS));
        let pixels = panels.div_ceil(blocks) * PANEL;
        let batch = BatchConvolution {
            layer: self,
            input,
            layout: WindowLayout::new::<T>(self.window, input),
            width: maps.size().width,
            channels: maps.channels(),
            channel,
            shortcut,
        };
        let photo = maps.photo_len();
        let mut blocks = Vec::new();
        for (photo, values) in maps.values_mut().chunks_mut(photo).enumerate() {
            let of_photo = values.chunks_mut(pixels * batch.channels).enumerate();
            blocks.extend(of_photo.map(|(at, out)| PixelBlock {
                photo,
                first: at * pixels,
                out,
            }));
        }
        let blocks = blocks.into_par_iter().with_max_len(1);
        blocks.for_each(|block| {
            T::with_workspace(|workspace| batch.run(block, workspace));
        });
    }
}

/// A convolution of a batch, with its input and the place of its output.
struct BatchConvolution<'a, T> {
    layer: &'a Convolution<T>,
    input: &'a Maps<T>,
    layout: WindowLayout,
    /// The number of columns of the output.
    width: usize,
    /// The number of channels of the maps that are written to.
    channels: usize,
    /// The first channel that is written to.
    channel: usize,
    shortcut: Option<&'a Maps<T>>,
}

/// Consecutive output pixels of a photo, row after row.
struct PixelBlock<'a, T> {
    photo: usize,
    /// Index of the first pixel in the photo's map.
    first: usize,
    /// All channels of the pixels, those of other layers included.
    out: &'a mut [T],
}

impl<T: Number> BatchConvolution<'_, T> {
    fn run(&self, block: PixelBlock<'_, T>, workspace: &mut Workspace<T>) {
        let PixelBlock { photo, first, out } = block;
        let layer = self.layer;
        let pixels = first..first + out.len() / self.channels;
        let panels = panels_for(pixels.len());
        let depth = layer.depth;
        let view = View::new(self.input, photo, layer.window, pixels.clone(), self.width);
        let (values, starts) = view.into_windows(&mut workspace.padded);
        vectorised(PackWindows {
            source: values,
            starts: &starts,
            layout: &self.layout,
            rows: workspace.rows.prefix_mut(panels * PANEL * depth),
        });
        let rows = RowPanels::new(workspace.rows.prefix(panels * PANEL * depth), depth);
        let columns = layer.columns.prefix(layer.bias.len() * depth);
        let columns = ColumnPanels::new(columns, depth);
        let sums = workspace.sums.prefix_mut(panels * PANEL * COLUMNS);
        for at in (0..layer.bias.len()).step_by(COLUMNS) {
            let last = (at + COLUMNS).min(layer.bias.len());
            let columns = columns.slice(at / PANEL..last / PANEL);
            panels::product(Instructions::best(), rows, columns, sums, COLUMNS);
            let channels = at..last.min(layer.outputs());
            vectorised(Finish {
                sums,
                sums_stride: COLUMNS,
                bias: &layer.bias[channels.clone()],
                shortcut: self
                    .shortcut
                    .map(|maps| &maps.photo(photo)[pixels.start * layer.outputs() + at..]),
                shortcut_stride: layer.outputs(),
                out: &mut out[self.channel + at..],
                out_stride: self.channels,
                nonlinearity: layer.nonlinearity,
            });
        }
    }
}

#[cfg(test)]
mod tests;
