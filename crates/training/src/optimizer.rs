//! Adam and AdamW, with a state that can be saved and restored.

pub(crate) mod update;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use uard_core::parameters::{Parameters, named_from_safetensors, named_to_safetensors};

use crate::config::OptimizerConfig;
use crate::gradients::Gradients;
use crate::{Error, Result};
use update::StepScalars;

/// Added to the norm before clipping divides by it, as `torch.nn.utils.clip_grad_norm_` does.
const CLIP_EPSILON: f64 = 1e-6;

/// Prefixes of the stored names of the first and the second moment.
const MOMENTS: [&str; 2] = ["first", "second"];

/// Adam or AdamW with f32 moments, parameter groups and clipping by the global gradient norm.
///
/// ```text
/// g = clip * gradient                         clip = min(1, clip_norm / (norm + 1e-6))
/// g = g + decay p                             adam only
/// m = beta1 m + (1 - beta1) g                 v = beta2 v + (1 - beta2) g^2
/// p = p - rate decay p                        adamw only
/// p = p - rate / (1 - beta1^k) m / (sqrt(v) / sqrt(1 - beta2^k) + epsilon)
/// ```
///
/// # Source
/// Kingma and Ba 2015; Loshchilov and Hutter 2019; the order of operations is PyTorch's.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    step: u64,
    /// Settings and moments of each parameter, by the parameter's name.
    slots: BTreeMap<String, Slot>,
}

/// Settings and moments of one parameter.
#[derive(Debug)]
struct Slot {
    learning_rate_scale: f64,
    weight_decay: f64,
    /// First and second moment, f32. They share memory with no other tensor, because a step changes
    /// them in place.
    moments: [Tensor; 2],
}

impl Optimizer {
    /// An optimizer before its first step: all moments are zero.
    ///
    /// # Errors
    /// When the device cannot allocate a tensor.
    pub fn new(config: &OptimizerConfig, parameters: &Parameters) -> Result<Self> {
        let mut slots = BTreeMap::new();
        for (name, var) in parameters.iter() {
            slots.insert(name.to_owned(), Slot::new(config, name, var)?);
        }
        Ok(Self {
            config: config.clone(),
            step: 0,
            slots,
        })
    }

    /// Number of steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Updates every parameter; returns the global gradient norm before clipping.
    ///
    /// `factor` is the schedule's factor on the learning rate.
    ///
    /// # Errors
    /// When a gradient is missing or not finite. If one is not finite, no parameter has changed.
    pub fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        factor: f64,
    ) -> Result<f64> {
        let step = self.step + 1;
        let norm = gradients.norm(usize::try_from(step).unwrap_or(usize::MAX))?;
        let scale = self.clip_scale(norm);
        for (name, var) in parameters.iter() {
            let missing = || Error::NoGradient {
                name: name.to_owned(),
            };
            let gradient = gradients.get(name).ok_or_else(missing)?;
            let slot = self.slots.get_mut(name).ok_or_else(missing)?;
            let scalars = StepScalars {
                config: &self.config,
                learning_rate: self.config.learning_rate * slot.learning_rate_scale * factor,
                weight_decay: slot.weight_decay,
                scale,
                step,
            };
            let factors = scalars.factors();
            factors.apply(var, gradient, &mut slot.moments)?;
        }
        self.step = step;
        Ok(norm)
    }

    /// The whole state as the bytes of a safetensors file; equal states give equal bytes.
    ///
    /// `first.NAME` and `second.NAME` are the moments. `steps` is the number of steps as three
    /// digits of base 2^16, lowest first, as f32, which holds each exactly.
    ///
    /// # Errors
    /// When a moment cannot be copied from its device.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let mut tensors = BTreeMap::new();
        let digits: Vec<f32> = (0..3)
            .map(|digit| ((self.step >> (16 * digit)) & 0xffff) as f32)
            .collect();
        tensors.insert("steps".to_owned(), Tensor::new(digits, &Device::Cpu)?);
        for (name, slot) in &self.slots {
            for (kind, moment) in MOMENTS.iter().zip(&slot.moments) {
                tensors.insert(format!("{kind}.{name}"), moment.clone());
            }
        }
        let named = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
        Ok(named_to_safetensors(named)?)
    }

    /// Restores the state from bytes that [`Self::to_safetensors`] wrote.
    ///
    /// # Errors
    /// When the bytes are damaged or belong to another model; then nothing changes.
    pub fn load_safetensors(
        &mut self,
        parameters: &Parameters,
        bytes: &[u8],
        origin: &str,
    ) -> Result<()> {
        let mut stored = named_from_safetensors(bytes, origin, parameters.device())?;
        let steps = take(&mut stored, "steps", &[3], origin)?.to_vec1::<f32>()?;
        let mut moments = Vec::new();
        for (name, slot) in &self.slots {
            let shape = slot.moments[0].dims();
            let mut take = |kind| take(&mut stored, &format!("{kind}.{name}"), shape, origin);
            moments.push([take(MOMENTS[0])?, take(MOMENTS[1])?]);
        }
        if let Some(name) = stored.keys().next() {
            return Err(mismatch(origin, "unknown", name));
        }
        for (slot, moments) in self.slots.values_mut().zip(moments) {
            slot.moments = moments;
        }
        self.step = steps
            .iter()
            .rev()
            .fold(0, |steps, &digit| (steps << 16) | digit as u64);
        Ok(())
    }

    fn clip_scale(&self, norm: f64) -> f64 {
        if self.config.clip_norm == 0.0 {
            return 1.0;
        }
        (self.config.clip_norm / (norm + CLIP_EPSILON)).min(1.0)
    }
}

