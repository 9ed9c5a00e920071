//! Activations of the feed-forward part, with their derivatives for the backward pass.

mod vectors;

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor, WithDType};
use candle_nn::ops::sigmoid;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use uard_core::slices::{numbers, reading};
use uard_linalg::vector::vectorised;
use vectors::ActivateInPlace;

use crate::Result;

/// Numbers that one parallel task computes.
const BLOCK: usize = 4096;

const NAME: &str = "activation";

/// √(2/π)
const ROOT_OF_TWO_OVER_PI: f64 = 0.797_884_560_802_865_4;

/// 1/√(2π)
const DENSITY_AT_ZERO: f64 = 0.398_942_280_401_432_7;

/// The cubic term of the form with tanh (Hendrycks and Gimpel 2016).
const CUBIC: f64 = 0.044_715;

/// The factor in the form with the logistic function (Hendrycks and Gimpel 2016).
const QUICK: f64 = 1.702;

/// The activation, by its name in `hidden_act`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x Φ(x)`, with the error function.
    #[default]
    Gelu,
    /// `x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2`.
    #[serde(alias = "gelu_pytorch_tanh")]
    GeluNew,
    /// `x σ(1.702 x)` with the logistic function σ: CLIP's.
    QuickGelu,
    /// `x σ(x)`.
    Silu,
    /// `max(x, 0)`; its slope at 0 is 0, as in PyTorch.
    Relu,
}

impl Activation {
    /// The activation of every number, differentiable.
    ///
    /// # Shapes
    /// `rows` of any shape, f32 or f64; the result has the same shape and dtype.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub(crate) fn forward(self, rows: &Tensor) -> Result<Tensor> {
        if !rows.device().is_cpu() {
            return self.composed(rows);
        }
        let rows = rows.contiguous()?;
        Ok(match rows.dtype() {
            DType::F64 => rows.apply_op1(Operator::<f64>::new(self))?,
            _ => rows.apply_op1(Operator::<f32>::new(self))?,
        })
    }

    /// [`Self::forward`] in candle's operations, for any device.
    fn composed(self, rows: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Gelu => rows.gelu_erf()?,
            Self::GeluNew => rows.gelu()?,
            Self::QuickGelu => (rows * sigmoid(&(rows * QUICK)?)?)?,
            Self::Silu => rows.silu()?,
            // candle's own relu has slope 1 at 0.
            Self::Relu => (rows * rows.gt(0f64)?.to_dtype(rows.dtype())?)?,
        })
    }

    fn value(self, x: f64) -> f64 {
        match self {
            Self::Gelu => x * cumulative(x),
            Self::GeluNew => 0.5 * x * (1.0 + gelu_tanh(x)),
            Self::QuickGelu => x * logistic(QUICK * x),
            Self::Silu => x * logistic(x),
            Self::Relu => x.max(0.0),
        }
    }

    /// The derivative at `x`.
    fn slope(self, x: f64) -> f64 {
        match self {
            Self::Gelu => cumulative(x) + x * DENSITY_AT_ZERO * (-0.5 * x * x).exp(),
            Self::GeluNew => {
                let tanh = gelu_tanh(x);
                let inner = ROOT_OF_TWO_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
                0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * inner
            }
            Self::QuickGelu => gated_slope(x, QUICK),
            Self::Silu => gated_slope(x, 1.0),
            Self::Relu => f64::from(u8::from(x > 0.0)),
        }
    }
}

