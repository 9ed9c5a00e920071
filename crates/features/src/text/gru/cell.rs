//! What happens to one state at one word, and what flows back? Loops over the joint width.
//!
//! Every slice is one row. A row of *gates* is the four blocks r, z, n and q of H numbers, with
//! `q = W_hn h + b_hn`: all that the way back needs.

use super::activation::Real;

/// The next state of a caption.
///
/// ```text
/// r = σ(x_r + u_r + b_r)    z = σ(x_z + u_z + b_z)    q = u_n + b_q    n = tanh(x_n + b_n + r q)
/// state = n + z (previous - n)
/// ```
///
/// # Shapes
/// `products` = (x = W_ih x [3H], u = W_hh h [3H]), `bias` [4H] (r, z, n, q), `previous` [H],
/// `gates` [4H], `state` [H].
pub(super) fn forward<T: Real>(
    products: (&[T], &[T]),
    bias: &[T],
    previous: &[T],
    gates: &mut [T],
    state: &mut [T],
) {
    let width = previous.len();
    let [x_r, x_z, x_n] = blocks(products.0, width);
    let [u_r, u_z, u_n] = blocks(products.1, width);
    let [b_r, b_z, b_n, b_q] = blocks(bias, width);
    let [r, z, n, q] = blocks_mut(gates, width);
    let state = &mut state[..width];
    for j in 0..width {
        r[j] = T::sigmoid(x_r[j] + u_r[j] + b_r[j]);
        z[j] = T::sigmoid(x_z[j] + u_z[j] + b_z[j]);
        q[j] = u_n[j] + b_q[j];
        n[j] = T::tanh(x_n[j] + b_n[j] + r[j] * q[j]);
        state[j] = n[j] + z[j] * (previous[j] - n[j]);
    }
}

/// The gradients of a state's gates, and what goes on to the previous state beside `W_hh`.
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
/// `averaged` [H] is the gradient of the directions' average; `carry` [H] comes from the later
/// step and leaves for the earlier; `to_word` [3H] is (d a_r, d a_z, d a_n) and `to_state` [3H] is
/// (d a_r, d a_z, d u_n).
pub(super) fn backward<T: Real>(
    gates: &[T],
    previous: &[T],
    averaged: &[T],
    carry: &mut [T],
    (to_word, to_state): (&mut [T], &mut [T]),
) {
    let width = previous.len();
    let half = T::from_f64(0.5);
    let [r, z, n, q] = blocks(gates, width);
    let [w_r, w_z, w_n] = blocks_mut(to_word, width);
    let [s_r, s_z, s_n] = blocks_mut(to_state, width);
    let (averaged, carry) = (&averaged[..width], &mut carry[..width]);
    for j in 0..width {
        let d = carry[j] + half * averaged[j];
        let d_n = d * (T::ONE - z[j]) * (T::ONE - n[j] * n[j]);
        let d_z = d * (previous[j] - n[j]) * z[j] * (T::ONE - z[j]);
        let d_r = d_n * q[j] * r[j] * (T::ONE - r[j]);
        (w_r[j], w_z[j], w_n[j]) = (d_r, d_z, d_n);
        (s_r[j], s_z[j], s_n[j]) = (d_r, d_z, d_n * r[j]);
        carry[j] = d * z[j];
    }
}

/// Cuts a row into blocks whose length the compiler then knows to be `width`.
fn blocks<T, const N: usize>(row: &[T], width: usize) -> [&[T]; N] {
    std::array::from_fn(|block| &row[block * width..][..width])
}

fn blocks_mut<T, const N: usize>(mut row: &mut [T], width: usize) -> [&mut [T]; N] {
    std::array::from_fn(|_| {
        let (block, rest) = std::mem::take(&mut row).split_at_mut(width);
        row = rest;
        block
    })
}
