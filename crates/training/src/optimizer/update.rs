//! What does one Adam step do to one parameter? The same formula on the CPU and on any device.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor, Var};
use rayon::prelude::*;

use crate::Result;
use crate::config::OptimizerKind;

/// Numbers updated by one task; the update is element by element, so the cut changes nothing.
const PART: usize = 1 << 14;

/// The scalars of one step of one parameter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) kind: OptimizerKind,
    pub(crate) learning_rate: f64,
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) epsilon: f64,
    pub(crate) weight_decay: f64,
    /// Factor on the gradient from clipping.
    pub(crate) scale: f64,
    /// Step, from 1.
    pub(crate) step: u64,
}

/// The scalars in f32, computed once in f64.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Factors {
    pub(crate) scale: f32,
    /// `w` of `g += w p`, Adam's decay.
    pub(crate) coupled: f32,
    /// `s` of `p *= s`, AdamW's decay.
    pub(crate) shrink: f32,
    pub(crate) beta1: f32,
    pub(crate) rest1: f32,
    pub(crate) beta2: f32,
    pub(crate) rest2: f32,
    /// `1 / sqrt(1 - beta2^step)`
    pub(crate) root: f32,
    pub(crate) epsilon: f32,
    /// `learning_rate / (1 - beta1^step)`
    pub(crate) size: f32,
}

impl Step {
    pub(crate) fn factors(&self) -> Factors {
        let power = i32::try_from(self.step).unwrap_or(i32::MAX);
        let decoupled = self.kind == OptimizerKind::Adamw;
        Factors {
            scale: self.scale as f32,
            coupled: if decoupled {
                0.0
            } else {
                self.weight_decay as f32
            },
            shrink: if decoupled {
                (1.0 - self.learning_rate * self.weight_decay) as f32
            } else {
                1.0
            },
            beta1: self.beta1 as f32,
            rest1: (1.0 - self.beta1) as f32,
            beta2: self.beta2 as f32,
            rest2: (1.0 - self.beta2) as f32,
            root: (1.0 / (1.0 - self.beta2.powi(power)).sqrt()) as f32,
            epsilon: self.epsilon as f32,
            size: (self.learning_rate / (1.0 - self.beta1.powi(power))) as f32,
        }
    }

    /// One pass over parameter, gradient and moments in host memory.
    pub(super) fn on_host(
        &self,
        var: &Var,
        gradient: &Tensor,
        first: &mut [f32],
        second: &mut [f32],
    ) -> Result<()> {
        let fused = Fused {
            factors: self.factors(),
            moments: RefCell::new((first, second)),
        };
        var.inplace_op2(&gradient.contiguous()?, &fused)?;
        Ok(())
    }

    /// One kernel, in place on parameter and moments, which share memory with nobody.
    #[cfg(feature = "cuda")]
    pub(super) fn on_cuda(
        &self,
        var: &Var,
        gradient: &Tensor,
        moments: [&Tensor; 2],
    ) -> Result<()> {
        let adam = crate::kernel::on_tensors::Adam {
            factors: self.factors(),
            moments,
        };
        var.inplace_op2(&gradient.contiguous()?, &adam)?;
        Ok(())
    }

    /// The same in tensor operations, for any device; returns the new moments.
    pub(super) fn composed(
        &self,
        var: &Var,
        gradient: &Tensor,
        first: &Tensor,
        second: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let f = self.factors();
        let parameter = var.as_tensor().detach();
        let mut gradient = (gradient.detach() * f64::from(f.scale))?;
        if f.coupled != 0.0 {
            gradient = (gradient + (&parameter * f64::from(f.coupled))?)?;
        }
        let first = ((first * f64::from(f.beta1))? + (&gradient * f64::from(f.rest1))?)?.detach();
        let second =
            ((second * f64::from(f.beta2))? + (gradient.sqr()? * f64::from(f.rest2))?)?.detach();
        let denominator = ((second.sqrt()? * f64::from(f.root))? + f64::from(f.epsilon))?;
        let update = ((&first * f64::from(f.size))? / denominator)?;
        var.set(&((parameter * f64::from(f.shrink))? - update)?)?;
        Ok((first, second))
    }
}

struct Fused<'a> {
    factors: Factors,
    moments: RefCell<(&'a mut [f32], &'a mut [f32])>,
}

impl InplaceOp2 for Fused<'_> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let count = parameter_layout.shape().elem_count();
        let CpuStorage::F32(parameter) = parameter else {
            return Err(candle_core::Error::Msg(
                "adam: parameters are f32".to_owned(),
            ));
        };
        let start = parameter_layout.start_offset();
        let parameter = &mut parameter[start..start + count];
        let start = gradient_layout.start_offset();
        let gradient = &gradient.as_slice::<f32>()?[start..start + count];
        let mut moments = self.moments.borrow_mut();
        let (first, second) = &mut *moments;
        let factors = self.factors;
        parameter
            .par_chunks_mut(PART)
            .zip_eq(gradient.par_chunks(PART))
            .zip_eq(
                first
                    .par_chunks_mut(PART)
                    .zip_eq(second.par_chunks_mut(PART)),
            )
            .for_each(|((p, g), (m, v))| factors.update(p, g, m, v));
        Ok(())
    }
}

impl Factors {
    /// One step of some numbers of a parameter.
    pub(crate) fn update(&self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * self.scale + *p * self.coupled;
            *m = *m * self.beta1 + g * self.rest1;
            *v = *v * self.beta2 + g * g * self.rest2;
            *p = *p * self.shrink - *m * self.size / (v.sqrt() * self.root + self.epsilon);
        }
    }
}
