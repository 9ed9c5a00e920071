//! What does one side add for one pair under a rule without masks, and how does that change with
//! its inputs?
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
pub(crate) use uard_core::slices::Real;

use crate::config::{MatcherConfig, QuerySide, WeightRule};

/// Below it, Q is rounding error of vectors that cancel; R is then bounded instead of wild.
///
/// A masked query has `Q >= N^2 >= (best relevance)^2 > t^2` and does not come near unless t does.
pub(crate) const SMALLEST_SQUARED_LENGTH: f64 = 1e-12;

/// Slope of LeakyReLU below zero in the scan rule.
pub(crate) const SCAN_SLOPE: f64 = 0.1;

/// Added to the norm over the queries in the scan rule.
pub(crate) const SCAN_EPSILON: f64 = 1e-8;

/// One side's attention with its numbers in the precision of the tensors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side<T> {
    rule: Rule,
    inverse_temperature: T,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    Scan,
    MaxSim,
}

/// Relevance of one pair as one side sees it, and the Gram matrix of what it looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'a, T> {
    /// Relevance, row-major [queries, context].
    pub relevance: &'a [T],
    /// Queries that ask.
    pub queries: usize,
    /// Fragments looked at.
    pub context: usize,
    /// Gram matrix of the context, `stride` apart from row to row.
    pub gram: &'a [T],
    /// Row length of `gram`.
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

impl<T: Real> Side<T> {
    /// Nothing for the rules with masks.
    pub(crate) fn new(config: &MatcherConfig, side: QuerySide) -> Option<Self> {
        let rule = match config.rule {
            WeightRule::Masked | WeightRule::Nearest | WeightRule::Zero => return None,
            WeightRule::Scan => Rule::Scan,
            WeightRule::MaxSim => Rule::MaxSim,
        };
        Some(Self {
            rule,
            inverse_temperature: T::from_f64(config.inverse_temperature(side)),
        })
    }

    /// The sum of R over the queries of a pair.
    pub(crate) fn forward(&self, block: &Block<'_, T>, scratch: &mut Scratch<T>) -> T {
        if let Rule::MaxSim = self.rule {
            return sum((0..block.queries).map(|i| block.best(i).1));
        }
        self.prepare(block, scratch);
        let mut total = T::zero();
        for i in 0..block.queries {
            let (dot, squared) = self.answer(block, i, scratch);
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
        if let Rule::MaxSim = self.rule {
            for i in 0..block.queries {
                gradients.relevance[i * block.context + block.best(i).0] += upstream;
            }
            return;
        }
        self.prepare(block, scratch);
        for i in 0..block.queries {
            let answer = self.answer(block, i, scratch);
            self.backward_query(block, (i, answer, upstream), gradients, scratch);
        }
        scan_backward(block, scratch, gradients.relevance);
    }

    fn prepare(&self, block: &Block<'_, T>, scratch: &mut Scratch<T>) {
        scratch.weights.resize(block.context, T::zero());
        scratch.product.resize(block.context, T::zero());
        normalize_over_queries(block, scratch);
        scratch.normalized_gradient.clear();
        scratch
            .normalized_gradient
            .resize(block.relevance.len(), T::zero());
    }

    /// N and Q of query `i`, with its weights and their product with the Gram matrix left in
    /// `scratch`.
    fn answer(&self, block: &Block<'_, T>, i: usize, scratch: &mut Scratch<T>) -> (T, T) {
        let row = block.row(i);
        let weights = &mut scratch.weights[..block.context];
        let logits = &scratch.normalized[i * block.context..][..block.context];
        let best = logits.iter().copied().fold(T::neg_infinity(), Float::max);
        for (weight, &logit) in weights.iter_mut().zip(logits) {
            *weight = Float::exp(self.inverse_temperature * (logit - best));
        }
        let product = &mut scratch.product[..block.context];
        gram_times(block, weights, product);
        let dot = sum(weights.iter().zip(row).map(|(&e, &s)| e * s));
        let squared = sum(weights.iter().zip(&*product).map(|(&e, &p)| e * p));
        (
            dot,
            Float::max(squared, T::from_f64(SMALLEST_SQUARED_LENGTH)),
        )
    }

    fn backward_query(
        &self,
        block: &Block<'_, T>,
        (i, (dot, squared), upstream): (usize, (T, T), T),
        gradients: &mut BlockGradients<'_, T>,
        scratch: &mut Scratch<T>,
    ) {
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
            let weight = scratch.weights[j];
            let by_weight = row[j] * inverse_length + scratch.product[j] * by_product;
            let by_logit = self.inverse_temperature * weight * by_weight;
            by_relevance[j] += weight * inverse_length;
            scratch.normalized_gradient[range.start + j] = by_logit;
            let factor = weight * by_product;
            let gram_row = &mut gradients.gram[j * block.stride..][..block.context];
            for (sum, &other) in gram_row.iter_mut().zip(&scratch.weights) {
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

impl<T: Real> Block<'_, T> {
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
fn gram_times<T: Real>(block: &Block<'_, T>, weights: &[T], product: &mut [T]) {
    product.fill(T::zero());
    for (j, &weight) in weights.iter().enumerate() {
        let gram_row = &block.gram[j * block.stride..][..block.context];
        for (sum, &g) in product.iter_mut().zip(gram_row) {
            *sum += weight * g;
        }
    }
}

fn normalize_over_queries<T: Real>(block: &Block<'_, T>, scratch: &mut Scratch<T>) {
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
fn scan_backward<T: Real>(block: &Block<'_, T>, scratch: &Scratch<T>, relevance: &mut [T]) {
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

fn slope<T: Real>(s: T) -> T {
    if s > T::zero() {
        T::one()
    } else {
        T::from_f64(SCAN_SLOPE)
    }
}

fn sum<T: Real>(terms: impl Iterator<Item = T>) -> T {
    terms.fold(T::zero(), |total, term| total + term)
}
