//! The gates of one time step on the CPU, and their gradients, in vectors over the joint width.
//!
//! A row of *gates* is the four blocks r, z, n and q of H numbers each, with `q = W_hn h + b_hn`:
//! the backward pass needs only these and the states.

use uard_linalg::vector::{Loops, Number, Simd, Vector};

/// Computes the gates and the next states of the captions of one step. In the formulas, x are the
/// blocks of a row of `from_words`, u those of `from_states` and b those of `bias`.
///
/// ```text
/// r = σ(x_r + u_r + b_r)    z = σ(x_z + u_z + b_z)    q = u_n + b_q    n = tanh(x_n + b_n + r q)
/// state = n + z (previous - n)
/// ```
///
/// # Shapes
/// A row for each caption: `from_states` = W_hh h [3H], `previous` [H], `gates` [4H], `next` [H].
/// `bias` is [4H] (r, z, n, q). `from_words` has a row W_ih x [3H] for each distinct word, and `words`
/// the index of each caption's word among them.
pub(super) struct ForwardStep<'a, T> {
    pub from_words: &'a [T],
    pub words: &'a [u32],
    pub from_states: &'a [T],
    pub bias: &'a [T],
    pub previous: &'a [T],
    pub gates: &'a mut [T],
    pub next: &'a mut [T],
}

impl<T: Number> Loops for ForwardStep<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.bias.len() / 4;
        let [b_r, b_z, b_n, b_q] = blocks(self.bias, width);
        let states = self.from_states.chunks_exact(3 * width);
        let states = states.zip(self.previous.chunks_exact(width));
        let gates = self.gates.chunks_exact_mut(4 * width);
        let gates = gates.zip(self.next.chunks_exact_mut(width));
        for ((word, (states, previous)), (gates, next)) in self.words.iter().zip(states).zip(gates)
        {
            let [x_r, x_z, x_n] = blocks(&self.from_words[*word as usize * 3 * width..], width);
            let [u_r, u_z, u_n] = blocks(states, width);
            let [r, z, n, q] = blocks_mut(gates, width);
            let inputs = [x_r, x_z, x_n, u_r, u_z, u_n, b_r, b_z, b_n, b_q, previous];
            in_vectors(NextState, simd, inputs, [r, z, n, q, next]);
        }
    }
}

struct NextState;

