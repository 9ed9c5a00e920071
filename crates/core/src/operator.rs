//! Operators whose value and gradients we compute ourselves, with any number of inputs, on any device.
//!
//! candle's custom operators take three tensors at most and need a function for each backend. Here the
//! caller passes a value that is already computed, and one function for the gradients of all inputs.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp3, DType, Device, Error, Layout, Result, Shape, Storage, Tensor, WithDType,
};

const NAME: &str = "operator-by-hand";

/// Makes a computed value a node of candle's graph that depends on `inputs`.
///
/// `gradients` gets the gradient of the value, contiguous, and returns those of the inputs in their
/// order. It runs once in each backward pass.
///
/// # Errors
/// When value and inputs are not on the same device, or the value has gaps.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use uard_core::operator::operator;
///
/// let [x, y] = [2f32, 3.0].map(|x| Var::new(x, &Device::Cpu).unwrap());
/// let (a, b) = (x.as_detached_tensor(), y.as_detached_tensor());
/// let product = operator(&(&a * &b)?, &[x.as_tensor(), y.as_tensor()], move |upstream| {
///     Ok(vec![(upstream * &b)?, (upstream * &a)?])
/// })?;
/// let gradients = product.backward()?;
/// assert_eq!(gradients.get(&x).unwrap().to_scalar::<f32>()?, 3.0);
/// assert_eq!(gradients.get(&y).unwrap().to_scalar::<f32>()?, 2.0);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn operator<G>(value: &Tensor, inputs: &[&Tensor], gradients: G) -> Result<Tensor>
where
    G: Fn(&Tensor) -> Result<Vec<Tensor>> + Send + Sync + 'static,
{
    let gradients = move |_: &Tensor, upstream: &Tensor| gradients(upstream);
    in_graph(
        Value::Tensor(value.clone()),
        value.device(),
        inputs,
        gradients,
    )
}

/// [`operator`] for numbers that were computed on the CPU, which are not copied; `gradients` gets the
/// value and its gradient.
///
/// # Errors
/// When the shape does not hold the numbers, or an input is on another device.
pub fn cpu_operator<T, G>(
    numbers: Vec<T>,
    shape: impl Into<Shape>,
    inputs: &[&Tensor],
    gradients: G,
) -> Result<Tensor>
where
    T: WithDType,
    G: Fn(&Tensor, &Tensor) -> Result<Vec<Tensor>> + Send + Sync + 'static,
{
    let shape = shape.into();
    if shape.elem_count() != numbers.len() {
        let found = numbers.len();
        return Err(Error::Msg(format!("{NAME}: {found} numbers for {shape:?}")).bt());
    }
    let value = Value::Numbers(T::to_cpu_storage_owned(numbers), shape);
    in_graph(value, &Device::Cpu, inputs, gradients)
}

/// Puts the value into candle's graph behind its inputs.
///
/// An operator of candle takes three tensors at most. So the inputs are taken in pairs: each pair
/// goes into an operator of its own, whose value is a single zero that the next pair's operator
/// reads, and the value is an operator that reads the last zero. A backward pass comes to the value
/// first: its operator computes the gradients of all inputs and keeps them in `found`, from which
/// the operator of each pair then takes its two.
fn in_graph<G>(value: Value, device: &Device, inputs: &[&Tensor], gradients: G) -> Result<Tensor>
where
    G: Fn(&Tensor, &Tensor) -> Result<Vec<Tensor>> + Send + Sync + 'static,
{
    let found = Arc::new(Mutex::new(Vec::<Option<Tensor>>::new()));
    let zero = Tensor::zeros(1, DType::F32, device)?;
    let mut last = zero.clone();
    for (at, pair) in inputs.chunks(2).enumerate() {
        let (found, before) = (Arc::clone(&found), zero.clone());
        let gradients = move |_: &Tensor, _: &Tensor| {
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            let mut take = |input: usize| found.get_mut(input).and_then(std::mem::take);
            let first = take(2 * at);
            Ok([Some(before.clone()), first, take(2 * at + 1)])
        };
        let node = Precomputed::new(Value::Tensor(zero.clone()), gradients);
        last = last.apply_op3(pair[0], pair[pair.len() - 1], node)?;
    }
    let gradients = move |value: &Tensor, upstream: &Tensor| {
        let all = gradients(value, upstream)?.into_iter().map(Some).collect();
        *found.lock().unwrap_or_else(PoisonError::into_inner) = all;
        Ok([Some(zero.clone()), None, None])
    };
    last.apply_op3(&last, &last, Precomputed::new(value, gradients))
}

