//! Random choices from a stream of draws.

use uard_core::random::{Stream, uniform};

/// A uniform integer below `count`; zero for a count of zero.
pub(super) fn below(stream: &mut Stream, count: usize) -> usize {
    let draw = uniform(stream, 0.0, 1.0, 1)[0];
    ((draw * count as f32) as usize).min(count.saturating_sub(1))
}

/// One of the choices, all equally likely. `choices` may not be empty.
pub(super) fn pick<T: Copy>(stream: &mut Stream, choices: &[T]) -> T {
    choices[below(stream, choices.len())]
}

/// True with this probability.
pub(super) fn happens(stream: &mut Stream, probability: f32) -> bool {
    uniform(stream, 0.0, 1.0, 1)[0] < probability
}

/// A number uniform in `[low, high)`.
pub(super) fn between(stream: &mut Stream, low: f32, high: f32) -> f32 {
    uniform(stream, low, high, 1)[0]
}