impl Formula<11, 5> for NextState {
    /// Returns r, z, n, q and the next state.
    #[inline(always)]
    fn apply<T: Number, S: Simd>(
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

/// Computes the gradients of a step's gates, and the part of the previous states' gradient that does
/// not pass through `W_hh` (`carry`).
///
/// With `d` the gradient of the next state, `d a_g` that of the argument of σ or tanh in the
/// formula of gate g, and `d u_n` that of u_n, as in [`ForwardStep`]:
///
/// ```text
/// d a_n = d (1 - z) (1 - n²)          d u_n = d a_n r
/// d a_z = d (previous - n) z (1 - z)  d a_r = d a_n q r (1 - r)
/// carry' = d z
/// ```
///
/// # Shapes
/// A row for each caption: `gates` [4H]; `previous` [H]; `carry` [H], on entry the value from the
/// later step, on return the value for the earlier one; `to_states` [3H], set to
/// `(d a_r, d a_z, d u_n)`. `to_words` has a row [3H] for each distinct word:
/// `(d a_r, d a_z, d a_n)` is added to the row of the caption's word, whose index is in `words`.
/// `averaged` has a padded row [H] for each word of the batch, the gradient of the average of both
/// directions; the index of the caption's row is in `padded_rows`.
pub(super) struct BackwardStep<'a, T> {
    pub gates: &'a [T],
    pub previous: &'a [T],
    pub averaged: &'a [T],
    pub words: &'a [u32],
    pub padded_rows: &'a [u32],
    pub carry: &'a mut [T],
    pub to_words: &'a mut [T],
    pub to_states: &'a mut [T],
    pub width: usize,
}

impl<T: Number> Loops for BackwardStep<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.width;
        let trace = self.gates.chunks_exact(4 * width);
        let trace = trace.zip(self.previous.chunks_exact(width));
        let found = self.to_states.chunks_exact_mut(3 * width);
        let found = found.zip(self.carry.chunks_exact_mut(width));
        let words = self.words.iter().zip(self.padded_rows);
        for (((word, row), (gates, previous)), (to_states, carry)) in words.zip(trace).zip(found) {
            let [r, z, n, q] = blocks(gates, width);
            let averaged = &self.averaged[*row as usize * width..][..width];
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
    /// Returns the word's sums of d a_r, d a_z and d a_n, to which those of this caption are added;
    /// then this caption's d a_r, d a_z and d u_n; and the carry for the earlier step. `later` is
    /// the carry from the later step.
    #[inline(always)]
    fn apply<T: Number, S: Simd>(
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

/// A formula for one vector of each output, from one vector of each input and the outputs' earlier
/// values. It is a trait and not a closure, because only a method is sure to be inlined into the
/// loop.
trait Formula<const I: usize, const O: usize> {
    fn apply<T: Number, S: Simd>(
        simd: S,
        inputs: [Vector<T, S>; I],
        before: [Vector<T, S>; O],
    ) -> [Vector<T, S>; O];
}

/// Applies a formula to rows of equal length, one vector at a time.
#[inline(always)]
fn in_vectors<F: Formula<I, O>, T: Number, S: Simd, const I: usize, const O: usize>(
    _: F,
    simd: S,
    inputs: [&[T]; I],
    outputs: [&mut [T]; O],
) {
    let inputs = inputs.map(|input| T::vectors(simd, input));
    let mut outputs = outputs.map(|output| T::vectors_mut(simd, output));
    let zero = T::splat(simd, T::ZERO);
    // Loops instead of `map`, whose calls the compiler does not inline for so many vectors.
    let (mut given, mut before) = ([zero; I], [zero; O]);
    for at in 0..inputs[0].0.len() {
        for (given, (vectors, _)) in given.iter_mut().zip(&inputs) {
            *given = vectors[at];
        }
        for (before, (vectors, _)) in before.iter_mut().zip(&outputs) {
            *before = vectors[at];
        }
        let found = F::apply::<T, S>(simd, given, before);
        for ((vectors, _), found) in outputs.iter_mut().zip(found) {
            vectors[at] = found;
        }
    }
    // The last numbers of the rows, fewer than a vector.
    for (given, (_, rest)) in given.iter_mut().zip(&inputs) {
        *given = T::load(simd, rest);
    }
    for (before, (_, rest)) in before.iter_mut().zip(&outputs) {
        *before = T::load(simd, rest);
    }
    let found = F::apply::<T, S>(simd, given, before);
    for ((_, rest), found) in outputs.iter_mut().zip(found) {
        T::store(simd, rest, found);
    }
}

/// The first N blocks of `width` numbers of a row.
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
fn sigmoid<T: Number, S: Simd>(simd: S, x: Vector<T, S>) -> Vector<T, S> {
    let one = T::splat(simd, T::ONE);
    let exp = T::exponential(simd, T::minus(simd, T::splat(simd, T::ZERO), x));
    T::over(simd, one, T::plus(simd, one, exp))
}

/// `2 sigmoid(2x) - 1`, for f32 within 2e-7; NaN stays NaN.
#[inline(always)]
fn tanh<T: Number, S: Simd>(simd: S, x: Vector<T, S>) -> Vector<T, S> {
    let sigmoid = sigmoid::<T, S>(simd, T::plus(simd, x, x));
    T::minus(
        simd,
        T::plus(simd, sigmoid, sigmoid),
        T::splat(simd, T::ONE),
    )
}

#[cfg(test)]
mod tests {
    use uard_linalg::vector::vectorised;

    use super::*;

    /// `exp` has a relative error below 2e-7: three units in the last place of 1.
    const TOLERANCE: f64 = 2e-7;

    /// Computes sigmoid and tanh of a number in vectors.
    struct SigmoidAndTanh(f32);

    impl Loops for SigmoidAndTanh {
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
    fn sigmoid_and_tanh_are_within_their_tolerance_everywhere() {
        for step in -100_000..=100_000 {
            let x = step as f32 * 1e-3;
            let exact = f64::from(x);
            let (sigmoid, tanh) = vectorised(SigmoidAndTanh(x));
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
    fn sigmoid_and_tanh_saturate_and_keep_nan() {
        assert_eq!(vectorised(SigmoidAndTanh(f32::INFINITY)).0, 1.0);
        assert_eq!(vectorised(SigmoidAndTanh(f32::NEG_INFINITY)).1, -1.0);
        let (sigmoid, tanh) = vectorised(SigmoidAndTanh(f32::NAN));
        assert!(sigmoid.is_nan() && tanh.is_nan());
    }
}
