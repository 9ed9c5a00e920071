//! What can vectors of f32 and of f64 do? The same operations under one name.

use std::fmt::Debug;

use pulp::Simd;
use pulp::bytemuck;

use super::exponential::{COEFFICIENTS, LN_2_HIGH, LN_2_LOW, ROUNDING};
use crate::product::Factor;

/// Numbers of one vector.
pub type Vector<T, S> = <T as Number>::Vector<S>;

/// A number that comes in vectors: `f32`, or `f64` for proofs.
pub trait Number: Factor + PartialOrd + Debug {
    /// As many numbers as fit a register of `S`.
    type Vector<S: Simd>: Copy + Debug;

    /// Whole vectors of a slice, and the numbers left over.
    fn vectors<S: Simd>(simd: S, numbers: &[Self]) -> (&[Self::Vector<S>], &[Self]);

    /// As [`Number::vectors`], to be written.
    fn vectors_mut<S: Simd>(simd: S, numbers: &mut [Self])
    -> (&mut [Self::Vector<S>], &mut [Self]);

    /// Fewer numbers than a vector has; the others are zero.
    fn load<S: Simd>(simd: S, numbers: &[Self]) -> Self::Vector<S>;

    /// The first numbers of a vector into a shorter slice.
    fn store<S: Simd>(simd: S, numbers: &mut [Self], vector: Self::Vector<S>);

    /// The same number everywhere.
    fn splat<S: Simd>(simd: S, number: Self) -> Self::Vector<S>;

    /// `a + b`
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// `a - b`
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// `a b`
    fn times<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// `a / b`
    fn over<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// The square root.
    fn root<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;

    /// `a b + c`, fused where the instruction set has it.
    fn times_plus<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;

    /// `then` where the first of the compared is greater, `otherwise` elsewhere and where either is NaN.
    fn where_greater<S: Simd>(
        simd: S,
        compared: (Self::Vector<S>, Self::Vector<S>),
        then: Self::Vector<S>,
        otherwise: Self::Vector<S>,
    ) -> Self::Vector<S>;

    /// The sum of a vector's numbers.
    fn total<S: Simd>(simd: S, a: Self::Vector<S>) -> Self;

    /// The largest of a vector's numbers, none of which is NaN.
    fn highest<S: Simd>(simd: S, a: Self::Vector<S>) -> Self;

    /// `exp`; for f32 within 2e-7 and saturating at ±87, NaN stays NaN.
    fn exponential<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;
}

macro_rules! operations {
    ($vector:ident, $as:ident, $as_mut:ident, $load:ident, $store:ident, $splat:ident, $add:ident,
     $sub:ident, $mul:ident, $div:ident, $sqrt:ident, $mul_add:ident, $greater:ident,
     $select:ident, $total:ident, $highest:ident) => {
        type Vector<S: Simd> = S::$vector;

        #[inline(always)]
        fn vectors<S: Simd>(_: S, numbers: &[Self]) -> (&[S::$vector], &[Self]) {
            S::$as(numbers)
        }

        #[inline(always)]
        fn vectors_mut<S: Simd>(_: S, numbers: &mut [Self]) -> (&mut [S::$vector], &mut [Self]) {
            S::$as_mut(numbers)
        }

        #[inline(always)]
        fn load<S: Simd>(simd: S, numbers: &[Self]) -> S::$vector {
            simd.$load(numbers)
        }

        #[inline(always)]
        fn store<S: Simd>(simd: S, numbers: &mut [Self], vector: S::$vector) {
            simd.$store(numbers, vector)
        }

        #[inline(always)]
        fn splat<S: Simd>(simd: S, number: Self) -> S::$vector {
            simd.$splat(number)
        }

        #[inline(always)]
        fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
            simd.$add(a, b)
        }

        #[inline(always)]
        fn minus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
            simd.$sub(a, b)
        }

        #[inline(always)]
        fn times<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
            simd.$mul(a, b)
        }

        #[inline(always)]
        fn over<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
            simd.$div(a, b)
        }

        #[inline(always)]
        fn root<S: Simd>(simd: S, a: S::$vector) -> S::$vector {
            simd.$sqrt(a)
        }

        #[inline(always)]
        fn times_plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
            simd.$mul_add(a, b, c)
        }

        #[inline(always)]
        fn where_greater<S: Simd>(
            simd: S,
            (a, b): (S::$vector, S::$vector),
            then: S::$vector,
            otherwise: S::$vector,
        ) -> S::$vector {
            simd.$select(simd.$greater(a, b), then, otherwise)
        }

        #[inline(always)]
        fn total<S: Simd>(simd: S, a: S::$vector) -> Self {
            simd.$total(a)
        }

        #[inline(always)]
        fn highest<S: Simd>(simd: S, a: S::$vector) -> Self {
            simd.$highest(a)
        }
    };
}

