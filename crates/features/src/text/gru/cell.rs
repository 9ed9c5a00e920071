//! What happens to the states at one time step, and what flows back? Vectors over the joint width.
//!
//! A row of *gates* is the four blocks r, z, n and q of H numbers, with `q = W_hn h + b_hn`: all
//! that the way back needs.

use uard_linalg::vector::{Loops, Simd, Vector};

use super::activation::{Real, sigmoid, tanh};

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
    pub reads: &'a [usize],
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
        let bias = blocks::<T, S, 4>(simd, self.bias, width);
        let products = self.reads.iter().zip(self.states.chunks_exact(3 * width));
        let states = self.next.chunks_exact_mut(width);
        let states = states.zip(self.previous.chunks_exact(width));
        let gates = self.gates.chunks_exact_mut(4 * width);
        for ((gates, (read, states)), (next, previous)) in gates.zip(products).zip(states) {
            let inputs = Inputs {
                words: blocks(simd, &self.words[3 * width * read..], width),
                states: blocks(simd, states, width),
                bias,
                previous: T::vectors(simd, previous),
            };
            let [r, z, n, q] = blocks_mut::<T, S, 4>(simd, gates, width);
            let (next, next_rest) = T::vectors_mut(simd, next);
            for at in 0..next.len() {
                let found = inputs.next(simd, |(vectors, _)| vectors[at]);
                (r.0[at], z.0[at], n.0[at], q.0[at]) = (found[0], found[1], found[2], found[3]);
                next[at] = found[4];
            }
            let found = inputs.next(simd, |(_, rest)| T::load(simd, rest));
            for (rest, found) in [r.1, z.1, n.1, q.1, next_rest].into_iter().zip(found) {
                T::store(simd, rest, found);
            }
        }
    }
}

/// Whole vectors of a row's block, and the numbers left over.
type Block<'a, T, S> = (&'a [Vector<T, S>], &'a [T]);

/// As [`Block`], to be written.
type BlockMut<'a, T, S> = (&'a mut [Vector<T, S>], &'a mut [T]);

