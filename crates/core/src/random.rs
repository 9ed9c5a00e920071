//! Seeded random numbers: a stream for each combination of seed, label and indices.
//!
//! `draws.stream("order", &[epoch])` gives the same numbers whatever was drawn before and on whichever
//! thread. So a resumed run draws what a run without interruption would.

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use sha2::{Digest, Sha256};

/// A stream of random numbers.
pub type Stream = ChaCha8Rng;

/// A seed from which every stream of a run is derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws {
    seed: u64,
}

impl Draws {
    /// The streams of a run with this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The stream of one purpose. Its key is the SHA-256 of seed, label and indices.
    ///
    /// ```
    /// use rand::RngCore;
    /// use uard_core::random::Draws;
    ///
    /// let draws = Draws::new(7);
    /// let mut first = draws.stream("order", &[3]);
    /// let mut again = draws.stream("order", &[3]);
    /// let mut other = draws.stream("order", &[4]);
    /// let number = first.next_u64();
    /// assert_eq!(number, again.next_u64());
    /// assert_ne!(number, other.next_u64());
    /// ```
    pub fn stream(&self, label: &str, indices: &[u64]) -> Stream {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        hash.update((label.len() as u64).to_le_bytes());
        hash.update(label.as_bytes());
        for index in indices {
            hash.update(index.to_le_bytes());
        }
        ChaCha8Rng::from_seed(hash.finalize().into())
    }
}

/// Numbers uniform in `[low, high)`.
pub fn uniform(stream: &mut Stream, low: f32, high: f32, count: usize) -> Vec<f32> {
    (0..count)
        .map(|_| low + (high - low) * stream.random::<f32>())
        .collect()
}

/// Numbers of a normal distribution with mean zero.
pub fn normal(stream: &mut Stream, std: f32, count: usize) -> Vec<f32> {
    (0..count)
        .map(|_| {
            let draw: f32 = StandardNormal.sample(stream);
            std * draw
        })
        .collect()
}

/// The numbers `0..count` in random order.
pub fn permutation(stream: &mut Stream, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(stream);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_labels_and_indices_give_different_streams() {
        let draws = Draws::new(0);
        let a = uniform(&mut draws.stream("a", &[1, 2]), 0.0, 1.0, 4);
        let b = uniform(&mut draws.stream("a", &[1]), 0.0, 1.0, 4);
        let c = uniform(&mut draws.stream("ab", &[]), 0.0, 1.0, 4);
        assert!(a != b && b != c && a != c);
    }

    /// The draws of version 0.1 of this crate. Other draws would change every trained model.
    const PINNED_ORDER: [usize; 5] = [3, 1, 4, 0, 2];

    #[test]
    fn the_draws_of_seed_zero_are_pinned() {
        assert_eq!(
            permutation(&mut Draws::new(0).stream("pinned", &[]), 5),
            PINNED_ORDER
        );
    }

    #[test]
    fn permutation_holds_every_number_once() {
        let mut order = permutation(&mut Draws::new(3).stream("p", &[]), 100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn normal_draws_have_their_standard_deviation() {
        let draws = normal(&mut Draws::new(1).stream("n", &[]), 2.0, 20_000);
        let variance = draws.iter().map(|x| f64::from(x * x)).sum::<f64>() / 20_000.0;
        // The standard error of the variance is 4 sqrt(2 / 20000) = 0.04.
        assert!((variance - 4.0).abs() < 0.2, "{variance}");
    }
}
