//! [`Number`]: the operations of vectors of f32 and of f64 under one name.

use std::fmt::Debug;

use num_traits::{Float, NumAssign};
use pulp::Simd;
use pulp::bytemuck;

use crate::product::Matrix;

/// 1.5 * 2^23. Adding it to a number rounds that to the nearest integer, which then stands in the
/// low bits of the sum; subtracting it again gives the integer as f32.
const ROUNDING: f32 = 12_582_912.0;

/// The leading 9 bits of ln 2: its product with an exponent is exact.
const LN_2_HIGH: f32 = 0.693_359_4;

/// ln 2 minus [`LN_2_HIGH`].
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// Coefficients of the polynomial p(r) of [`clamped_exponential`] for |r| <= ln 2 / 2, highest power
/// first.
const COEFFICIENTS: [f32; 6] = [
    1.987_569_1e-4,
    1.398_199_9e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    5e-1,
];

/// A vector of `T` with the registers of `S`.
pub type Vector<T, S> = <T as Number>::Vector<S>;

/// A number with vector operations: `f32`, or `f64` for gradient tests.
pub trait Number:
    sealed::Sealed + Float + NumAssign + Debug + Default + Send + Sync + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;

    /// Rounds to the nearest number of this type.
    fn from_f64(number: f64) -> Self;

    /// The same number as f64; exact.
    fn to_f64(self) -> f64;

    /// The same matrix when the type is f32, else `None`.
    #[doc(hidden)]
    fn singles(matrix: Matrix<'_, Self>) -> Option<Matrix<'_, f32>>;

    /// The same numbers when the type is f32, else `None`.
    #[doc(hidden)]
    fn singles_mut(numbers: &mut [Self]) -> Option<&mut [f32]>;

    /// A vector: as many numbers as fit a register of `S`.
    type Vector<S: Simd>: Copy + Debug;

    /// The whole vectors of a slice, and the numbers that remain.
    fn vectors<S: Simd>(simd: S, numbers: &[Self]) -> (&[Self::Vector<S>], &[Self]);

    /// [`Number::vectors`] of a mutable slice.
    fn vectors_mut<S: Simd>(simd: S, numbers: &mut [Self])
    -> (&mut [Self::Vector<S>], &mut [Self]);

    /// A vector that begins with the numbers of a slice shorter than a vector, and ends with zeros.
    fn load<S: Simd>(simd: S, numbers: &[Self]) -> Self::Vector<S>;

    /// Writes the first numbers of a vector to a slice shorter than a vector.
    fn store<S: Simd>(simd: S, numbers: &mut [Self], vector: Self::Vector<S>);

    /// A vector of one number repeated.
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

    /// `then` where `a > b`, `otherwise` elsewhere, also where either is NaN.
    fn where_greater<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        then: Self::Vector<S>,
        otherwise: Self::Vector<S>,
    ) -> Self::Vector<S>;

    /// The sum of a vector's numbers.
    fn total<S: Simd>(simd: S, a: Self::Vector<S>) -> Self;

    /// The largest of a vector's numbers, none of which is NaN.
    fn highest<S: Simd>(simd: S, a: Self::Vector<S>) -> Self;

    /// `exp`. For f32 the relative error is below 2e-7, and inputs are clamped to ±87. NaN stays NaN.
    fn exponential<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;
}

mod sealed {
    /// Only these types are numbers: `gemm` panics on any other.
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

macro_rules! operations {
    ($vector:ident, $as:ident, $as_mut:ident, $load:ident, $store:ident, $splat:ident, $add:ident,
     $sub:ident, $mul:ident, $div:ident, $sqrt:ident, $mul_add:ident, $greater:ident,
     $select:ident, $total:ident, $highest:ident) => {
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;

        #[inline(always)]
        fn from_f64(number: f64) -> Self {
            number as Self
        }

        #[inline(always)]
        fn to_f64(self) -> f64 {
            f64::from(self)
        }

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
            a: S::$vector,
            b: S::$vector,
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

    fn singles(matrix: Matrix<'_, Self>) -> Option<Matrix<'_, f32>> {
        Some(matrix)
    }

    fn singles_mut(numbers: &mut [Self]) -> Option<&mut [f32]> {
        Some(numbers)
    }

    #[inline(always)]
    fn exponential<S: Simd>(simd: S, a: S::f32s) -> S::f32s {
        let [low, high] = [-87.0, 87.0].map(|end| simd.splat_f32s(end));
        // Comparisons with NaN are false, so these two lines keep it.
        let x = Self::where_greater(simd, a, high, high, a);
        let x = Self::where_greater(simd, low, x, low, x);
        let (p, power) = clamped_exponential(simd, x);
        let one = simd.splat_u32s(1.0f32.to_bits());
        let scale = simd.add_u32s(powers(simd, power), one);
        simd.mul_f32s(p, simd.transmute_f32s_u32s(scale))
    }
}

/// The two factors of e^x for |x| up to 87: first `1 + r + r^2 p(r)`, then a vector whose low bits
/// hold k, from which [`powers`] makes 2^k.
///
/// ```text
/// e^x = 2^k (1 + r + r^2 p(r)),   k = round(x / ln 2),   r = x - k ln 2
/// ```
///
/// # Source
/// Cephes `expf` (S. L. Moshier): relative error of e^r below 2e-7.
#[inline(always)]
pub(super) fn clamped_exponential<S: Simd>(simd: S, x: S::f32s) -> (S::f32s, S::f32s) {
    let splat = |x: f32| simd.splat_f32s(x);
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
    (p, shifted)
}

/// The low bits of each number, moved to where an f32 has its exponent.
#[inline(always)]
pub(super) fn powers<S: Simd>(simd: S, shifted: S::f32s) -> S::u32s {
    let bits = simd.transmute_u32s_f32s(shifted);
    simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23))
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

    fn singles(_: Matrix<'_, Self>) -> Option<Matrix<'_, f32>> {
        None
    }

    fn singles_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

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
    fn exp_is_within_two_units_in_the_last_place() {
        let numbers: Vec<f32> = (-86_999..87_000).map(|step| step as f32 * 1e-3).collect();
        let mut found = numbers.clone();
        vectorised(Exp(&mut found));
        for (x, found) in numbers.iter().zip(found) {
            let unit = f64::from(found.next_up()) - f64::from(found);
            let error = (f64::from(found) - f64::from(*x).exp()).abs();
            assert!(error < 2.0 * unit, "exp({x})");
        }
    }

    #[test]
    fn exp_saturates_and_keeps_nan() {
        let mut numbers = [f32::NEG_INFINITY, -1e9, f32::INFINITY, 87.0, f32::NAN, 0.0];
        vectorised(Exp(&mut numbers));
        assert_eq!(numbers[5], 1.0);
        assert!(numbers[0] == numbers[1] && numbers[0] > 0.0 && numbers[0] < 2e-38);
        assert!(numbers[2] == numbers[3] && numbers[2].is_finite());
        assert!(numbers[4].is_nan());
    }
}
