//! What happens to the states at one time step on the CPU, and what flows back: vectors over the
//! joint width.
//!
//! A row of *gates* is the four blocks r, z, n and q of H numbers, with `q = W_hn h + b_hn`: all
//! that the way back needs.

use uard_linalg::vector::{Loops, Simd, Vector};

use super::operator::Real;

/// The next states of the captions of one step.
///
/// ```text
/// r = σ(x_r + u_r + b_r)    z = σ(x_z + u_z + b_z)    q = u_n + b_q    n = tanh(x_n + b_n + r q)
/// state = n + z (previous - n)
/// ```
///
/// # Shapes
/// Rows of a caption each: `states` = W_hh h [3H], `previous` [H], `gates` [4H], `next` [H]; `bias`
/// [4H] (r, z, n, q). `words` = W_ih x [3H] of every distinct word, `reads` which of them each
/// caption reads.
pub(super) struct Forward<'a, T> {
    pub words: &'a [T],
    pub reads: &'a [u32],
    pub states: &'a [T],
    pub bias: &'a [T],
    pub previous: &'a [T],
    pub gates: &'a mut [T],
    pub next: &'a mut [T],
}

impl<T: Real> Loops for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.bias.len() / 4;
        let [b_r, b_z, b_n, b_q] = blocks(self.bias, width);
        let states = self.states.chunks_exact(3 * width);
        let states = states.zip(self.previous.chunks_exact(width));
        let gates = self.gates.chunks_exact_mut(4 * width);
        let gates = gates.zip(self.next.chunks_exact_mut(width));
        for ((read, (states, previous)), (gates, next)) in self.reads.iter().zip(states).zip(gates)
        {
            let [x_r, x_z, x_n] = blocks(&self.words[*read as usize * 3 * width..], width);
            let [u_r, u_z, u_n] = blocks(states, width);
            let [r, z, n, q] = blocks_mut(gates, width);
            let inputs = [x_r, x_z, x_n, u_r, u_z, u_n, b_r, b_z, b_n, b_q, previous];
            in_vectors(NextState, simd, inputs, [r, z, n, q, next]);
        }
    }
}

struct NextState;

impl Formula<11, 5> for NextState {
    /// r, z, n, q and the next state.
    #[inline(always)]
    fn of<T: Real, S: Simd>(
        simd: S,
        [x_r, x_z, x_n, u_r, u_z, u_n, b_r, b_z, b_n, b_q, previous]: [Vector<T, S>; 11],
        _: [Vector<T, S>; 5],
    ) -> [Vector<T, S>; 5] {
        let add = |a, b| T::plus(simd, a, b);
        let r = sigmoid::<T, S>(simd, add(add(x_r, u_r), b_r));
        let z = sigmoid::<T, S>(simd, add(add(x_z, u_z), b_z));
        let q = add(u_n, b_q);
        let n = tanh::<T, S>(simd, T::times_plus(simd, r, q, add(x_n, b_n)));
        let next = T::times_plus(simd, z, T::minus(simd, previous, n), n);
        [r, z, n, q, next]
    }
}

/// The gradients of a step's gates, and what goes on to the previous states beside `W_hh`.
///
/// With `d` the gradient of the state:
///
/// ```text
/// d a_n = d (1 - z) (1 - n²)          d u_n = d a_n r
/// d a_z = d (previous - n) z (1 - z)  d a_r = d a_n q r (1 - r)
/// carry' = d z
/// ```
///
/// # Shapes
/// Rows of a caption each: `gates` [4H], `previous` [H]; `carry` [H] comes from the later step and
/// leaves for the earlier; `to_states` [3H] is (d a_r, d a_z, d u_n). (d a_r, d a_z, d a_n) is added
/// to the row [3H] in `to_words` of the word that was read, the caption's of `words`. `averaged` are
/// the padded rows of the gradient of the directions' average, of which the caption's is in `places`.
pub(super) struct Backward<'a, T> {
    pub gates: &'a [T],
    pub previous: &'a [T],
    pub averaged: &'a [T],
    pub words: &'a [u32],
    pub places: &'a [u32],
    pub carry: &'a mut [T],
    pub to_words: &'a mut [T],
    pub to_states: &'a mut [T],
    pub width: usize,
}