impl Slot {
    fn new(config: &OptimizerConfig, name: &str, var: &Var) -> Result<Self> {
        let group = config
            .groups
            .iter()
            .find(|group| name.starts_with(&group.prefix));
        let zeros = || Tensor::zeros(var.dims(), DType::F32, var.device());
        Ok(Self {
            learning_rate_scale: group.map_or(1.0, |group| group.learning_rate_scale),
            weight_decay: group.map_or(config.weight_decay, |group| group.weight_decay),
            moments: [zeros()?, zeros()?],
        })
    }
}

fn take(
    stored: &mut BTreeMap<String, Tensor>,
    name: &str,
    shape: &[usize],
    origin: &str,
) -> Result<Tensor> {
    let tensor = stored
        .remove(name)
        .ok_or_else(|| mismatch(origin, "missing", name))?;
    if tensor.dims() == shape {
        return Ok(tensor);
    }
    Err(Error::Core(uard_core::Error::ParameterShape {
        origin: origin.to_owned(),
        name: name.to_owned(),
        expected: shape.to_vec(),
        found: tensor.dims().to_vec(),
    }))
}

fn mismatch(origin: &str, problem: &'static str, name: &str) -> Error {
    let (origin, name) = (origin.to_owned(), name.to_owned());
    Error::Core(uard_core::Error::ParameterMismatch {
        origin,
        problem,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{GroupConfig, OptimizerKind};

    /// Largest allowed difference of ten f32 updates, which round, from the same formula in f64.
    const TOLERANCE: f64 = 2e-6;

    fn parameters() -> Parameters {
        let mut parameters = Parameters::new(&Device::Cpu);
        parameters
            .create("image.weight", vec![0.5, -1.0, 2.0, 0.1], &[2, 2])
            .unwrap();
        parameters.create("text.bias", vec![0.3], &[1]).unwrap();
        parameters
    }

    fn config(kind: OptimizerKind) -> OptimizerConfig {
        OptimizerConfig {
            kind,
            learning_rate: 0.01,
            weight_decay: 0.1,
            clip_norm: 1.0,
            groups: vec![GroupConfig {
                prefix: "text.".to_owned(),
                learning_rate_scale: 0.5,
                weight_decay: 0.0,
            }],
            ..OptimizerConfig::default()
        }
    }

    /// Gradient of `sum (p - 1)^4 / 4`; in the first steps it is large enough to be clipped.
    fn gradients(parameters: &Parameters) -> Gradients {
        let mut loss = Tensor::new(0f32, &Device::Cpu).unwrap();
        for (_, var) in parameters.iter() {
            let fourth = (var.as_tensor() - 1.0)
                .unwrap()
                .sqr()
                .unwrap()
                .sqr()
                .unwrap();
            loss = (loss + (fourth.sum_all().unwrap() / 4.0).unwrap()).unwrap();
        }
        Gradients::take(parameters, &mut loss.backward().unwrap()).unwrap()
    }

    /// PyTorch's update of all five numbers, in f64.
    fn reference(kind: OptimizerKind, steps: i32) -> Vec<f64> {
        let mut p = [0.5f64, -1.0, 2.0, 0.1, 0.3].map(|x| f64::from(x as f32));
        let (mut m, mut v) = ([0.0; 5], [0.0; 5]);
        for step in 1..=steps {
            let g: Vec<f64> = p.iter().map(|p| (p - 1.0).powi(3)).collect();
            let norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
            let clip = (1.0 / (norm + 1e-6)).min(1.0);
            for i in 0..5 {
                let (rate, decay) = if i < 4 { (0.01, 0.1) } else { (0.005, 0.0) };
                let mut g = g[i] * clip;
                match kind {
                    OptimizerKind::Adam => g += decay * p[i],
                    OptimizerKind::Adamw => p[i] *= 1.0 - rate * decay,
                }
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let corrected = m[i] / (1.0 - 0.9f64.powi(step));
                let root = v[i].sqrt() / (1.0 - 0.999f64.powi(step)).sqrt();
                p[i] -= rate * corrected / (root + 1e-8);
            }
        }
        p.to_vec()
    }

    fn numbers(parameters: &Parameters) -> Vec<f32> {
        parameters
            .iter()
            .flat_map(|(_, var)| var.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            .collect()
    }

    #[test]
    fn ten_steps_follow_the_formula_with_groups_decay_and_clipping() {
        for kind in [OptimizerKind::Adam, OptimizerKind::Adamw] {
            let parameters = parameters();
            let mut optimizer = Optimizer::new(&config(kind), &parameters).unwrap();
            for _ in 0..10 {
                optimizer
                    .step(&parameters, &gradients(&parameters), 1.0)
                    .unwrap();
            }
            for (found, expected) in numbers(&parameters).iter().zip(reference(kind, 10)) {
                assert!(
                    (f64::from(*found) - expected).abs() < TOLERANCE,
                    "{found} {expected}"
                );
            }
        }
    }

    #[test]
    fn composed_and_fused_updates_agree() {
        for kind in [OptimizerKind::Adam, OptimizerKind::Adamw] {
            let (fused, composed) = (parameters(), parameters());
            let config = config(kind);
            let mut one = Optimizer::new(&config, &fused).unwrap();
            let mut other = Optimizer::new(&config, &composed).unwrap();
            for _ in 0..5 {
                one.step(&fused, &gradients(&fused), 0.5).unwrap();
                let gradients = gradients(&composed);
                let scale = other.clip_scale(gradients.norm(0).unwrap());
                other.step += 1;
                for (name, var) in composed.iter() {
                    let slot = other.slots.get_mut(name).unwrap();
                    let scalars = StepScalars {
                        config: &config,
                        learning_rate: config.learning_rate * slot.learning_rate_scale * 0.5,
                        weight_decay: slot.weight_decay,
                        scale,
                        step: other.step,
                    };
                    let gradient = gradients.get(name).unwrap();
                    let moments = scalars.factors().composed(var, gradient, &slot.moments);
                    slot.moments = moments.unwrap();
                }
            }
            for (a, b) in numbers(&fused).iter().zip(numbers(&composed)) {
                assert!((a - b).abs() < 1e-6, "{a} {b}");
            }
        }
    }

    #[test]
    fn a_learning_rate_scale_of_zero_freezes_a_group() {
        let parameters = parameters();
        let mut config = config(OptimizerKind::Adamw);
        config.groups[0].learning_rate_scale = 0.0;
        let mut optimizer = Optimizer::new(&config, &parameters).unwrap();
        optimizer
            .step(&parameters, &gradients(&parameters), 1.0)
            .unwrap();
        assert_eq!(numbers(&parameters)[4], 0.3);
    }

    #[test]
    fn a_gradient_that_is_not_finite_changes_no_parameter() {
        let parameters = parameters();
        let gradients = {
            let (_, var) = parameters.iter().next().unwrap();
            let loss = (var.sum_all().unwrap() * f64::NAN).unwrap();
            let other = parameters.get("text.bias").unwrap().sum_all().unwrap();
            let loss = (loss + other).unwrap();
            Gradients::take(&parameters, &mut loss.backward().unwrap()).unwrap()
        };
        let before = numbers(&parameters);
        let mut optimizer = Optimizer::new(&config(OptimizerKind::Adam), &parameters).unwrap();
        let message = optimizer
            .step(&parameters, &gradients, 1.0)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("step 1: gradient of `image.weight`"),
            "{message}"
        );
        assert_eq!(numbers(&parameters), before);
        assert_eq!(optimizer.steps(), 0);
    }

    #[test]
    fn a_restored_state_takes_the_same_steps() {
        let straight = parameters();
        let mut optimizer = Optimizer::new(&config(OptimizerKind::Adam), &straight).unwrap();
        for _ in 0..3 {
            optimizer
                .step(&straight, &gradients(&straight), 1.0)
                .unwrap();
        }
        let resumed = parameters();
        resumed
            .load_safetensors(&straight.to_safetensors().unwrap(), "model")
            .unwrap();
        let mut other = Optimizer::new(&config(OptimizerKind::Adam), &resumed).unwrap();
        let bytes = optimizer.to_safetensors().unwrap();
        other
            .load_safetensors(&resumed, &bytes, "optimizer")
            .unwrap();
        assert_eq!(other.to_safetensors().unwrap(), bytes);
        for _ in 0..3 {
            optimizer
                .step(&straight, &gradients(&straight), 1.0)
                .unwrap();
            other.step(&resumed, &gradients(&resumed), 1.0).unwrap();
        }
        assert_eq!(numbers(&straight), numbers(&resumed));
        assert_eq!(other.steps(), 6);
    }

    #[test]
    fn a_state_of_another_model_is_refused() {
        let parameters = parameters();
        let mut optimizer = Optimizer::new(&config(OptimizerKind::Adam), &parameters).unwrap();
        let mut larger = Parameters::new(&Device::Cpu);
        larger
            .create("image.weight", vec![0.0; 4], &[2, 2])
            .unwrap();
        let bytes = Optimizer::new(&config(OptimizerKind::Adam), &larger)
            .unwrap()
            .to_safetensors()
            .unwrap();
        let message = optimizer
            .load_safetensors(&parameters, &bytes, "o")
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("missing parameter `first.text.bias`"),
            "{message}"
        );
    }
}
