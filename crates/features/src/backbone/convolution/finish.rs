//! The last step of a convolution: adds bias and shortcut to the sums, applies the nonlinearity,
//! rounds and stores.

use uard_linalg::vector::{Loops, Simd};

use crate::backbone::convolution::Nonlinearity;
use crate::backbone::number::Number;

/// Some output channels of a block of pixels. A stride is the distance from a pixel to the next.
pub struct Finish<'a, T> {
    /// Sums of products, a row for each pixel.
    pub sums: &'a [f32],
    pub sums_stride: usize,
    /// A number for each of the channels.
    pub bias: &'a [f32],
    /// Added to the sums; begins at the first pixel and channel.
    pub shortcut: Option<&'a [T]>,
    pub shortcut_stride: usize,
    /// Where the channels are stored; begins at the first pixel and channel.
    pub out: &'a mut [T],
    pub out_stride: usize,
    pub nonlinearity: Nonlinearity,
}

impl<T: Number> Loops for Finish<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let count = self.bias.len();
        let relu = self.nonlinearity == Nonlinearity::Relu;
        let out = self.out.chunks_mut(self.out_stride);
        let pixels = out.zip(self.sums.chunks(self.sums_stride));
        for (pixel, (out, sums)) in pixels.enumerate() {
            let (out, sums) = (&mut out[..count], &sums[..count]);
            match self.shortcut {
                None => store(out, sums.iter().zip(self.bias).map(|(x, b)| x + b), relu),
                Some(values) => {
                    let added = &values[pixel * self.shortcut_stride..][..count];
                    let sums = sums.iter().zip(self.bias).zip(added);
                    store(out, sums.map(|((x, b), s)| x + b + s.to_f32()), relu);
                }
            }
        }
    }
}

#[inline(always)]
fn store<T: Number>(out: &mut [T], sums: impl Iterator<Item = f32>, relu: bool) {
    if relu {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = T::from_f32(if sum < 0.0 { 0.0 } else { sum });
        }
    } else {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = T::from_f32(sum);
        }
    }
}
