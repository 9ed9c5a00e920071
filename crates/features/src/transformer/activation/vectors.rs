//! Activations of many f32 numbers in vectors, all by one exponential function.
//!
//! ```text
//! gates       x σ(g) = x / (1 + e^-g)
//! Φ(-|x|)   = e^(-x²/2) t (a1 + t (a2 + …)) / 2,   t = 1 / (1 + p |x| / √2)
//! ```
//!
//! # Source
//! Φ by formula 7.1.26 of Abramowitz and Stegun, *Handbook of Mathematical Functions*, 1964, whose
//! error is below 1.5e-7 in erf: about one unit in the last place of an f32 near one.

use uard_linalg::vector::{Loops, Number, Simd, Vector};

use super::{Activation, CUBIC, QUICK, ROOT_OF_TWO_OVER_PI};

/// The coefficients a1 to a5 of the formula.
const COEFFICIENTS: [f64; 5] = [
    0.254_829_592,
    -0.284_496_736,
    1.421_413_741,
    -1.453_152_027,
    1.061_405_429,
];

/// The p of the formula.
const STEP: f64 = 0.327_591_1;

/// Replaces every number by its activation.
#[derive(Debug)]
pub(super) struct ActivateInPlace<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) activation: Activation,
}

impl Loops for ActivateInPlace<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.activation {
            Activation::Gelu => each(simd, self.values, |x| gelu(simd, x)),
            Activation::GeluNew => each(simd, self.values, |x| {
                // (1 + tanh(u)) / 2 = σ(2 u)
                let square = f32::times(simd, x, x);
                let linear = splat(simd, 2.0 * ROOT_OF_TWO_OVER_PI);
                let cubic = splat(simd, 2.0 * ROOT_OF_TWO_OVER_PI * CUBIC);
                let factor = f32::times_plus(simd, square, cubic, linear);
                gated(simd, x, f32::times(simd, x, factor))
            }),
            Activation::QuickGelu => each(simd, self.values, |x| {
                gated(simd, x, f32::times(simd, x, splat(simd, QUICK)))
            }),
            Activation::Silu => each(simd, self.values, |x| gated(simd, x, x)),
            Activation::Relu => each(simd, self.values, |x| {
                let zero = splat(simd, 0.0);
                f32::where_greater(simd, x, zero, x, zero)
            }),
        }
    }
}

/// Replaces every number x by `value(x)`.
#[inline(always)]
fn each<S: Simd>(simd: S, values: &mut [f32], value: impl Fn(Vector<f32, S>) -> Vector<f32, S>) {
    let (values, rest) = f32::vectors_mut(simd, values);
    for x in values {
        *x = value(*x);
    }
    let end = value(f32::load(simd, rest));
    f32::store(simd, rest, end);
}

#[inline(always)]
fn splat<S: Simd>(simd: S, number: f64) -> Vector<f32, S> {
    f32::splat(simd, number as f32)
}

/// `x σ(gate)`
#[inline(always)]
fn gated<S: Simd>(simd: S, x: Vector<f32, S>, gate: Vector<f32, S>) -> Vector<f32, S> {
    let closed = f32::exponential(simd, f32::minus(simd, splat(simd, 0.0), gate));
    f32::over(simd, x, f32::plus(simd, splat(simd, 1.0), closed))
}

/// `x Φ(x)`
#[inline(always)]
fn gelu<S: Simd>(simd: S, x: Vector<f32, S>) -> Vector<f32, S> {
    let (zero, one) = (splat(simd, 0.0), splat(simd, 1.0));
    let size = f32::where_greater(simd, x, zero, x, f32::minus(simd, zero, x));
    let step = splat(simd, STEP * std::f64::consts::FRAC_1_SQRT_2);
    let t = f32::over(simd, one, f32::times_plus(simd, size, step, one));
    let mut sum = zero;
    for coefficient in COEFFICIENTS.into_iter().rev() {
        sum = f32::times_plus(simd, sum, t, splat(simd, coefficient));
    }
    let exponent = f32::times(simd, f32::times(simd, size, size), splat(simd, -0.5));
    let bell = f32::times(simd, f32::exponential(simd, exponent), splat(simd, 0.5));
    let below = f32::times(simd, f32::times(simd, sum, t), bell);
    let share = f32::where_greater(simd, x, zero, f32::minus(simd, one, below), below);
    f32::times(simd, x, share)
}
