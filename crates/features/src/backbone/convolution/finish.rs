//! What becomes of a product? Bias, shortcut and ReLU, rounded and stored.

use uard_linalg::vector::{Loops, Simd};

use crate::backbone::number::Number;

/// Some output channels of a block of pixels.
pub struct Finish<'a, T> {
    /// Products, one row a pixel.
    pub sums: &'a [f32],
    /// From a pixel to the next in `sums`.
    pub stride: usize,
    /// One number a channel.
    pub bias: &'a [f32],
    /// Added as well, from the first pixel and channel on; and how far apart pixels are there.
    pub shortcut: Option<(&'a [T], usize)>,
    /// Where the channels go, from the first pixel on; and how far apart pixels are there.
    pub out: (&'a mut [T], usize),
    /// Whether what is below zero becomes zero.
    pub relu: bool,
}

impl<T: Number> Loops for Finish<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let count = self.bias.len();
        let (out, between) = self.out;
        let pixels = out.chunks_mut(between).zip(self.sums.chunks(self.stride));
        for (pixel, (out, sums)) in pixels.enumerate() {
            let (out, sums) = (&mut out[..count], &sums[..count]);
            match self.shortcut {
                None => store(
                    out,
                    sums.iter().zip(self.bias).map(|(x, b)| x + b),
                    self.relu,
                ),
                Some((values, between)) => {
                    let added = &values[pixel * between..][..count];
                    let sums = sums.iter().zip(self.bias).zip(added);
                    store(out, sums.map(|((x, b), s)| x + b + s.widen()), self.relu);
                }
            }
        }
    }
}

#[inline(always)]
fn store<T: Number>(out: &mut [T], sums: impl Iterator<Item = f32>, relu: bool) {
    if relu {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = T::round(if sum < 0.0 { 0.0 } else { sum });
        }
    } else {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = T::round(sum);
        }
    }
}
