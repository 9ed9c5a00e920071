//! R of the queries of one side of a pair, and its gradient, under the rules without masks (scan
//! and maxsim).
//!
//! With unit rows, the cosine of a query and its attended vector needs only the query's relevance
//! row `s` and the Gram matrix `G` of the context:
//!
//! ```text
//! R = N / sqrt(Q)        N = sum_j e_j s_j        Q = e^T G e
//! ```
//!
//! where `e` are the weights before division by their sum: that denominator cancels (method §5).
//! Nothing as wide as the joint space is formed. The masked rule has its own loops, for both sides
//! at once: [`crate::operator`].

use num_traits::Float;
use uard_linalg::vector::Number;

use crate::config::WeightRule;

/// The least value of Q, to which a smaller one is raised: that is rounding error of vectors that
/// cancel, and R would be arbitrarily large.
///
/// A masked query has `Q >= N^2 >= (best relevance)^2 > t^2`, so its Q is this small only if t is
/// near zero.
pub(crate) const SMALLEST_SQUARED_LENGTH: f64 = 1e-12;

/// Slope of LeakyReLU below zero in the scan rule.
pub(crate) const SCAN_SLOPE: f64 = 0.1;

/// Added to the norm over the queries in the scan rule.
pub(crate) const SCAN_EPSILON: f64 = 1e-8;

/// One side's attention with its numbers in the precision of the tensors.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side<T> {
    /// The scan rule, with its inverse temperature.
    Scan(T),
    MaxSim,
}

/// The relevance of one pair, with a row for each query of one side, and the Gram matrix of the
/// context.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'a, T> {
    /// Relevance, row-major [queries, context].
    pub relevance: &'a [T],
    /// How many queries there are.
    pub queries: usize,
    /// How many fragments the context has.
    pub context: usize,
    /// Gram matrix of the context.
    pub gram: &'a [T],
    /// From the beginning of a row of `gram` to that of the next.
    pub stride: usize,
}

/// Buffers that are reused from pair to pair.
#[derive(Debug, Default)]
pub(crate) struct Scratch<T> {
    weights: Vec<T>,
    product: Vec<T>,
    normalized: Vec<T>,
    norms: Vec<T>,
    normalized_gradient: Vec<T>,
}

/// A query whose gradient is being computed.
struct Query<T> {
    i: usize,
    inverse_temperature: T,
    /// N.
    dot: T,
    /// Q.
    squared: T,
    upstream: T,
}

impl<T: Number> Side<T> {
    /// A rule without masks: scan with this inverse temperature, or maxsim.
    pub(crate) fn new(rule: WeightRule, inverse_temperature: T) -> Self {
        match rule {
            WeightRule::Scan => Self::Scan(inverse_temperature),
            _ => Self::MaxSim,
        }
    }

    /// The sum of R over the queries of a pair.
    pub(crate) fn forward(&self, block: &Block<'_, T>, scratch: &mut Scratch<T>) -> T {
        let Self::Scan(inverse_temperature) = *self else {
            return sum((0..block.queries).map(|i| block.best(i).1));
        };
        scratch.prepare(block);
        let mut total = T::zero();
        for i in 0..block.queries {
            let (dot, squared) = scratch.answer(block, i, inverse_temperature);
            total += dot / squared.sqrt();
        }
        total
    }

    /// Adds the gradient of `upstream * forward` to those of relevance and Gram matrix.
    pub(crate) fn backward(
        &self,
        block: &Block<'_, T>,
        upstream: T,
        gradients: &mut BlockGradients<'_, T>,
        scratch: &mut Scratch<T>,
    ) {
        let Self::Scan(inverse_temperature) = *self else {
            for i in 0..block.queries {
                gradients.relevance[i * block.context + block.best(i).0] += upstream;
            }
            return;
        };
        scratch.prepare(block);
        for i in 0..block.queries {
            let (dot, squared) = scratch.answer(block, i, inverse_temperature);
            let query = Query {
                i,
                inverse_temperature,
                dot,
                squared,
                upstream,
            };
            scratch.backward_query(block, &query, gradients);
        }
        scan_backward(block, scratch, gradients.relevance);
    }
}

impl<T: Number> Scratch<T> {
    fn prepare(&mut self, block: &Block<'_, T>) {
        self.weights.resize(block.context, T::zero());
        self.product.resize(block.context, T::zero());
        normalize_over_queries(block, self);
        self.normalized_gradient.clear();
        self.normalized_gradient
            .resize(block.relevance.len(), T::zero());
    }

    /// N and Q of query `i`; its weights and their product with the Gram matrix stay in this
    /// scratch.
    fn answer(&mut self, block: &Block<'_, T>, i: usize, inverse_temperature: T) -> (T, T) {
        let row = block.row(i);
        let weights = &mut self.weights[..block.context];
        let logits = &self.normalized[i * block.context..][..block.context];
        let best = logits.iter().copied().fold(T::neg_infinity(), Float::max);
        for (weight, &logit) in weights.iter_mut().zip(logits) {
            *weight = Float::exp(inverse_temperature * (logit - best));
        }
        let product = &mut self.product[..block.context];
        gram_times(block, weights, product);
        let dot = sum(weights.iter().zip(row).map(|(&e, &s)| e * s));
        let squared = sum(weights.iter().zip(&*product).map(|(&e, &p)| e * p));
        (
            dot,
            Float::max(squared, T::from_f64(SMALLEST_SQUARED_LENGTH)),
        )
    }

