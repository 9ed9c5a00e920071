//! What is a convolution, and what are the pools? Loops over every pixel that judge the fast ones.

use super::window::Window;

/// Maps of one photo, [H, W, F].
#[derive(Debug, Clone, Copy)]
pub struct Map<'a> {
    /// The numbers.
    pub values: &'a [f32],
    /// Height and width.
    pub size: (usize, usize),
    /// Channels.
    pub channels: usize,
}

impl Map<'_> {
    /// A number of the map; `None` in the padding.
    fn at(&self, row: isize, column: isize, channel: usize) -> Option<f32> {
        let row = usize::try_from(row).ok().filter(|row| *row < self.size.0)?;
        let column = usize::try_from(column).ok();
        let column = column.filter(|column| *column < self.size.1)?;
        let place = (row * self.size.1 + column) * self.channels + channel;
        Some(self.values[place])
    }

    /// The numbers of a channel that an output pixel sees, with their place in the window; those
    /// in the padding are left out.
    fn seen(
        &self,
        window: Window,
        (row, column): (usize, usize),
        channel: usize,
    ) -> Vec<((usize, usize), f32)> {
        let mut seen = Vec::new();
        for down in 0..window.kernel.0 {
            for right in 0..window.kernel.1 {
                let y = row * window.stride.0 + down * window.dilation.0;
                let x = column * window.stride.1 + right * window.dilation.1;
                let y = y as isize - window.padding.0 as isize;
                let x = x as isize - window.padding.1 as isize;
                let number = self.at(y, x, channel);
                seen.extend(number.map(|number| ((down, right), number)));
            }
        }
        seen
    }

    /// Every output pixel and channel in order.
    fn map(
        &self,
        window: Window,
        channels: usize,
        entry: impl Fn((usize, usize), usize) -> f64,
    ) -> Vec<f32> {
        let (height, width) = window.output(self.size).unwrap_or((0, 0));
        let mut out = Vec::with_capacity(height * width * channels);
        for row in 0..height {
            for column in 0..width {
                out.extend((0..channels).map(|channel| entry((row, column), channel) as f32));
            }
        }
        out
    }
}

/// `out[y, x, o] = bias[o] + sum of kernel[o, f, i, j] map[y sy + i dy - py, x sx + j dx - px, f]`, in
/// f64.
///
/// # Shapes
/// `kernel` [O, F, KH, KW], `bias` [O]; the output is [H', W', O].
pub fn convolution(map: Map<'_>, (kernel, bias): (&[f32], &[f32]), window: Window) -> Vec<f32> {
    let (height, width) = window.kernel;
    map.map(window, bias.len(), |pixel, out| {
        let channels = (0..map.channels).flat_map(|channel| {
            map.seen(window, pixel, channel)
                .into_iter()
                .map(move |((down, right), number)| {
                    let at = (out * map.channels + channel) * height + down;
                    f64::from(number) * f64::from(kernel[at * width + right])
                })
        });
        f64::from(bias[out]) + channels.sum::<f64>()
    })
}

/// The largest number that each window sees; padding is not seen.
pub fn max_pool(map: Map<'_>, window: Window) -> Vec<f32> {
    map.map(window, map.channels, |pixel, channel| {
        let seen = map.seen(window, pixel, channel).into_iter();
        seen.fold(f64::NEG_INFINITY, |largest, (_, number)| {
            largest.max(f64::from(number))
        })
    })
}

/// The mean of what each window sees; `counted` is what the sum is divided by, given the pixels
/// seen and the size of the window.
pub fn average_pool(
    map: Map<'_>,
    window: Window,
    counted: impl Fn(usize, usize) -> usize,
) -> Vec<f32> {
    let whole = window.kernel.0 * window.kernel.1;
    map.map(window, map.channels, |pixel, channel| {
        let seen = map.seen(window, pixel, channel);
        let sum: f64 = seen.iter().map(|(_, number)| f64::from(*number)).sum();
        sum / counted(seen.len(), whole) as f64
    })
}
