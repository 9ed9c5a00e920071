//! The portable loops, compiled for each instruction set and chosen by proof.

use uard_core::panels::{InstructionSet, Instructions};

use super::lanes::Portable;
use super::reach::{Bounds, Reach, reach};
use super::rule::Rule;
use super::{Above, CaptionPairs, Scratch, answer};

/// Buffers and results.
type Outputs<'a, T = f32> = (&'a mut Scratch, &'a mut [T]);

/// A rule and its threshold.
type Masked<'a> = (&'a Rule, f32);

/// A caption's pairs as bf16 shows them, and what bounds them.
type Screened<'a> = (&'a CaptionPairs<'a>, &'a Bounds<'a>);

/// The compiled form that this machine can run: the proof that `answer` asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compiled(Form);

#[derive(Debug, Clone, Copy)]
enum Form {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Compiled {
    /// The form for an instruction set. Bit counting, which no such machine lacks but a virtual one
    /// may hide, is asked for here; without it the portable form runs.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn of(instructions: Instructions) -> Self {
        let counts_bits = is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2");
        Self(match instructions.set() {
            InstructionSet::Avx512 | InstructionSet::Amx if counts_bits => Form::Avx512,
            InstructionSet::Avx2 if counts_bits => Form::Avx2,
            _ => Form::Portable,
        })
    }

    /// The form for an instruction set.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn of(_: Instructions) -> Self {
        Self(Form::Portable)
    }

    /// Runs the loops.
    pub(super) fn answer(
        self,
        rule: &Rule,
        pairs: &CaptionPairs<'_>,
        outputs: Outputs<'_>,
    ) -> Above {
        match self.0 {
            Form::Portable => answer::<Portable>(rule, pairs, outputs),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `of` makes this form only from the proof that the machine has AVX2 and FMA,
            // and after asking for POPCNT, BMI1 and BMI2.
            Form::Avx2 => unsafe { x86::avx2(rule, pairs, outputs) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `of` makes this form only from the proof that the machine has AVX-512 F, BW,
            // DQ and VL, and after asking for POPCNT, BMI1 and BMI2.
            Form::Avx512 => unsafe { x86::avx512(rule, pairs, outputs) },
        }
    }

    /// Runs the loops that bound answers in f32.
    pub(super) fn reach(
        self,
        rule: Masked<'_>,
        screened: Screened<'_>,
        outputs: Outputs<'_, Reach>,
    ) -> Above {
        match self.0 {
            Form::Portable => reach::<Portable>(rule, screened, outputs),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `answer`.
            Form::Avx2 => unsafe { x86::avx2_reach(rule, screened, outputs) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `answer`.
            Form::Avx512 => unsafe { x86::avx512_reach(rule, screened, outputs) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _CMP_GT_OQ, _mm256_cmp_ps, _mm256_loadu_ps, _mm256_movemask_ps, _mm256_set1_ps,
        _mm512_cmp_ps_mask, _mm512_loadu_ps, _mm512_set1_ps,
    };

    use super::super::lanes::{Lanes, Machine};
    use super::{Above, CaptionPairs, Masked, Outputs, Reach, Rule, Screened, answer, reach};

    /// Runs inside `avx2` only.
    #[derive(Debug)]
    struct Avx2;

    /// Runs inside `avx512` only.
    #[derive(Debug)]
    struct Avx512;

    impl Machine for Avx2 {
        #[inline(always)]
        fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }

        #[inline(always)]
        fn above(cells: &Lanes, threshold: f32) -> u16 {
            let cells = cells.as_ptr();
            // SAFETY: this type is named by `avx2` alone, whose caller has seen AVX; both loads lie
            // within 16 numbers and need no alignment.
            unsafe {
                let threshold = _mm256_set1_ps(threshold);
                let low = _mm256_cmp_ps::<_CMP_GT_OQ>(_mm256_loadu_ps(cells), threshold);
                let high = _mm256_cmp_ps::<_CMP_GT_OQ>(_mm256_loadu_ps(cells.add(8)), threshold);
                (_mm256_movemask_ps(low) | (_mm256_movemask_ps(high) << 8)) as u16
            }
        }
    }

    impl Machine for Avx512 {
        #[inline(always)]
        fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }

        #[inline(always)]
        fn above(cells: &Lanes, threshold: f32) -> u16 {
            // SAFETY: this type is named by `avx512` alone, whose caller has seen AVX-512 F; the
            // load is of 16 numbers and needs no alignment.
            unsafe {
                let cells = _mm512_loadu_ps(cells.as_ptr());
                _mm512_cmp_ps_mask::<_CMP_GT_OQ>(cells, _mm512_set1_ps(threshold))
            }
        }
    }

    #[target_feature(enable = "avx2,fma,bmi1,bmi2,popcnt")]
    pub(super) fn avx2(rule: &Rule, pairs: &CaptionPairs<'_>, outputs: Outputs<'_>) -> Above {
        answer::<Avx2>(rule, pairs, outputs)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,popcnt")]
    pub(super) fn avx512(rule: &Rule, pairs: &CaptionPairs<'_>, outputs: Outputs<'_>) -> Above {
        answer::<Avx512>(rule, pairs, outputs)
    }

    #[target_feature(enable = "avx2,fma,bmi1,bmi2,popcnt")]
    pub(super) fn avx2_reach(
        rule: Masked<'_>,
        screened: Screened<'_>,
        outputs: Outputs<'_, Reach>,
    ) -> Above {
        reach::<Avx2>(rule, screened, outputs)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,popcnt")]
    pub(super) fn avx512_reach(
        rule: Masked<'_>,
        screened: Screened<'_>,
        outputs: Outputs<'_, Reach>,
    ) -> Above {
        reach::<Avx512>(rule, screened, outputs)
    }
}
