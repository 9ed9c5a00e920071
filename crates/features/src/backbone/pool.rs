//! Max and average pooling.

use rayon::prelude::*;
use uard_linalg::vector::{Loops, Simd, vectorised};

use super::convolution::Target;
use super::maps::{Maps, Size};
use super::number::Number;
use super::window::Window;

/// What a pool computes from the pixels of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The largest number; padding is left out.
    Max,
    /// The mean over the pixels of the input; padding is left out, as in TensorFlow and unlike
    /// PyTorch's default.
    Average,
}

/// How the output's height and width are rounded where the stride does not divide the input:
/// `ceil_mode` of PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeRounding {
    /// Down: pixels left over at the lower and right edge are not pooled. PyTorch's default.
    Floor,
    /// Up: the last window extends beyond the edge. Caffe's way.
    Ceil,
}

/// A pool over each channel. Whether the maximum of a window with a NaN is NaN is not specified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// The window, not dilated. Padding is smaller than the kernel, so that every window holds a
    /// pixel of the input.
    pub window: Window,
    /// How the output's height and width are rounded.
    pub rounding: SizeRounding,
    /// Maximum or mean.
    pub pooling: Pooling,
}

impl Pool {
    /// Height and width of the output; `None` where the padded input is smaller than the window.
    pub fn output(&self, input: Size) -> Option<Size> {
        let overhang = self.overhang();
        self.window.output(Size {
            height: input.height + overhang.height,
            width: input.width + overhang.width,
        })
    }

    /// The most pixels by which the last windows extend beyond the lower and right edge.
    fn overhang(&self) -> Size {
        let stride = self.window.stride;
        match self.rounding {
            SizeRounding::Floor => Size::square(0),
            SizeRounding::Ceil => Size::new(stride.height - 1, stride.width - 1),
        }
    }

    /// Pools maps [N, H, W, F] into some channels of existing ones [N, H', W', F'].
    ///
    /// # Panics
    /// When the maps are smaller than the window, padding is not smaller than the kernel, or the
    /// window is dilated.
    pub(crate) fn forward_into<T: Number>(&self, input: &Maps<T>, target: Target<'_, T>) {
        let Target { maps, channel } = target;
        let Window {
            kernel,
            padding,
            dilation,
            ..
        } = self.window;
        let overhang = self.overhang();
        assert!(
            padding.height + overhang.height < kernel.height
                && padding.width + overhang.width < kernel.width,
            "every window holds a pixel of the input"
        );
        assert_eq!(dilation, Size::square(1), "a window without dilation");
        let Size { height, width } = maps.size();
        let size = self.output(input.size());
        assert_eq!(Some(maps.size()), size, "the size of the output");
        let channels = maps.channels();
        let rows = maps.values_mut().par_chunks_mut(width * channels);
        rows.enumerate().for_each(|(at, out)| {
            vectorised(Row {
                pool: *self,
                photo: input.photo(at / height),
                size: input.size(),
                channels: input.channels(),
                row: at % height,
                out,
                out_channel: channel,
                out_stride: channels,
            });
        });
    }
}

/// A row of output pixels.
struct Row<'a, T> {
    pool: Pool,
    photo: &'a [T],
    size: Size,
    channels: usize,
    row: usize,
    out: &'a mut [T],
    /// The first channel that is written to.
    out_channel: usize,
    /// The distance from a pixel of `out` to the next.
    out_stride: usize,
}

impl<T: Number> Loops for Row<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Window {
            kernel,
            stride,
            padding,
            ..
        } = self.pool.window;
        // Along one axis: which pixels of the input are in the window that begins at pixel `at` of
        // the padded input.
        let inside = |at: usize, kernel: usize, padding: usize, size: usize| {
            at.saturating_sub(padding)..(at + kernel - padding).min(size)
        };
        let top = self.row * stride.height;
        let rows = inside(top, kernel.height, padding.height, self.size.height);
        let mut values = vec![0.0; self.channels];
        for (at, out) in self.out.chunks_exact_mut(self.out_stride).enumerate() {
            let left = at * stride.width;
            let columns = inside(left, kernel.width, padding.width, self.size.width);
            let start = match self.pool.pooling {
                Pooling::Max => f32::NEG_INFINITY,
                Pooling::Average => 0.0,
            };
            values.fill(start);
            for row in rows.clone() {
                let first = (row * self.size.width + columns.start) * self.channels;
                let pixels = &self.photo[first..first + columns.len() * self.channels];
                for pixel in pixels.chunks_exact(self.channels) {
                    add(&mut values, pixel, self.pool.pooling);
                }
            }
            let scale = match self.pool.pooling {
                Pooling::Max => 1.0,
                Pooling::Average => 1.0 / (rows.len() * columns.len()) as f32,
            };
            let out = &mut out[self.out_channel..][..self.channels];
            for (out, value) in out.iter_mut().zip(&values) {
                *out = T::from_f32(value * scale);
            }
        }
    }
}

