//! A bidirectional GRU in scalar f64: the reference of the tests.

/// The weights of one direction, row-major.
///
/// # Shapes
/// `weight_ih` 3H rows of E, `weight_hh` 3H rows of H, `bias_ih` and `bias_hh` 3H; the blocks of
/// H rows belong to the gates r, z and n.
#[derive(Debug, Clone)]
pub struct Direction {
    /// Weights of the word.
    pub weight_ih: Vec<Vec<f64>>,
    /// Weights of the state.
    pub weight_hh: Vec<Vec<f64>>,
    /// Biases added to the products of the word.
    pub bias_ih: Vec<f64>,
    /// Biases added to the products of the state.
    pub bias_hh: Vec<f64>,
}

/// The average of both directions' states for each word of one caption.
///
/// # Shapes
/// `words` rows of E; the result has as many rows of H.
pub fn average(words: &[Vec<f64>], forward: &Direction, reverse: &Direction) -> Vec<Vec<f64>> {
    let backwards: Vec<Vec<f64>> = words.iter().rev().cloned().collect();
    let from_left = states(words, forward);
    let from_right = states(&backwards, reverse);
    from_left
        .iter()
        .zip(from_right.iter().rev())
        .map(|(left, right)| left.iter().zip(right).map(|(a, b)| (a + b) / 2.0).collect())
        .collect()
}

/// The state after each word, read in the order given, from a state of zeros.
///
/// ```text
/// r = σ(W_ir x + b_ir + W_hr h + b_hr)
/// z = σ(W_iz x + b_iz + W_hz h + b_hz)
/// n = tanh(W_in x + b_in + r (W_hn h + b_hn))
/// h' = (1 - z) n + z h
/// ```
///
/// # Source
/// `torch.nn.GRU`.
pub fn states(words: &[Vec<f64>], weights: &Direction) -> Vec<Vec<f64>> {
    let width = weights.bias_hh.len() / 3;
    let mut state = vec![0.0; width];
    let mut all = Vec::new();
    for word in words {
        let from_word = affine(&weights.weight_ih, word, &weights.bias_ih);
        let from_state = affine(&weights.weight_hh, &state, &weights.bias_hh);
        state = (0..width)
            .map(|j| {
                let r = sigmoid(from_word[j] + from_state[j]);
                let z = sigmoid(from_word[width + j] + from_state[width + j]);
                let n = (from_word[2 * width + j] + r * from_state[2 * width + j]).tanh();
                (1.0 - z) * n + z * state[j]
            })
            .collect();
        all.push(state.clone());
    }
    all
}

fn affine(rows: &[Vec<f64>], x: &[f64], bias: &[f64]) -> Vec<f64> {
    rows.iter()
        .zip(bias)
        .map(|(row, b)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b)
        .collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
