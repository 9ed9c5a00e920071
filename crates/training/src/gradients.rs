//! The gradients of a step by parameter name, and their global norm.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Storage, Tensor};
use rayon::prelude::*;
use uard_core::parameters::Parameters;

use crate::{Error, Result};

/// How many numbers one task sums; the sums of the tasks are added in a fixed order, so that the
/// result does not depend on the number of threads.
const PART: usize = 1 << 14;

/// The gradient of every parameter, by name.
#[derive(Debug, Clone)]
pub struct Gradients {
    tensors: BTreeMap<String, Tensor>,
    /// Partial sums of squares in f64, one for each block of the kernels, if
    /// [`Gradients::begin_norm`] has launched these on CUDA.
    #[cfg(feature = "cuda")]
    squares: Option<Tensor>,
}

impl Gradients {
    /// Takes every parameter's gradient out of a backward pass.
    ///
    /// # Errors
    /// When a parameter has no gradient.
    pub fn take(parameters: &Parameters, store: &mut GradStore) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (name, var) in parameters.iter() {
            let gradient = store
                .remove(var.as_tensor())
                .ok_or_else(|| Error::NoGradient {
                    name: name.to_owned(),
                })?;
            tensors.insert(name.to_owned(), gradient.contiguous()?);
        }
        Ok(Self {
            tensors,
            #[cfg(feature = "cuda")]
            squares: None,
        })
    }

    /// Launches the kernels of the norm on a CUDA device before [`Gradients::norm`] is called,
    /// which then waits for a shorter time. Does nothing on other devices.
    ///
    /// # Errors
    /// When the device fails.
    pub fn begin_norm(&mut self) -> Result<()> {
        #[cfg(feature = "cuda")]
        if self.are_on_cuda() {
            self.squares = Some(crate::kernel::on_tensors::squares(self.tensors.values())?);
        }
        Ok(())
    }

    /// Adds the gradients of another part of the batch.
    ///
    /// # Errors
    /// When the other gradients lack a parameter of these.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        #[cfg(feature = "cuda")]
        {
            self.squares = None;
        }
        for (name, tensor) in &mut self.tensors {
            let more = other
                .get(name)
                .ok_or_else(|| Error::NoGradient { name: name.clone() })?;
            *tensor = (&*tensor + more)?;
        }
        Ok(())
    }

    /// One parameter's gradient.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Every gradient, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The global L2 norm.
    ///
    /// ```text
    /// sqrt(sum over all parameters and their numbers of g^2)
    /// ```
    ///
    /// Summed in f64 in a fixed order.
    ///
    /// # Errors
    /// When a gradient is not finite: names the first such parameter in the order of names, and
    /// `step`.
    pub fn norm(&self, step: usize) -> Result<f64> {
        let mut total = 0.0;
        for (name, squared) in self.tensors.keys().zip(self.sums_of_squares()?) {
            if !squared.is_finite() {
                let tensor = format!("gradient of `{name}`");
                return Err(Error::NonFinite { tensor, step });
            }
            total += squared;
        }
        Ok(total.sqrt())
    }

    /// The sum of squares of each gradient, in the order of names.
    fn sums_of_squares(&self) -> Result<Vec<f64>> {
        #[cfg(feature = "cuda")]
        if self.are_on_cuda() {
            return self.sums_of_squares_on_cuda();
        }
        self.tensors.values().map(sum_of_squares).collect()
    }

    /// The sum of squares of each gradient: adds the partial sums of the kernel's blocks in their
    /// order.
    #[cfg(feature = "cuda")]
    fn sums_of_squares_on_cuda(&self) -> Result<Vec<f64>> {
        let sums = match &self.squares {
            Some(started) => started.clone(),
            None => crate::kernel::on_tensors::squares(self.tensors.values())?,
        };
        let sums = sums.to_vec1::<f64>()?;
        let mut rest = sums.as_slice();
        let mut next_sum = |tensor: &Tensor| {
            let (blocks, after) = rest.split_at(crate::kernel::sum_count(tensor.elem_count()));
            rest = after;
            blocks.iter().sum()
        };
        Ok(self.tensors.values().map(&mut next_sum).collect())
    }

    #[cfg(feature = "cuda")]
    fn are_on_cuda(&self) -> bool {
        self.tensors
            .values()
            .next()
            .is_some_and(|tensor| tensor.device().is_cuda())
    }
}

/// Sum of squares of an f32 tensor, in f64; infinite or NaN exactly when an element is.
fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    if !matches!(tensor.device(), Device::Cpu) {
        let host = tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        return sum_of_squares(&host);
    }
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(Error::Candle(candle_core::Error::Msg(
            "expected a CPU tensor".to_owned(),
        )));
    };
    let start = layout.start_offset();
    let numbers = &storage.as_slice::<f32>()?[start..start + layout.shape().elem_count()];
    let parts: Vec<f64> = numbers
        .par_chunks(PART)
        .map(|part| part.iter().map(|&g| f64::from(g) * f64::from(g)).sum())
        .collect();
    Ok(parts.into_iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Parameters {
        let mut parameters = Parameters::new(&Device::Cpu);
        parameters.create("a", vec![3.0, 0.0], &[2]).unwrap();
        parameters.create("b", vec![4.0], &[1]).unwrap();
        parameters
    }

    fn squares(parameters: &Parameters) -> Gradients {
        let a = parameters
            .get("a")
            .unwrap()
            .sqr()
            .unwrap()
            .sum_all()
            .unwrap();
        let b = parameters
            .get("b")
            .unwrap()
            .sqr()
            .unwrap()
            .sum_all()
            .unwrap();
        let loss = ((a + b).unwrap() / 2.0).unwrap();
        Gradients::take(parameters, &mut loss.backward().unwrap()).unwrap()
    }

    #[test]
    fn norm_is_over_all_parameters() {
        let parameters = parameters();
        let mut gradients = squares(&parameters);
        assert_eq!(gradients.norm(1).unwrap(), 5.0);
        gradients.add(&squares(&parameters)).unwrap();
        assert_eq!(gradients.norm(1).unwrap(), 10.0);
    }

    #[test]
    fn a_parameter_without_gradient_is_named() {
        let parameters = parameters();
        let loss = parameters.get("a").unwrap().sum_all().unwrap();
        let error = Gradients::take(&parameters, &mut loss.backward().unwrap()).unwrap_err();
        assert!(error.to_string().contains("`b`"), "{error}");
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_named() {
        let parameters = parameters();
        let infinite = Tensor::new(&[f32::INFINITY], &Device::Cpu).unwrap();
        parameters.get("b").unwrap().set(&infinite).unwrap();
        let message = squares(&parameters).norm(7).unwrap_err().to_string();
        assert!(message.starts_with("step 7: gradient of `b`"), "{message}");
    }
}