impl<T: Real> Loops for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.width;
        let trace = self.gates.chunks_exact(4 * width);
        let trace = trace.zip(self.previous.chunks_exact(width));
        let found = self.to_states.chunks_exact_mut(3 * width);
        let found = found.zip(self.carry.chunks_exact_mut(width));
        let reads = self.words.iter().zip(self.places);
        for (((word, place), (gates, previous)), (to_states, carry)) in reads.zip(trace).zip(found)
        {
            let [r, z, n, q] = blocks(gates, width);
            let averaged = &self.averaged[*place as usize * width..][..width];
            let to_word = &mut self.to_words[*word as usize * 3 * width..];
            let [w_r, w_z, w_n] = blocks_mut(to_word, width);
            let [s_r, s_z, s_n] = blocks_mut(to_states, width);
            let inputs = [r, z, n, q, previous, averaged];
            let outputs = [w_r, w_z, w_n, s_r, s_z, s_n, carry];
            in_vectors(StepGradients, simd, inputs, outputs);
        }
    }
}

struct StepGradients;

impl Formula<6, 7> for StepGradients {
    /// d a_r, d a_z, d a_n beside what the word has of them, d a_r, d a_z, d u_n and what goes on;
    /// `later` came from the later step.
    #[inline(always)]
    fn of<T: Real, S: Simd>(
        simd: S,
        [r, z, n, q, previous, averaged]: [Vector<T, S>; 6],
        [w_r, w_z, w_n, _, _, _, later]: [Vector<T, S>; 7],
    ) -> [Vector<T, S>; 7] {
        let (one, half) = (T::splat(simd, T::ONE), T::splat(simd, T::from_f64(0.5)));
        let add = |a, b| T::plus(simd, a, b);
        let mul = |a, b| T::times(simd, a, b);
        let rest = |a| T::minus(simd, one, a);
        let d = T::times_plus(simd, half, averaged, later);
        let to_n = mul(mul(d, rest(z)), rest(mul(n, n)));
        let to_z = mul(mul(d, T::minus(simd, previous, n)), mul(z, rest(z)));
        let to_r = mul(mul(to_n, q), mul(r, rest(r)));
        let [w_r, w_z, w_n] = [add(w_r, to_r), add(w_z, to_z), add(w_n, to_n)];
        [w_r, w_z, w_n, to_r, to_z, mul(to_n, r), mul(d, z)]
    }
}

/// What becomes of the outputs, given the inputs and what the outputs were: of one vector each. A
/// trait and no closure, because only a method is sure to be compiled into the loop.
trait Formula<const I: usize, const O: usize> {
    fn of<T: Real, S: Simd>(
        simd: S,
        given: [Vector<T, S>; I],
        before: [Vector<T, S>; O],
    ) -> [Vector<T, S>; O];
}

/// Applies a formula a vector at a time to rows of one length.
#[inline(always)]
fn in_vectors<F: Formula<I, O>, T: Real, S: Simd, const I: usize, const O: usize>(
    _: F,
    simd: S,
    inputs: [&[T]; I],
    outputs: [&mut [T]; O],
) {
    let inputs = inputs.map(|input| T::vectors(simd, input));
    let mut outputs = outputs.map(|output| T::vectors_mut(simd, output));
    let zero = T::splat(simd, T::ZERO);
    // Loops and not `map`, which the compiler leaves as calls for so many vectors.
    let (mut given, mut before) = ([zero; I], [zero; O]);
    for at in 0..inputs[0].0.len() {
        for (given, (vectors, _)) in given.iter_mut().zip(&inputs) {
            *given = vectors[at];
        }
        for (before, (vectors, _)) in before.iter_mut().zip(&outputs) {
            *before = vectors[at];
        }
        let found = F::of::<T, S>(simd, given, before);
        for ((vectors, _), found) in outputs.iter_mut().zip(found) {
            vectors[at] = found;
        }
    }
    for (given, (_, rest)) in given.iter_mut().zip(&inputs) {
        *given = T::load(simd, rest);
    }
    for (before, (_, rest)) in before.iter_mut().zip(&outputs) {
        *before = T::load(simd, rest);
    }
    let found = F::of::<T, S>(simd, given, before);
    for ((_, rest), found) in outputs.iter_mut().zip(found) {
        T::store(simd, rest, found);
    }
}

