//! The similarity of one pair in scalar loops in f64 that follow the formulas and form every
//! attended vector.
//!
//! It is slow and plain on purpose: every other way to the similarity is tested against it. It
//! imports nothing but std.

/// The attention of one side: how relevance becomes weights, and R of a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Attention {
    /// `w_ij ∝ 1[s_ij > threshold] exp(inverse_temperature s_ij)`; R of a query whose best
    /// relevance is not above the threshold is 0.
    Masked {
        /// Relevance above it is kept.
        threshold: f64,
        /// Multiplies the logits.
        inverse_temperature: f64,
    },
    /// As `Masked`, but R of a query whose best relevance is not above the threshold is that
    /// relevance.
    Nearest {
        /// Relevance above it is kept.
        threshold: f64,
        /// Multiplies the logits.
        inverse_temperature: f64,
    },
    /// LeakyReLU(0.1) of relevance, divided by its L2 norm over the queries, then softmax; no
    /// masks.
    Scan {
        /// Multiplies the logits.
        inverse_temperature: f64,
    },
    /// R of a query is its highest relevance.
    MaxSim,
}

/// Divides each row by its length; a zero row stays zero. It is first divided by its largest
/// magnitude, so that no square leaves the range of f64.
pub fn unit_rows(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    rows.iter()
        .map(|row| {
            let largest = row.iter().copied().map(f64::abs).fold(0.0, f64::max);
            let divisor = if largest > 0.0 { largest } else { 1.0 };
            let row: Vec<f64> = row.iter().map(|x| x / divisor).collect();
            let length = dot(&row, &row).sqrt();
            let divisor = if length == 0.0 { 1.0 } else { length };
            row.iter().map(|x| x / divisor).collect()
        })
        .collect()
}

/// Cosines of unit rows: `relevance[query][context]`.
pub fn relevance(queries: &[Vec<f64>], context: &[Vec<f64>]) -> Vec<Vec<f64>> {
    queries
        .iter()
        .map(|query| context.iter().map(|other| dot(query, other)).collect())
        .collect()
}

/// Attention weights of each query over the context; a row of zeros where nothing is kept.
pub fn weights(relevance: &[Vec<f64>], attention: Attention) -> Vec<Vec<f64>> {
    match attention {
        Attention::Masked {
            threshold,
            inverse_temperature,
        }
        | Attention::Nearest {
            threshold,
            inverse_temperature,
        } => relevance
            .iter()
            .map(|row| softmax_where(row, |s| s > threshold, |j| inverse_temperature * row[j]))
            .collect(),
        Attention::Scan {
            inverse_temperature,
        } => {
            let normalized = normalize_over_queries(relevance);
            normalized
                .iter()
                .map(|row| softmax_where(row, |_| true, |j| inverse_temperature * row[j]))
                .collect()
        }
        Attention::MaxSim => relevance.iter().map(|row| first_maximum(row)).collect(),
    }
}

/// What one side adds to the similarity of a pair: the mean of R over **all** its queries. NaN if
/// any relevance is not finite.
///
/// ```text
/// 1/m sum_i Mask_q( cos( sum_j w_ij v_j , u_i ) )
/// ```
///
/// # Source
/// UARDA, equation of S(U,V); SCAN for its rule; the mean is over all queries, also those
/// with nothing above the threshold.
pub fn one_side(queries: &[Vec<f64>], context: &[Vec<f64>], attention: Attention) -> f64 {
    let relevance = relevance(queries, context);
    if relevance.iter().flatten().any(|s| !s.is_finite()) {
        return f64::NAN;
    }
    let weights = weights(&relevance, attention);
    let mut sum = 0.0;
    for (i, query) in queries.iter().enumerate() {
        let highest = relevance[i]
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        sum += match attention {
            Attention::MaxSim => highest,
            Attention::Nearest { threshold, .. } if highest <= threshold => highest,
            _ => cosine(&attend(&weights[i], context), query),
        };
    }
    sum / queries.len() as f64
}

/// The similarity of a pair: what the words as queries add, plus what the regions as queries add;
/// zero for a side without attention.
pub fn similarity(
    regions: &[Vec<f64>],
    words: &[Vec<f64>],
    words_ask: Option<Attention>,
    regions_ask: Option<Attention>,
) -> f64 {
    words_ask.map_or(0.0, |attention| one_side(words, regions, attention))
        + regions_ask.map_or(0.0, |attention| one_side(regions, words, attention))
}

