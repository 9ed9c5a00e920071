//! Seeded numbers for tests.

use rand::{Rng, SeedableRng};

/// Numbers uniform in `[-1, 1)`.
pub fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut stream = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| stream.random_range(-1.0..1.0)).collect()
}