impl Number for f32 {
    operations!(
        f32s,
        as_simd_f32s,
        as_mut_simd_f32s,
        partial_load_f32s,
        partial_store_f32s,
        splat_f32s,
        add_f32s,
        sub_f32s,
        mul_f32s,
        div_f32s,
        sqrt_f32s,
        mul_add_e_f32s,
        greater_than_f32s,
        select_f32s,
        reduce_sum_f32s,
        reduce_max_f32s
    );

    /// ```text
    /// exp(x) = 2^k p(x - k ln 2),   k = round(x / ln 2)
    /// ```
    ///
    /// With the numbers of [`super::exponential`].
    #[inline(always)]
    fn exponential<S: Simd>(simd: S, a: S::f32s) -> S::f32s {
        let splat = |x: f32| simd.splat_f32s(x);
        // In this order NaN stays: a comparison with it is never true.
        let x = Self::where_greater(simd, (a, splat(87.0)), splat(87.0), a);
        let x = Self::where_greater(simd, (splat(-87.0), x), splat(-87.0), x);
        let shifted = simd.mul_add_e_f32s(x, splat(std::f32::consts::LOG2_E), splat(ROUNDING));
        let k = simd.sub_f32s(shifted, splat(ROUNDING));
        let rest = simd.mul_add_e_f32s(k, splat(-LN_2_HIGH), x);
        let rest = simd.mul_add_e_f32s(k, splat(-LN_2_LOW), rest);
        let mut p = splat(COEFFICIENTS[0]);
        for coefficient in &COEFFICIENTS[1..] {
            p = simd.mul_add_e_f32s(p, rest, splat(*coefficient));
        }
        let square = simd.mul_f32s(rest, rest);
        let p = simd.mul_add_e_f32s(p, square, simd.add_f32s(rest, splat(1.0)));
        let exponent = simd.transmute_u32s_f32s(shifted);
        let exponent = simd.wrapping_dyn_shl_u32s(exponent, simd.splat_u32s(23));
        let scale = simd.add_u32s(exponent, simd.splat_u32s(1.0f32.to_bits()));
        simd.mul_f32s(p, simd.transmute_f32s_u32s(scale))
    }
}

impl Number for f64 {
    operations!(
        f64s,
        as_simd_f64s,
        as_mut_simd_f64s,
        partial_load_f64s,
        partial_store_f64s,
        splat_f64s,
        add_f64s,
        sub_f64s,
        mul_f64s,
        div_f64s,
        sqrt_f64s,
        mul_add_e_f64s,
        greater_than_f64s,
        select_f64s,
        reduce_sum_f64s,
        reduce_max_f64s
    );

    #[inline(always)]
    fn exponential<S: Simd>(_: S, mut a: S::f64s) -> S::f64s {
        for x in bytemuck::cast_slice_mut::<S::f64s, f64>(std::slice::from_mut(&mut a)) {
            *x = x.exp();
        }
        a
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Loops, vectorised};
    use super::*;

    /// `exp` of every number.
    struct Exp<'a, T>(&'a mut [T]);

    impl<T: Number> Loops for Exp<'_, T> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let (vectors, rest) = T::vectors_mut(simd, self.0);
            for x in vectors {
                *x = T::exponential(simd, *x);
            }
            let end = T::exponential(simd, T::load(simd, rest));
            T::store(simd, rest, end);
        }
    }

    #[test]
    fn exp_is_relatively_exact() {
        let numbers: Vec<f32> = (-8699..=8699).map(|step| step as f32 * 0.01).collect();
        let mut found = numbers.clone();
        vectorised(Exp(&mut found));
        for (x, found) in numbers.iter().zip(found) {
            let exact = f64::from(*x).exp();
            assert!((f64::from(found) - exact).abs() < 2e-7 * exact, "exp({x})");
        }
        let mut doubles: Vec<f64> = numbers.iter().map(|&x| f64::from(x)).collect();
        vectorised(Exp(&mut doubles));
        for (&x, found) in numbers.iter().zip(doubles) {
            assert_eq!(found, f64::from(x).exp());
        }
    }

    #[test]
    fn exp_saturates_and_keeps_nan() {
        let mut numbers = [f32::NEG_INFINITY, -1e9, f32::INFINITY, 87.0, f32::NAN];
        vectorised(Exp(&mut numbers));
        assert!(numbers[0] == numbers[1] && numbers[0] > 0.0 && numbers[0] < 2e-38);
        assert!(numbers[2] == numbers[3] && numbers[2].is_finite());
        assert!(numbers[4].is_nan());
    }
}