/// Φ, the distribution function of the standard normal distribution.
fn cumulative(x: f64) -> f64 {
    0.5 * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

/// The tanh in [`Activation::GeluNew`].
fn gelu_tanh(x: f64) -> f64 {
    (ROOT_OF_TWO_OVER_PI * (x + CUBIC * x * x * x)).tanh()
}

/// The logistic function σ, in a form that stays finite for every finite x.
fn logistic(x: f64) -> f64 {
    0.5 + 0.5 * (0.5 * x).tanh()
}

/// The derivative of `x σ(factor x)`.
fn gated_slope(x: f64, factor: f64) -> f64 {
    let open = logistic(factor * x);
    open + factor * x * open * (1.0 - open)
}

#[derive(Debug)]
struct Operator<T> {
    activation: Activation,
    number: std::marker::PhantomData<T>,
}

impl<T: WithDType> Operator<T> {
    fn new(activation: Activation) -> Self {
        Self {
            activation,
            number: std::marker::PhantomData,
        }
    }
}

impl<T: WithDType + Send + Sync> CustomOp1 for Operator<T> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let shape = layout.shape().clone();
        if let CpuStorage::F32(_) = rows {
            let mut values = numbers::<f32>(rows, layout, NAME)?.to_vec();
            values.par_chunks_mut(BLOCK).for_each(|values| {
                vectorised(ActivateInPlace {
                    values,
                    activation: self.activation,
                });
            });
            return Ok((CpuStorage::F32(values), shape));
        }
        let mut values = numbers::<T>(rows, layout, NAME)?.to_vec();
        values.par_chunks_mut(BLOCK).for_each(|values| {
            for x in values {
                *x = T::from_f64(self.activation.value(x.to_f64()));
            }
        });
        Ok((T::to_cpu_storage_owned(values), shape))
    }

    fn bwd(
        &self,
        rows: &Tensor,
        _: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let upstream = upstream.contiguous()?;
        let (x, dy) = (reading(rows), reading(&upstream));
        let (x, dy) = (x.numbers::<T>(NAME)?, dy.numbers::<T>(NAME)?);
        let mut gradient = dy.to_vec();
        let blocks = gradient.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK));
        blocks.for_each(|(gradient, x)| {
            for (gradient, x) in gradient.iter_mut().zip(x) {
                let slope = self.activation.slope(x.to_f64());
                *gradient = T::from_f64(gradient.to_f64() * slope);
            }
        });
        let gradient = Tensor::from_vec(gradient, rows.shape(), rows.device())?;
        Ok(Some(gradient))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    const ALL: [Activation; 5] = [
        Activation::Gelu,
        Activation::GeluNew,
        Activation::QuickGelu,
        Activation::Silu,
        Activation::Relu,
    ];

    fn numbers() -> Var {
        let numbers: Vec<f64> = (-60..=60).map(|at| f64::from(at) * 0.1 + 0.03).collect();
        Var::new(numbers, &Device::Cpu).unwrap()
    }

    #[test]
    fn operator_equals_the_composed_form_in_values_and_gradients() {
        for activation in ALL {
            let x = numbers();
            let found = activation.forward(&x).unwrap();
            let expected = activation.composed(&x).unwrap();
            // candle's erf and the constants in its gradient have fewer digits.
            uard_testkit::assert_close(&found, &expected, 1e-6);
            let loss = |values: &Tensor| values.sqr().unwrap().sum_all().unwrap();
            let found = loss(&found).backward().unwrap();
            let expected = loss(&expected).backward().unwrap();
            let (found, expected) = (found.get(&x).unwrap(), expected.get(&x).unwrap());
            uard_testkit::assert_close(found, expected, 1e-5);
        }
    }

    #[test]
    fn vectors_of_f32_equal_the_scalar_form_in_f64() {
        // The larger numbers test the activations where exponentials saturate.
        let x = [
            numbers().as_tensor().clone(),
            (numbers().as_tensor() * 30.0).unwrap(),
        ];
        let x = Tensor::cat(&x, 0).unwrap();
        for activation in ALL {
            let expected = activation.forward(&x).unwrap();
            let found = activation.forward(&x.to_dtype(DType::F32).unwrap());
            let found: Vec<f32> = found.unwrap().to_vec1().unwrap();
            let expected: Vec<f64> = expected.to_vec1().unwrap();
            for ((found, expected), x) in
                found.iter().zip(expected).zip(x.to_vec1::<f64>().unwrap())
            {
                let difference = (f64::from(*found) - expected).abs();
                // A few units in the last place of x in f32.
                assert!(
                    difference < 3e-7 * (1.0 + x.abs()),
                    "{activation:?} of {x}: {difference:e}"
                );
            }
        }
    }

    #[test]
    fn gradients_match_finite_differences() {
        for activation in ALL {
            uard_testkit::assert_gradients(
                |x| {
                    let values = activation
                        .forward(&x[0])
                        .map_err(candle_core::Error::wrap)?;
                    values.sqr()?.sum_all()
                },
                &[numbers()],
                1e-7,
            );
        }
    }

    #[test]
    fn slope_of_relu_at_zero_is_zero_and_that_of_gelu_one_half() {
        assert_eq!(Activation::Relu.slope(0.0), 0.0);
        assert_eq!(Activation::Gelu.slope(0.0), 0.5);
        assert_eq!(Activation::GeluNew.slope(0.0), 0.5);
        let x = Var::new(&[0f32], &Device::Cpu).unwrap();
        let gradients = Activation::Relu.composed(&x).unwrap().backward().unwrap();
        assert_eq!(gradients.get(&x).unwrap().to_vec1::<f32>().unwrap(), [0.0]);
    }
}