/// What the next state of a caption comes from.
struct Inputs<'a, T: Real, S: Simd> {
    words: [Block<'a, T, S>; 3],
    states: [Block<'a, T, S>; 3],
    bias: [Block<'a, T, S>; 4],
    previous: Block<'a, T, S>,
}

impl<T: Real, S: Simd> Inputs<'_, T, S> {
    /// r, z, n, q and the next state of one vector, which `take` takes out of each block.
    #[inline(always)]
    fn next(&self, simd: S, take: impl Fn(Block<'_, T, S>) -> Vector<T, S>) -> [Vector<T, S>; 5] {
        let [x_r, x_z, x_n] = self.words.map(&take);
        let [u_r, u_z, u_n] = self.states.map(&take);
        let [b_r, b_z, b_n, b_q] = self.bias.map(&take);
        let previous = take(self.previous);
        let add = |a, b| T::plus(simd, a, b);
        let r = sigmoid::<T, S>(simd, add(add(x_r, u_r), b_r));
        let z = sigmoid::<T, S>(simd, add(add(x_z, u_z), b_z));
        let q = add(u_n, b_q);
        let n = tanh::<T, S>(simd, T::times_plus(simd, r, q, add(x_n, b_n)));
        let state = T::times_plus(simd, z, T::minus(simd, previous, n), n);
        [r, z, n, q, state]
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
/// to the row [3H] in `to_words` of the word that was read. `averaged` are the padded rows of the
/// gradient of the directions' average. `reads` holds the word and the padded row of each caption.
pub(super) struct Backward<'a, T> {
    pub gates: &'a [T],
    pub previous: &'a [T],
    pub averaged: &'a [T],
    pub reads: &'a [(usize, usize)],
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
        let to_states = self.to_states.chunks_exact_mut(3 * width);
        let carry = self.carry.chunks_exact_mut(width).zip(self.reads);
        for (((gates, previous), to_states), (carry, read)) in trace.zip(to_states).zip(carry) {
            let (word, padded) = *read;
            let outputs = Outputs {
                gates: blocks(simd, gates, width),
                previous: T::vectors(simd, previous),
                averaged: T::vectors(simd, &self.averaged[padded * width..][..width]),
            };
            let to_word = &mut self.to_words[3 * width * word..][..3 * width];
            let [w_r, w_z, w_n] = blocks_mut::<T, S, 3>(simd, to_word, width);
            let [s_r, s_z, s_n] = blocks_mut::<T, S, 3>(simd, to_states, width);
            let add = |sum: &mut Vector<T, S>, x| *sum = T::plus(simd, *sum, x);
            let (carry, carry_rest) = T::vectors_mut(simd, carry);
            for at in 0..carry.len() {
                let found = outputs.gradients(simd, carry[at], |(vectors, _)| vectors[at]);
                add(&mut w_r.0[at], found[0]);
                add(&mut w_z.0[at], found[1]);
                add(&mut w_n.0[at], found[2]);
                (s_r.0[at], s_z.0[at], s_n.0[at]) = (found[0], found[1], found[3]);
                carry[at] = found[4];
            }
            let later = T::load(simd, carry_rest);
            let [r, z, n, q, on] = outputs.gradients(simd, later, |(_, rest)| T::load(simd, rest));
            for (rest, found) in [w_r.1, w_z.1, w_n.1].into_iter().zip([r, z, n]) {
                let sum = T::plus(simd, T::load(simd, rest), found);
                T::store(simd, rest, sum);
            }
            let rests = [s_r.1, s_z.1, s_n.1, carry_rest];
            for (rest, found) in rests.into_iter().zip([r, z, q, on]) {
                T::store(simd, rest, found);
            }
        }
    }
}

/// What the gradients of a caption's gates come from.
struct Outputs<'a, T: Real, S: Simd> {
    gates: [Block<'a, T, S>; 4],
    previous: Block<'a, T, S>,
    averaged: Block<'a, T, S>,
}

impl<T: Real, S: Simd> Outputs<'_, T, S> {
    /// d a_r, d a_z, d a_n, d u_n and what goes on, of one vector; `later` came from the later step.
    #[inline(always)]
    fn gradients(
        &self,
        simd: S,
        later: Vector<T, S>,
        take: impl Fn(Block<'_, T, S>) -> Vector<T, S>,
    ) -> [Vector<T, S>; 5] {
        let [r, z, n, q] = self.gates.map(&take);
        let (previous, averaged) = (take(self.previous), take(self.averaged));
        let one = T::splat(simd, T::ONE);
        let mul = |a, b| T::times(simd, a, b);
        let rest = |a| T::minus(simd, one, a);
        let d = T::times_plus(simd, T::splat(simd, T::from_f64(0.5)), averaged, later);
        let to_n = mul(mul(d, rest(z)), rest(mul(n, n)));
        let to_z = mul(mul(d, T::minus(simd, previous, n)), mul(z, rest(z)));
        let to_r = mul(mul(to_n, q), mul(r, rest(r)));
        [to_r, to_z, to_n, mul(to_n, r), mul(d, z)]
    }
}

/// Cuts a row into blocks of `width` numbers.
#[inline(always)]
fn blocks<T: Real, S: Simd, const N: usize>(
    simd: S,
    row: &[T],
    width: usize,
) -> [Block<'_, T, S>; N] {
    std::array::from_fn(|block| T::vectors(simd, &row[block * width..][..width]))
}

#[inline(always)]
fn blocks_mut<T: Real, S: Simd, const N: usize>(
    simd: S,
    mut row: &mut [T],
    width: usize,
) -> [BlockMut<'_, T, S>; N] {
    std::array::from_fn(|_| {
        let (block, rest) = std::mem::take(&mut row).split_at_mut(width);
        row = rest;
        T::vectors_mut(simd, block)
    })
}
