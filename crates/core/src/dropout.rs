//! Dropout by seeded draws: which numbers become zero depends on seed, label and step alone.

use candle_core::Tensor;
use rand::RngCore;
use rayon::prelude::*;

use crate::random::Stream;
use crate::{Error, Result};

/// How many numbers one task draws; each task begins at its own position of the stream.
const BLOCK: usize = 4096;

/// The share of numbers that become zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    rate: f32,
}

impl Dropout {
    /// Drops each number with probability `rate`.
    ///
    /// # Errors
    /// When the rate is not in `[0, 1)`.
    pub fn new(rate: f32) -> Result<Self> {
        if (0.0..1.0).contains(&rate) {
            Ok(Self { rate })
        } else {
            Err(Error::DropoutRate { found: rate })
        }
    }

    /// A factor for each number: zero for a dropped one and `1 / (1 - rate)` for a kept one. The mean
    /// of the factors is 1.
    ///
    /// Factor i depends on the stream and on i alone, not on threads. Use a stream for one step only;
    /// the next step takes another (`Draws::stream` with the step among its indices).
    ///
    /// ```
    /// use uard_core::{dropout::Dropout, random::Draws};
    ///
    /// let stream = Draws::new(7).stream("dropout", &[0]);
    /// let factors = Dropout::new(0.5)?.factors(&stream, 1000);
    /// assert!(factors.iter().all(|&factor| factor == 0.0 || factor == 2.0));
    /// # Ok::<(), uard_core::Error>(())
    /// ```
    pub fn factors(self, stream: &Stream, count: usize) -> Vec<f32> {
        // 2^32 times the rate, rounded down: a number is dropped when its draw is below. As the rate is
        // below 1, this fits 32 bits.
        let dropped_below = (f64::from(self.rate) * 2f64.powi(32)) as u32;
        let kept = 1.0 / (1.0 - self.rate);
        let start = stream.get_word_pos();
        let mut factors = vec![kept; count];
        factors
            .par_chunks_mut(BLOCK)
            .enumerate()
            .for_each(|(block, factors)| {
                let mut stream = stream.clone();
                stream.set_word_pos(start + (block * BLOCK) as u128);
                for factor in factors {
                    if stream.next_u32() < dropped_below {
                        *factor = 0.0;
                    }
                }
            });
        factors
    }

    /// The rows times [`Dropout::factors`].
    ///
    /// # Shapes
    /// `rows` of any shape; the result has the same shape. With a rate of zero it is `rows`.
    ///
    /// # Errors
    /// When the rows are not floating point.
    pub fn forward(self, rows: &Tensor, stream: &Stream) -> Result<Tensor> {
        if self.rate == 0.0 {
            return Ok(rows.clone());
        }
        let factors = self.factors(stream, rows.elem_count());
        let factors = Tensor::from_vec(factors, rows.shape(), rows.device())?;
        Ok((rows * factors.to_dtype(rows.dtype())?)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::random::Draws;

    fn stream(step: u64) -> Stream {
        Draws::new(3).stream("dropout", &[step])
    }

    #[test]
    fn the_rate_is_the_share_of_zeros_and_the_mean_stays() {
        let factors = Dropout::new(0.1).unwrap().factors(&stream(0), 50_000);
        let zeros = factors.iter().filter(|&&factor| factor == 0.0).count();
        // The standard deviation is sqrt(50000 · 0.1 · 0.9) = 67.
        assert!(zeros.abs_diff(5000) < 300, "{zeros}");
        let mean = factors.iter().map(|&factor| f64::from(factor)).sum::<f64>() / 50_000.0;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }

    #[test]
    fn threads_and_length_change_no_number_but_the_step_does() {
        let run = |threads: usize, count: usize, step: u64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().unwrap();
            pool.install(|| Dropout::new(0.3).unwrap().factors(&stream(step), count))
        };
        let whole = run(1, 10_000, 0);
        assert_eq!(whole, run(3, 10_000, 0));
        assert_eq!(whole[..5000], run(2, 5000, 0));
        assert_ne!(whole, run(1, 10_000, 1));
        // The second block is no copy of the first.
        assert_ne!(whole[..BLOCK], whole[BLOCK..2 * BLOCK]);
    }

    #[test]
    fn gradient_is_the_factor() {
        let rows = Var::ones((2, 40), DType::F32, &Device::Cpu).unwrap();
        let dropped = Dropout::new(0.5)
            .unwrap()
            .forward(&rows, &stream(0))
            .unwrap();
        let gradients = dropped.sum_all().unwrap().backward().unwrap();
        uard_testkit::assert_same_bytes(gradients.get(&rows).unwrap(), &dropped);
        let dropped = dropped.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(dropped.contains(&0.0) && dropped.contains(&2.0));
    }

    #[test]
    fn rate_zero_keeps_all_and_a_rate_outside_is_refused() {
        let none = Dropout::new(0.0).unwrap();
        assert!(
            none.factors(&stream(0), 100)
                .iter()
                .all(|&factor| factor == 1.0)
        );
        for rate in [1.0, -0.1, f32::NAN] {
            assert!(Dropout::new(rate).is_err(), "{rate}");
        }
    }
}
