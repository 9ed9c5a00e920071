//! The portable loops, compiled for each instruction set and chosen by proof.

#[cfg(target_arch = "x86_64")]
use uard_linalg::panels::InstructionSet;
use uard_linalg::panels::Instructions;

use super::lanes::Portable;
use super::reach::{Bounds, Masked, Reach, reach};
use super::rule::Rule;
use super::{Above, CaptionPairs, Scratch, answer};

/// Buffers and results.
type Outputs<'a, T = f32> = (&'a mut Scratch, &'a mut [T]);

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
            Form::Avx2 => unsafe { compiled::avx2(rule, pairs, outputs) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `of` makes this form only from the proof that the machine has AVX-512 F, BW,
            // DQ and VL, and after asking for POPCNT, BMI1 and BMI2.
            Form::Avx512 => unsafe { compiled::avx512(rule, pairs, outputs) },
        }
    }

    /// Runs the loops that bound answers in f32.
    pub(super) fn reach(
        self,
        rule: &Masked<'_>,
        screened: Screened<'_>,
        outputs: Outputs<'_, Reach>,
    ) -> Above {
        match self.0 {
            Form::Portable => reach::<Portable>(rule, screened, outputs),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `answer`.
            Form::Avx2 => unsafe { compiled::avx2_reach(rule, screened, outputs) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `answer`.
            Form::Avx512 => unsafe { compiled::avx512_reach(rule, screened, outputs) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod compiled {
    use super::super::x86::{Avx2, Avx512};
    use super::{Above, CaptionPairs, Masked, Outputs, Reach, Rule, Screened, answer, reach};

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
        rule: &Masked<'_>,
        screened: Screened<'_>,
        outputs: Outputs<'_, Reach>,
    ) -> Above {
        reach::<Avx2>(rule, screened, outputs)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,popcnt")]
    pub(super) fn avx512_reach(
        rule: &Masked<'_>,
        screened: Screened<'_>,
        outputs: Outputs<'_, Reach>,
    ) -> Above {
        reach::<Avx512>(rule, screened, outputs)
    }
}
