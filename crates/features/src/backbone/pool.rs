//! How are neighbouring pixels pooled? Their largest, or their mean.

use rayon::prelude::*;
use uard_linalg::vector::{Loops, Simd, vectorised};

use super::convolution::Target;
use super::maps::Maps;
use super::number::Number;
use super::window::Window;

/// Whether the padding of an average pool counts as pixels that are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Border {
    /// It does not: the mean is over the pixels that are there. TensorFlow does it so.
    #[default]
    Excluded,
    /// It does: the sum is divided by the size of the window. PyTorch does it so, unless told.
    Counted,
}

/// What a pool makes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The largest number; padding is not seen.
    Max,
    /// The mean.
    Average(Border),
}

/// Whether pixels that are left over at the lower and right edge get a window of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// They do not. PyTorch does it so, unless told.
    Inside,
    /// They do; it hangs over the edge. Caffe does it so.
    Over,
}

/// A pool over each channel. Where one number is NaN, the largest may be either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Its window, not dilated; padding is smaller than the kernel, so that every window sees a
    /// pixel.
    pub window: Window,
    /// Where the last windows end.
    pub edge: Edge,
    /// What it makes of it.
    pub pooling: Pooling,
}

impl Pool {
    /// Height and width of the output; `None` where the window does not fit once.
    pub fn output(&self, (height, width): (usize, usize)) -> Option<(usize, usize)> {
        let (down, right) = self.over();
        self.window.output((height + down, width + right))
    }

    /// By how many pixels the last windows may hang over the edge.
    fn over(&self) -> (usize, usize) {
        match self.edge {
            Edge::Inside => (0, 0),
            Edge::Over => (self.window.stride.0 - 1, self.window.stride.1 - 1),
        }
    }

    /// Pools maps.
    ///
    /// # Shapes
    /// `input` [N, H, W, F]; returns [N, H', W', F].
    ///
    /// # Panics
    /// When the maps are smaller than the window, padding is not smaller than the kernel, or the
    /// window is dilated: the caller chose them wrongly.
    pub fn forward<T: Number>(&self, input: &Maps<T>) -> Maps<T> {
        let (height, width) = self.output(input.size()).unwrap_or_default();
        let shape = [input.photos(), height, width, input.channels()];
        let mut maps = Maps::new(vec![T::zeroed(); shape.iter().product()], shape);
        let target = Target {
            maps: &mut maps,
            channel: 0,
        };
        self.forward_into(input, target);
        maps
    }

    /// [`forward`](Self::forward) into some channels of maps that are there.
    pub(crate) fn forward_into<T: Number>(&self, input: &Maps<T>, target: Target<'_, T>) {
        let Target { maps, channel } = target;
        let Window {
            kernel,
            padding,
            dilation,
            ..
        } = self.window;
        let over = self.over();
        assert!(
            padding.0 + over.0 < kernel.0 && padding.1 + over.1 < kernel.1,
            "windows that see"
        );
        assert_eq!(dilation, (1, 1), "a pool of neighbours");
        let (height, width) = maps.size();
        let size = self.output(input.size());
        assert_eq!(Some((height, width)), size, "the size of the output");
        let channels = maps.channels();
        let rows = maps.values_mut().par_chunks_mut(width * channels);
        rows.enumerate().for_each(|(at, out)| {
            vectorised(Row {
                pool: *self,
                photo: input.photo(at / height),
                size: input.size(),
                channels: input.channels(),
                row: at % height,
                out: (out, channel, channels),
            });
        });
    }
}