    fn backward_query(
        &mut self,
        block: &Block<'_, T>,
        query: &Query<T>,
        gradients: &mut BlockGradients<'_, T>,
    ) {
        let &Query {
            i,
            inverse_temperature,
            dot,
            squared,
            upstream,
        } = query;
        let inverse_length = upstream / squared.sqrt();
        // d R / d Q, times two because Q is quadratic in e.
        let cancelled = squared <= T::from_f64(SMALLEST_SQUARED_LENGTH);
        let by_product = if cancelled {
            T::zero()
        } else {
            -(dot / squared) * inverse_length
        };
        let row = block.row(i);
        let range = i * block.context..(i + 1) * block.context;
        let by_relevance = &mut gradients.relevance[range.clone()];
        for j in 0..block.context {
            let weight = self.weights[j];
            let by_weight = row[j] * inverse_length + self.product[j] * by_product;
            let by_logit = inverse_temperature * weight * by_weight;
            by_relevance[j] += weight * inverse_length;
            self.normalized_gradient[range.start + j] = by_logit;
            let factor = weight * by_product;
            let gram_row = &mut gradients.gram[j * block.stride..][..block.context];
            for (sum, &other) in gram_row.iter_mut().zip(&self.weights) {
                *sum += factor * other;
            }
        }
    }
}

/// Where [`Side::backward`] adds its results.
#[derive(Debug)]
pub(crate) struct BlockGradients<'a, T> {
    /// Row-major [queries, context].
    pub relevance: &'a mut [T],
    /// `dG + dG^T`, laid out as the block's Gram matrix.
    pub gram: &'a mut [T],
}

impl<T: Number> Block<'_, T> {
    fn row(&self, i: usize) -> &[T] {
        &self.relevance[i * self.context..][..self.context]
    }

    /// The first highest cell of a query.
    pub(crate) fn best(&self, i: usize) -> (usize, T) {
        let row = self.row(i);
        let mut best = (0, row[0]);
        for (j, &s) in row.iter().enumerate() {
            if s > best.1 {
                best = (j, s);
            }
        }
        best
    }
}

/// `product = G weights`; G is symmetric.
fn gram_times<T: Number>(block: &Block<'_, T>, weights: &[T], product: &mut [T]) {
    product.fill(T::zero());
    for (j, &weight) in weights.iter().enumerate() {
        let gram_row = &block.gram[j * block.stride..][..block.context];
        for (sum, &g) in product.iter_mut().zip(gram_row) {
            *sum += weight * g;
        }
    }
}

fn normalize_over_queries<T: Number>(block: &Block<'_, T>, scratch: &mut Scratch<T>) {
    scratch.normalized.clear();
    scratch
        .normalized
        .extend(block.relevance.iter().map(|&s| s * slope(s)));
    scratch.norms.clear();
    scratch.norms.resize(block.context, T::zero());
    for row in scratch.normalized.chunks_exact(block.context) {
        for (norm, &x) in scratch.norms.iter_mut().zip(row) {
            *norm += x * x;
        }
    }
    for norm in &mut scratch.norms {
        *norm = norm.sqrt();
    }
    for row in scratch.normalized.chunks_exact_mut(block.context) {
        for (x, &norm) in row.iter_mut().zip(&scratch.norms) {
            *x /= norm + T::from_f64(SCAN_EPSILON);
        }
    }
}

/// Carries the gradient of the normalised cells back to relevance.
///
/// ```text
/// y_i = l_i / (n + eps)    dl_i = dy_i / (n + eps) - y_i / n * sum_k dy_k y_k
/// ```
fn scan_backward<T: Number>(block: &Block<'_, T>, scratch: &Scratch<T>, relevance: &mut [T]) {
    for (j, &norm) in scratch.norms.iter().enumerate() {
        if norm == T::zero() {
            continue;
        }
        let cells = (0..block.queries).map(|i| i * block.context + j);
        let shared = sum(cells
            .clone()
            .map(|at| scratch.normalized_gradient[at] * scratch.normalized[at]));
        for at in cells {
            let direct = scratch.normalized_gradient[at] / (norm + T::from_f64(SCAN_EPSILON));
            let through_norm = scratch.normalized[at] / norm * shared;
            relevance[at] += (direct - through_norm) * slope(block.relevance[at]);
        }
    }
}

fn slope<T: Number>(s: T) -> T {
    if s > T::zero() {
        T::one()
    } else {
        T::from_f64(SCAN_SLOPE)
    }
}

fn sum<T: Number>(terms: impl Iterator<Item = T>) -> T {
    terms.fold(T::zero(), |total, term| total + term)
}