/// Includes a pixel of a window in the maximum or sum of each channel.
#[inline(always)]
fn add<T: Number>(values: &mut [f32], pixel: &[T], pooling: Pooling) {
    let numbers = values.iter_mut().zip(pixel);
    if pooling == Pooling::Max {
        for (value, x) in numbers {
            let x = x.to_f32();
            *value = if x > *value { x } else { *value };
        }
    } else {
        for (value, x) in numbers {
            *value += x.to_f32();
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use uard_core::random::{Draws, uniform};

    use super::*;
    use crate::backbone::tests::reference::{self, Map};

    /// The tolerance for sums of at most 49 numbers in f32.
    const TOLERANCE: f32 = 1e-6;

    fn pooled<T: Number>(pool: Pool, input: &Maps<T>) -> Maps<T> {
        let size = pool.output(input.size()).unwrap();
        let shape = [input.photos(), size.height, size.width, input.channels()];
        let mut maps = Maps::new(vec![T::zeroed(); shape.iter().product()], shape);
        let target = Target {
            maps: &mut maps,
            channel: 0,
        };
        pool.forward_into(input, target);
        maps
    }

    /// Compares a pool with the reference, within `rounding` of each number.
    fn assert_close<T: Number>(pool: Pool, rounding: f32, expected: impl Fn(Map<'_>) -> Vec<f32>) {
        let shape = [2, 13, 9, 21];
        let count = shape.iter().product();
        let numbers = uniform(&mut Draws::new(1).stream("pool", &[]), -1.0, 1.0, count);
        let input = Maps::new(numbers.into_iter().map(T::from_f32).collect(), shape);
        let found = pooled(pool, &input).widened();
        let wide = input.widened();
        for photo in 0..2 {
            let map = Map {
                values: wide.photo(photo),
                size: Size::new(13, 9),
                channels: 21,
            };
            let expected = expected(map);
            assert_eq!(found.photo(photo).len(), expected.len());
            for (found, expected) in found.photo(photo).iter().zip(&expected) {
                let bound = TOLERANCE + rounding * expected.abs();
                assert!((found - expected).abs() <= bound, "{found} {expected}");
            }
        }
    }

    #[test]
    fn pools_equal_the_reference_with_and_without_padding() {
        let windows = [
            Window::square(3, 2, 0),
            Window::square(3, 1, 1),
            Window::square(3, 2, 1),
            Window {
                kernel: Size::new(2, 5),
                stride: Size::new(2, 3),
                padding: Size::new(1, 4),
                dilation: Size::square(1),
            },
        ];
        for window in windows {
            let pool = |pooling| Pool {
                window,
                rounding: SizeRounding::Floor,
                pooling,
            };
            let largest = pool(Pooling::Max);
            assert_close::<f32>(largest, 0.0, |map| reference::max_pool(map, window));
            assert_close::<bf16>(largest, 0.0, |map| reference::max_pool(map, window));
            let mean = pool(Pooling::Average);
            assert_close::<f32>(mean, 0.0, |map| reference::average_pool(map, window));
            assert_close::<bf16>(mean, 0.004, |map| reference::average_pool(map, window));
        }
    }

    #[test]
    fn a_window_beyond_the_edge_pools_the_pixels_inside() {
        let pool = |rounding| Pool {
            window: Window::square(3, 2, 0),
            rounding,
            pooling: Pooling::Max,
        };
        let input = Maps::new((0..24).map(|x| x as f32).collect(), [1, 4, 6, 1]);
        let (floor, ceil) = (pool(SizeRounding::Floor), pool(SizeRounding::Ceil));
        assert_eq!(pooled(floor, &input).values(), [14.0, 16.0]);
        let maps = pooled(ceil, &input);
        assert_eq!(maps.shape(), [1, 2, 3, 1]);
        assert_eq!(maps.values(), [14.0, 16.0, 17.0, 20.0, 22.0, 23.0]);
        assert_eq!(ceil.output(Size::new(5, 2)), Some(Size::new(2, 1)));
        assert_eq!(ceil.output(Size::new(1, 5)), None);
    }
}
