//! One step of Adam or AdamW on one parameter: in place on the CPU and on CUDA, in candle's
//! operations on other devices.

use candle_core::{Device, Tensor, Var};
use rayon::prelude::*;
use uard_core::slices::{change, reading};

use crate::Result;
use crate::config::{OptimizerConfig, OptimizerKind};

/// How many numbers one task updates. The update is element by element, so this does not change
/// results.
const PART: usize = 1 << 14;

/// The scalars of one step of one parameter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepScalars<'a> {
    pub(crate) config: &'a OptimizerConfig,
    /// Learning rate after the factors of the schedule and of the parameter's group.
    pub(crate) learning_rate: f64,
    /// Weight decay of the parameter's group.
    pub(crate) weight_decay: f64,
    /// Factor on the gradient from clipping.
    pub(crate) scale: f64,
    /// Number of the step, from 1.
    pub(crate) step: u64,
}

/// The factors of the update in f32, each computed in f64.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Factors {
    /// Factor on the gradient from clipping.
    pub(crate) scale: f32,
    /// `w` of `g += w p`, Adam's decay.
    pub(crate) coupled: f32,
    /// `s` of `p *= s`, AdamW's decay.
    pub(crate) shrink: f32,
    pub(crate) beta1: f32,
    /// `1 - beta1`
    pub(crate) rest1: f32,
    pub(crate) beta2: f32,
    /// `1 - beta2`
    pub(crate) rest2: f32,
    /// `1 / sqrt(1 - beta2^step)`
    pub(crate) root: f32,
    pub(crate) epsilon: f32,
    /// `learning_rate / (1 - beta1^step)`
    pub(crate) size: f32,
}

impl StepScalars<'_> {
    pub(crate) fn factors(&self) -> Factors {
        let power = i32::try_from(self.step).unwrap_or(i32::MAX);
        let (beta1, beta2) = (self.config.beta1, self.config.beta2);
        let (coupled, decoupled) = match self.config.kind {
            OptimizerKind::Adam => (self.weight_decay, 0.0),
            OptimizerKind::Adamw => (0.0, self.weight_decay),
        };
        Factors {
            scale: self.scale as f32,
            coupled: coupled as f32,
            shrink: (1.0 - self.learning_rate * decoupled) as f32,
            beta1: beta1 as f32,
            rest1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            rest2: (1.0 - beta2) as f32,
            root: (1.0 / (1.0 - beta2.powi(power)).sqrt()) as f32,
            epsilon: self.config.epsilon as f32,
            size: (self.learning_rate / (1.0 - beta1.powi(power))) as f32,
        }
    }
}

impl Factors {
    /// Updates a parameter and its first and second moments. They must share memory with no other
    /// tensor, because on the CPU and on CUDA they change in place.
    pub(super) fn apply(
        &self,
        var: &Var,
        gradient: &Tensor,
        moments: &mut [Tensor; 2],
    ) -> Result<()> {
        let gradient = gradient.contiguous()?;
        match var.device() {
            Device::Cpu => self.on_host(var, &gradient, moments),
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => {
                let [first, second] = &*moments;
                let tensors = [var.as_tensor(), &gradient, first, second];
                Ok(crate::kernel::on_tensors::adam(tensors, self)?)
            }
            _ => {
                *moments = self.composed(var, &gradient, moments)?;
                Ok(())
            }
        }
    }

    /// One pass over parameter, gradient and moments in host memory.
    fn on_host(&self, var: &Var, gradient: &Tensor, moments: &[Tensor; 2]) -> Result<()> {
        let gradient = reading(gradient);
        let gradient = gradient.numbers::<f32>("adam")?.par_chunks(PART);
        change(var, |parameter| {
            change(&moments[0], |first| {
                change(&moments[1], |second| {
                    let moments = first.par_chunks_mut(PART);
                    let moments = moments.zip_eq(second.par_chunks_mut(PART));
                    let parts = parameter.par_chunks_mut(PART).zip_eq(gradient);
                    let parts = parts.zip_eq(moments);
                    parts.for_each(|((p, g), (m, v))| self.update(p, g, m, v));
                    Ok(())
                })
            })
        })?;
        Ok(())
    }

    /// The update of a parameter in candle's operations, for any device; returns the new moments.
    pub(super) fn composed(
        &self,
        var: &Var,
        gradient: &Tensor,
        [first, second]: &[Tensor; 2],
    ) -> Result<[Tensor; 2]> {
        let parameter = var.as_tensor().detach();
        let mut gradient = (gradient.detach() * f64::from(self.scale))?;
        if self.coupled != 0.0 {
            gradient = (gradient + (&parameter * f64::from(self.coupled))?)?;
        }
        let first = ((first * f64::from(self.beta1))? + (&gradient * f64::from(self.rest1))?)?;
        let squares = (gradient.sqr()? * f64::from(self.rest2))?;
        let second = ((second * f64::from(self.beta2))? + squares)?;
        let denominator = ((second.sqrt()? * f64::from(self.root))? + f64::from(self.epsilon))?;
        let update = ((&first * f64::from(self.size))? / denominator)?;
        var.set(&((parameter * f64::from(self.shrink))? - update)?)?;
        Ok([first.detach(), second.detach()])
    }

    /// Updates numbers `p` of a parameter and their moments `m` and `v` by the gradient `g`.
    pub(crate) fn update(&self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * self.scale + *p * self.coupled;
            *m = *m * self.beta1 + g * self.rest1;
            *v = *v * self.beta2 + g * g * self.rest2;
            *p = *p * self.shrink - *m * self.size / (v.sqrt() * self.root + self.epsilon);
        }
    }
}