/// A row of output pixels.
struct Row<'a, T> {
    pool: Pool,
    photo: &'a [T],
    size: (usize, usize),
    channels: usize,
    row: usize,
    /// The row, the first channel to write to, and how far apart pixels are.
    out: (&'a mut [T], usize, usize),
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
        let seen = |at: usize, kernel: usize, padding: usize, size: usize| {
            at.saturating_sub(padding)..(at + kernel - padding).min(size)
        };
        let rows = seen(self.row * stride.0, kernel.0, padding.0, self.size.0);
        let (out, first, between) = self.out;
        let mut values = vec![0.0; self.channels];
        for (at, out) in out.chunks_exact_mut(between).enumerate() {
            let columns = seen(at * stride.1, kernel.1, padding.1, self.size.1);
            let start = match self.pool.pooling {
                Pooling::Max => f32::NEG_INFINITY,
                Pooling::Average(_) => 0.0,
            };
            values.fill(start);
            for row in rows.clone() {
                let first = (row * self.size.1 + columns.start) * self.channels;
                let pixels = &self.photo[first..first + columns.len() * self.channels];
                for pixel in pixels.chunks_exact(self.channels) {
                    add(&mut values, pixel, self.pool.pooling);
                }
            }
            let scale = match self.pool.pooling {
                Pooling::Max => 1.0,
                Pooling::Average(Border::Excluded) => 1.0 / (rows.len() * columns.len()) as f32,
                Pooling::Average(Border::Counted) => 1.0 / (kernel.0 * kernel.1) as f32,
            };
            let out = &mut out[first..first + self.channels];
            for (out, value) in out.iter_mut().zip(&values) {
                *out = T::round(value * scale);
            }
        }
    }
}

/// One more pixel of a window.
#[inline(always)]
fn add<T: Number>(values: &mut [f32], pixel: &[T], pooling: Pooling) {
    let numbers = values.iter_mut().zip(pixel);
    if pooling == Pooling::Max {
        for (value, x) in numbers {
            let x = x.widen();
            *value = if x > *value { x } else { *value };
        }
    } else {
        for (value, x) in numbers {
            *value += x.widen();
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use uard_core::random::{Draws, uniform};

    use super::*;
    use crate::backbone::reference::{self, Map};

    /// Sums of at most 49 numbers in f32.
    const TOLERANCE: f32 = 1e-6;

    fn close<T: Number>(pool: Pool, rounding: f32, expected: impl Fn(Map<'_>) -> Vec<f32>) {
        let shape = [2, 13, 9, 21];
        let count = shape.iter().product();
        let numbers = uniform(&mut Draws::new(1).stream("pool", &[]), -1.0, 1.0, count);
        let input = Maps::new(numbers.into_iter().map(T::round).collect(), shape);
        let found = pool.forward(&input).widened();
        let wide = input.widened();
        for photo in 0..2 {
            let map = Map {
                values: wide.photo(photo),
                size: (13, 9),
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
                kernel: (2, 5),
                stride: (2, 3),
                padding: (1, 4),
                dilation: (1, 1),
            },
        ];
        for window in windows {
            let pool = |pooling| Pool {
                window,
                edge: Edge::Inside,
                pooling,
            };
            let largest = pool(Pooling::Max);
            close::<f32>(largest, 0.0, |map| reference::max_pool(map, window));
            close::<bf16>(largest, 0.0, |map| reference::max_pool(map, window));
            let excluded = pool(Pooling::Average(Border::Excluded));
            let seen = |map: Map<'_>| reference::average_pool(map, window, |seen, _| seen);
            close::<f32>(excluded, 0.0, seen);
            close::<bf16>(excluded, 0.004, seen);
            let counted = pool(Pooling::Average(Border::Counted));
            let whole = |map: Map<'_>| reference::average_pool(map, window, |_, whole| whole);
            close::<f32>(counted, 0.0, whole);
        }
    }

    #[test]
    fn a_window_over_the_edge_sees_what_is_left() {
        let pool = |edge| Pool {
            window: Window::square(3, 2, 0),
            edge,
            pooling: Pooling::Max,
        };
        let input = Maps::new((0..24).map(|x| x as f32).collect(), [1, 4, 6, 1]);
        assert_eq!(pool(Edge::Inside).forward(&input).values(), [14.0, 16.0]);
        let over = pool(Edge::Over).forward(&input);
        assert_eq!(over.shape(), [1, 2, 3, 1]);
        assert_eq!(over.values(), [14.0, 16.0, 17.0, 20.0, 22.0, 23.0]);
        assert_eq!(pool(Edge::Over).output((5, 2)), Some((2, 1)));
        assert_eq!(pool(Edge::Over).output((1, 5)), None);
    }
}
