//! The vectors of AVX2 and AVX-512.
//!
//! Their methods are inlined into the functions of `dispatch` that are compiled for these
//! instructions; nothing else names the types.

use std::arch::x86_64::*;

use super::lanes::{Lanes, Machine};

/// Runs inside `dispatch::compiled::avx2` only.
#[derive(Debug)]
pub(super) struct Avx2;

/// Runs inside `dispatch::compiled::avx512` only.
#[derive(Debug)]
pub(super) struct Avx512;

/// Methods that are instructions, for machines named in the functions of `dispatch` alone.
macro_rules! instructions {
    ($($(#[$attribute:meta])* fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty $body:block)*) => {$(
        #[inline(always)]
        fn $name($($argument: $type),*) -> $result {
            // SAFETY: the type is named only inside a function that is compiled for its
            // instructions, and whoever called that has proof of them. Loads and stores are of
            // whole arrays behind references and need no alignment.
            unsafe { $body }
        }
    )*};
}

impl Machine for Avx512 {
    type Vector = __m512;

    instructions! {
        fn load(lanes: &Lanes) -> __m512 { _mm512_loadu_ps(lanes.as_ptr()) }
        fn splat(number: f32) -> __m512 { _mm512_set1_ps(number) }
        fn add(a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
        fn subtract(a: __m512, b: __m512) -> __m512 { _mm512_sub_ps(a, b) }
        fn multiply(a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
        fn divide(a: __m512, b: __m512) -> __m512 { _mm512_div_ps(a, b) }
        fn larger(a: __m512, b: __m512) -> __m512 { _mm512_max_ps(a, b) }
        fn smaller(a: __m512, b: __m512) -> __m512 { _mm512_min_ps(a, b) }
        fn root(a: __m512) -> __m512 { _mm512_sqrt_ps(a) }
        fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
        fn above(a: __m512, b: __m512) -> u16 { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b) }
        fn choose(ab: (__m512, __m512), then: __m512, otherwise: __m512) -> __m512 {
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(ab.0, ab.1), otherwise, then)
        }
        fn add_to_exponent(number: __m512, power: __m512) -> __m512 {
            let power = _mm512_slli_epi32::<23>(_mm512_castps_si512(power));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(number), power))
        }
        fn sum(vector: __m512) -> f32 {
            let high = _mm512_extractf32x8_ps::<1>(vector);
            sum_of_eight(_mm256_add_ps(_mm512_castps512_ps256(vector), high))
        }
        fn highest(vector: __m512) -> f32 {
            let high = _mm512_extractf32x8_ps::<1>(vector);
            highest_of_eight(_mm256_max_ps(_mm512_castps512_ps256(vector), high))
        }
    }

    #[inline(always)]
    fn store(vector: __m512, lanes: &mut Lanes) {
        // SAFETY: as in `instructions`.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), vector) }
    }

    #[inline(always)]
    fn multiply_add_one(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

impl Machine for Avx2 {
    type Vector = [__m256; 2];

    instructions! {
        fn load(lanes: &Lanes) -> [__m256; 2] {
            [_mm256_loadu_ps(lanes.as_ptr()), _mm256_loadu_ps(lanes.as_ptr().add(8))]
        }
        fn splat(number: f32) -> [__m256; 2] { [_mm256_set1_ps(number); 2] }
        fn add(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
            [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])]
        }
        fn subtract(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
            [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])]
        }
        fn multiply(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
            [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])]
        }
        fn divide(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
            [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])]
        }
        fn larger(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
            [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])]
        }
        fn smaller(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
            [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])]
        }
        fn root(a: [__m256; 2]) -> [__m256; 2] { [_mm256_sqrt_ps(a[0]), _mm256_sqrt_ps(a[1])] }
        fn multiply_add(a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
            [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])]
        }
        fn above(a: [__m256; 2], b: [__m256; 2]) -> u16 {
            let low = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a[0], b[0]));
            let high = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a[1], b[1]));
            (low | (high << 8)) as u16
        }
        fn choose(
            ab: ([__m256; 2], [__m256; 2]),
            then: [__m256; 2],
            otherwise: [__m256; 2]
        ) -> [__m256; 2] {
            let low = _mm256_cmp_ps::<_CMP_GT_OQ>(ab.0[0], ab.1[0]);
            let high = _mm256_cmp_ps::<_CMP_GT_OQ>(ab.0[1], ab.1[1]);
            [
                _mm256_blendv_ps(otherwise[0], then[0], low),
                _mm256_blendv_ps(otherwise[1], then[1], high),
            ]
        }
        fn add_to_exponent(number: [__m256; 2], power: [__m256; 2]) -> [__m256; 2] {
            let low = _mm256_slli_epi32::<23>(_mm256_castps_si256(power[0]));
            let high = _mm256_slli_epi32::<23>(_mm256_castps_si256(power[1]));
            [
                _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(number[0]), low)),
                _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(number[1]), high)),
            ]
        }
        fn sum(vector: [__m256; 2]) -> f32 { sum_of_eight(_mm256_add_ps(vector[0], vector[1])) }
        fn highest(vector: [__m256; 2]) -> f32 {
            highest_of_eight(_mm256_max_ps(vector[0], vector[1]))
        }
    }

    #[inline(always)]
    fn store(vector: [__m256; 2], lanes: &mut Lanes) {
        // SAFETY: as in `instructions`; both halves lie within the 16 numbers.
        unsafe {
            _mm256_storeu_ps(lanes.as_mut_ptr(), vector[0]);
            _mm256_storeu_ps(lanes.as_mut_ptr().add(8), vector[1]);
        }
    }

    #[inline(always)]
    fn multiply_add_one(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// Halves onto halves, as [`Machine::sum`] promises.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn sum_of_eight(eight: __m256) -> f32 {
    let four = _mm_add_ps(
        _mm256_castps256_ps128(eight),
        _mm256_extractf128_ps::<1>(eight),
    );
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// The highest of eight lanes.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn highest_of_eight(eight: __m256) -> f32 {
    let four = _mm_max_ps(
        _mm256_castps256_ps128(eight),
        _mm256_extractf128_ps::<1>(eight),
    );
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
}