/// The blocks of `width` numbers that a row begins with.
#[inline(always)]
fn blocks<T, const N: usize>(row: &[T], width: usize) -> [&[T]; N] {
    std::array::from_fn(|block| &row[block * width..][..width])
}

#[inline(always)]
fn blocks_mut<T, const N: usize>(mut row: &mut [T], width: usize) -> [&mut [T]; N] {
    std::array::from_fn(|_| {
        let (block, rest) = std::mem::take(&mut row).split_at_mut(width);
        row = rest;
        block
    })
}

/// `1 / (1 + exp(-x))`, for f32 within 2e-7; NaN stays NaN.
#[inline(always)]
fn sigmoid<T: Real, S: Simd>(simd: S, x: Vector<T, S>) -> Vector<T, S> {
    let one = T::splat(simd, T::ONE);
    let exp = T::exponential(simd, T::minus(simd, T::splat(simd, T::ZERO), x));
    T::over(simd, one, T::plus(simd, one, exp))
}

/// `2 sigmoid(2x) - 1`, for f32 within 2e-7; NaN stays NaN.
#[inline(always)]
fn tanh<T: Real, S: Simd>(simd: S, x: Vector<T, S>) -> Vector<T, S> {
    let sigmoid = sigmoid::<T, S>(simd, T::plus(simd, x, x));
    T::minus(
        simd,
        T::plus(simd, sigmoid, sigmoid),
        T::splat(simd, T::ONE),
    )
}

#[cfg(test)]
mod tests {
    use uard_linalg::vector::{Number, vectorised};

    use super::*;

    /// `exp` has a relative error below 2e-7: three units in the last place of 1.
    const TOLERANCE: f64 = 2e-7;

    /// Sigmoid and tanh of a number in vectors.
    struct Gates(f32);

    impl Loops for Gates {
        type Output = (f32, f32);

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> (f32, f32) {
            let x = f32::splat(simd, self.0);
            let [mut left, mut right] = [[0.0]; 2];
            f32::store(simd, &mut left, sigmoid::<f32, S>(simd, x));
            f32::store(simd, &mut right, tanh::<f32, S>(simd, x));
            (left[0], right[0])
        }
    }

    #[test]
    fn gates_are_within_their_tolerance_everywhere() {
        for step in -100_000..=100_000 {
            let x = step as f32 * 1e-3;
            let exact = f64::from(x);
            let (sigmoid, tanh) = vectorised(Gates(x));
            let expected = 1.0 / (1.0 + (-exact).exp());
            assert!(
                (f64::from(sigmoid) - expected).abs() < TOLERANCE,
                "sigmoid({x})"
            );
            assert!(
                (f64::from(tanh) - exact.tanh()).abs() < TOLERANCE,
                "tanh({x})"
            );
        }
    }

    #[test]
    fn gates_saturate_and_keep_nan() {
        assert_eq!(vectorised(Gates(f32::INFINITY)).0, 1.0);
        assert_eq!(vectorised(Gates(f32::NEG_INFINITY)).1, -1.0);
        let (sigmoid, tanh) = vectorised(Gates(f32::NAN));
        assert!(sigmoid.is_nan() && tanh.is_nan());
    }
}
