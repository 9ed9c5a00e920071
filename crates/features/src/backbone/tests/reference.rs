//! Convolution and pools as scalar loops over every pixel; tests compare the fast ones with them.

use crate::backbone::maps::Size;
use crate::backbone::window::Window;

/// The map of one photo, [H, W, F].
#[derive(Debug, Clone, Copy)]
pub struct Map<'a> {
    /// The numbers.
    pub values: &'a [f32],
    /// H and W.
    pub size: Size,
    /// F.
    pub channels: usize,
}

/// A row and a column.
#[derive(Debug, Clone, Copy)]
struct Pixel {
    row: usize,
    column: usize,
}

impl Map<'_> {
    /// A number of the map; `None` in the padding.
    fn at(&self, row: isize, column: isize, channel: usize) -> Option<f32> {
        let row = usize::try_from(row)
            .ok()
            .filter(|row| *row < self.size.height)?;
        let column = usize::try_from(column).ok();
        let column = column.filter(|column| *column < self.size.width)?;
        let index = (row * self.size.width + column) * self.channels + channel;
        Some(self.values[index])
    }

    /// The numbers of a channel in the window of an output pixel, each with its place in the
    /// window; padding is left out.
    fn in_window(&self, window: Window, pixel: Pixel, channel: usize) -> Vec<(Pixel, f32)> {
        let Window {
            kernel,
            stride,
            padding,
            dilation,
        } = window;
        let mut found = Vec::new();
        for row in 0..kernel.height {
            for column in 0..kernel.width {
                let y = pixel.row * stride.height + row * dilation.height;
                let x = pixel.column * stride.width + column * dilation.width;
                let y = y as isize - padding.height as isize;
                let x = x as isize - padding.width as isize;
                let number = self.at(y, x, channel);
                found.extend(number.map(|number| (Pixel { row, column }, number)));
            }
        }
        found
    }

    /// The result of `entry` for every output pixel and channel, [H', W', `channels`].
    fn map(
        &self,
        window: Window,
        channels: usize,
        entry: impl Fn(Pixel, usize) -> f64,
    ) -> Vec<f32> {
        let Size { height, width } = window.output(self.size).unwrap_or_default();
        let mut out = Vec::with_capacity(height * width * channels);
        for row in 0..height {
            for column in 0..width {
                let pixel = Pixel { row, column };
                out.extend((0..channels).map(|channel| entry(pixel, channel) as f32));
            }
        }
        out
    }
}

/// `out[y, x, o] = bias[o] + sum of kernel[o, f, i, j] map[y sy + i dy - py, x sx + j dx - px, f]`,
/// in f64, where s, p and d are stride, padding and dilation of the window.
///
/// # Shapes
/// `kernel` [O, F, KH, KW], `bias` [O]; the output is [H', W', O].
pub fn convolution(map: Map<'_>, kernel: &[f32], bias: &[f32], window: Window) -> Vec<f32> {
    let Size { height, width } = window.kernel;
    map.map(window, bias.len(), |pixel, out| {
        let channels = (0..map.channels).flat_map(|channel| {
            map.in_window(window, pixel, channel)
                .into_iter()
                .map(move |(place, number)| {
                    let at = (out * map.channels + channel) * height + place.row;
                    f64::from(number) * f64::from(kernel[at * width + place.column])
                })
        });
        f64::from(bias[out]) + channels.sum::<f64>()
    })
}

/// The largest number of each window; padding is left out.
pub fn max_pool(map: Map<'_>, window: Window) -> Vec<f32> {
    map.map(window, map.channels, |pixel, channel| {
        let numbers = map.in_window(window, pixel, channel).into_iter();
        numbers.fold(f64::NEG_INFINITY, |largest, (_, number)| {
            largest.max(f64::from(number))
        })
    })
}

/// The mean of each window; padding is left out.
pub fn average_pool(map: Map<'_>, window: Window) -> Vec<f32> {
    map.map(window, map.channels, |pixel, channel| {
        let numbers = map.in_window(window, pixel, channel);
        let sum: f64 = numbers.iter().map(|(_, number)| f64::from(*number)).sum();
        sum / numbers.len() as f64
    })
}