/// The weighted sum of context rows.
pub fn attend(weights: &[f64], context: &[Vec<f64>]) -> Vec<f64> {
    let mut attended = vec![0.0; context.first().map_or(0, Vec::len)];
    for (weight, row) in weights.iter().zip(context) {
        for (sum, x) in attended.iter_mut().zip(row) {
            *sum += weight * x;
        }
    }
    attended
}

/// Cosine of two vectors; zero when either is zero.
pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 {
        dot(a, b) / lengths
    } else {
        0.0
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// The softmax of the logits of the cells that are kept; zero for all others.
fn softmax_where(
    row: &[f64],
    keep: impl Fn(f64) -> bool,
    logit: impl Fn(usize) -> f64,
) -> Vec<f64> {
    let kept: Vec<usize> = (0..row.len()).filter(|&j| keep(row[j])).collect();
    let largest = kept
        .iter()
        .map(|&j| logit(j))
        .fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = kept.iter().map(|&j| (logit(j) - largest).exp()).sum();
    let mut weights = vec![0.0; row.len()];
    for &j in &kept {
        weights[j] = (logit(j) - largest).exp() / sum;
    }
    weights
}

/// LeakyReLU(0.1) of relevance, each column divided by its norm.
fn normalize_over_queries(relevance: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let leaky = |s: f64| if s > 0.0 { s } else { 0.1 * s };
    let mut rows: Vec<Vec<f64>> = relevance
        .iter()
        .map(|row| row.iter().map(|&s| leaky(s)).collect())
        .collect();
    for j in 0..rows.first().map_or(0, Vec::len) {
        let norm = rows.iter().map(|row| row[j] * row[j]).sum::<f64>().sqrt() + 1e-8;
        for row in &mut rows {
            row[j] /= norm;
        }
    }
    rows
}

/// 1 for the first highest cell, 0 for all others.
fn first_maximum(row: &[f64]) -> Vec<f64> {
    let mut best = 0;
    for (j, &s) in row.iter().enumerate() {
        if s > row[best] {
            best = j;
        }
    }
    (0..row.len())
        .map(|j| if j == best { 1.0 } else { 0.0 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASKED: Attention = Attention::Masked {
        threshold: 0.3,
        inverse_temperature: 10.0,
    };

    #[test]
    fn a_pair_below_the_threshold_has_similarity_exactly_zero() {
        let regions = vec![vec![1.0, 0.0]];
        let words = vec![vec![0.2, (1.0f64 - 0.04).sqrt()]];
        assert_eq!(
            similarity(&regions, &words, Some(MASKED), Some(MASKED)),
            0.0
        );
    }

    #[test]
    fn under_nearest_a_query_below_the_threshold_adds_its_highest_relevance() {
        let context = vec![vec![0.2, 0.0], vec![-0.1, 0.0]];
        let queries = vec![vec![1.0, 0.0], vec![0.0, 1.0], vec![-1.0, 0.0]];
        let nearest = Attention::Nearest {
            threshold: 0.3,
            inverse_temperature: 10.0,
        };
        let found = one_side(&queries, &context, nearest);
        assert!((found - (0.2 + 0.0 + 0.1) / 3.0).abs() < 1e-12, "{found}");
        assert_eq!(one_side(&queries, &context, MASKED), 0.0);
    }

    #[test]
    fn two_equal_regions_share_the_weight() {
        let relevance = vec![vec![0.5, 0.5, 0.1]];
        assert_eq!(weights(&relevance, MASKED), [[0.5, 0.5, 0.0]]);
    }

    #[test]
    fn a_relevance_equal_to_the_threshold_is_masked() {
        assert_eq!(weights(&[vec![0.3]], MASKED), [[0.0]]);
    }

    #[test]
    fn the_mean_counts_queries_with_nothing_above_the_threshold() {
        let context = vec![vec![1.0, 0.0]];
        let queries = vec![vec![1.0, 0.0], vec![0.0, 1.0]];
        assert_eq!(one_side(&queries, &context, MASKED), 0.5);
    }

    #[test]
    fn with_one_query_scan_divides_each_cell_by_its_own_magnitude() {
        let weights = weights(
            &[vec![0.5, -0.5]],
            Attention::Scan {
                inverse_temperature: 9.0,
            },
        );
        // Cells become 1 and -1 (up to 1e-8): softmax of 9 and -9.
        assert!((weights[0][0] - 1.0 / (1.0 + (-18f64).exp())).abs() < 1e-6);
    }
}