/// A computed value.
enum Value {
    Tensor(Tensor),
    Numbers(CpuStorage, Shape),
}

/// An operator whose value is computed before, with a function for the gradients of its three inputs.
struct Precomputed<G> {
    /// Taken when candle runs the operator, so that the graph does not keep it twice.
    value: Mutex<Option<Value>>,
    gradients: G,
}

impl<G> Precomputed<G> {
    fn new(value: Value, gradients: G) -> Self {
        Self {
            value: Mutex::new(Some(value)),
            gradients,
        }
    }

    fn take(&self) -> Result<Value> {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = || Error::Msg(format!("{NAME}: its value was taken before")).bt();
        value.take().ok_or_else(missing)
    }
}

/// A copy of a value's storage. `of_backend` is `None` for a storage of another backend than that
/// of `S`, which is an error.
fn copied<S: BackendStorage>(
    value: &Value,
    of_backend: fn(&Storage) -> Option<&S>,
) -> Result<(S, Shape)> {
    let other = || Error::Msg(format!("{NAME}: its value is on another device")).bt();
    let Value::Tensor(value) = value else {
        return Err(other());
    };
    let (storage, layout) = value.storage_and_layout();
    if !layout.is_contiguous() || layout.start_offset() != 0 {
        return Err(Error::RequiresContiguous { op: NAME }.bt());
    }
    let storage = of_backend(&storage).ok_or_else(other)?;
    Ok((storage.try_clone(layout)?, layout.shape().clone()))
}

impl<G> CustomOp3 for Precomputed<G>
where
    G: Fn(&Tensor, &Tensor) -> Result<[Option<Tensor>; 3]> + Send + Sync,
{
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        match self.take()? {
            Value::Numbers(storage, shape) => Ok((storage, shape)),
            value => copied(&value, |storage| match storage {
                Storage::Cpu(storage) => Some(storage),
                _ => None,
            }),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &candle_core::CudaStorage,
        _: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        copied(&self.take()?, |storage| match storage {
            Storage::Cuda(storage) => Some(storage),
            _ => None,
        })
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        _: &candle_core::MetalStorage,
        _: &Layout,
        _: &candle_core::MetalStorage,
        _: &Layout,
        _: &candle_core::MetalStorage,
        _: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        copied(&self.take()?, |storage| match storage {
            Storage::Metal(storage) => Some(storage),
            _ => None,
        })
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        value: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [first, second, third] = (self.gradients)(value, &upstream.contiguous()?)?;
        Ok((first, second, third))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use uard_testkit::assert_close;

    use super::*;

    #[test]
    fn every_input_gets_its_gradient_in_every_backward_pass() {
        for count in 1..=5 {
            let vars: Vec<Var> = (0..count)
                .map(|at| Var::new(&[at as f64 + 1.0, 2.0], &Device::Cpu).unwrap())
                .collect();
            let inputs: Vec<&Tensor> = vars.iter().map(|var| var.as_tensor()).collect();
            let value = Tensor::new(&[7f64, 8.0], &Device::Cpu).unwrap();
            let found = operator(&value, &inputs, move |upstream| {
                (0..count).map(|at| upstream * (at as f64 + 1.0)).collect()
            });
            let loss = (found.unwrap().sqr().unwrap() * 0.5).unwrap();
            for _ in 0..2 {
                let gradients = loss.backward().unwrap();
                for (at, var) in vars.iter().enumerate() {
                    let expected = (&value * (at as f64 + 1.0)).unwrap();
                    assert_close(gradients.get(var).unwrap(), &expected, 0.0);
                }
            }
        }
    }

    #[test]
    fn data_among_the_inputs_has_no_graph() {
        let value = Tensor::new(&[7f32], &Device::Cpu).unwrap();
        let data = operator(&value, &[&value, &value], |_| Ok(Vec::new())).unwrap();
        assert!(!data.track_op());
    }
}
