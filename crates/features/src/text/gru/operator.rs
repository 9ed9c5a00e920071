//! How do embedding and recurrence run fast on a CPU? As one operator with its own backward
//! through time.
//!
//! Captions are sorted by length, so that every time step is one product over a prefix of them,
//! with weights that are packed once. Everything else is a product over many words at once: a word
//! that stands in several captions is multiplied once, and its gradients are summed before they are.
//! The two directions run beside each other; work is cut by data and summed in a fixed order: the bytes do
//! not depend on the number of threads.
//!
//! The operator has nine parameters, and candle's custom operators take three tensors at most. So
//! each three parameters pass a `Door`, an operator whose result is a single zero, and the
//! recurrence is an operator on three doors. All read the parameters from what they share; on the
//! way back, the recurrence leaves the gradients there and each door hands out its three.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result as CandleResult, Shape, Tensor};
use uard_core::slices::reading;

use super::activation::Real;
use super::batch::CaptionBatch;
use super::recurrence::Recurrence;
use super::shared::{NAME, Shared};
use crate::Result;

/// The average of both directions, differentiable, for f32 or f64 on the CPU.
///
/// # Shapes
/// The result is [C, W, H]; padding rows are zero.
///
/// # Errors
/// When an id is not in the vocabulary, the shapes do not fit each other, the dtypes differ or are
/// no floats of 32 or 64 bits, or the tensors are not on the CPU.
pub fn average(recurrence: &Recurrence, batch: &CaptionBatch) -> Result<Tensor> {
    check(recurrence)?;
    batch.check_vocabulary(recurrence.vocabulary()?)?;
    match recurrence.embedding.dtype() {
        DType::F64 => apply::<f64>(recurrence, batch),
        _ => apply::<f32>(recurrence, batch),
    }
}

fn apply<T: Real>(recurrence: &Recurrence, batch: &CaptionBatch) -> Result<Tensor> {
    let shared = Arc::new(Shared::<T>::new(recurrence, batch)?);
    let mut doors = Vec::with_capacity(3);
    for (door, three) in recurrence.tensors().chunks_exact(3).enumerate() {
        let shared = Arc::clone(&shared);
        doors.push(three[0].apply_op3(three[1], three[2], Door { door, shared })?);
    }
    Ok(doors[0].apply_op3(&doors[1], &doors[2], Operator { shared })?)
}

fn check(recurrence: &Recurrence) -> Result<()> {
    let (_, words) = recurrence.embedding.dims2()?;
    let width = recurrence.width()?;
    for direction in [&recurrence.forward, &recurrence.reverse] {
        let matrices = [
            ("weights of words", &direction.weight_ih, words),
            ("weights of states", &direction.weight_hh, width),
        ];
        for (tensor, weight, columns) in matrices {
            let (rows, found) = weight.dims2()?;
            fits(tensor, "gates", 3 * width, rows)?;
            fits(tensor, "inputs", columns, found)?;
        }
        for bias in [&direction.bias_ih, &direction.bias_hh] {
            fits("biases", "gates", 3 * width, bias.dims1()?)?;
        }
    }
    Ok(())
}

fn fits(tensor: &str, axis: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(uard_core::Error::ShapeMismatch {
        tensor: tensor.to_owned(),
        axis,
        expected,
        found,
    }
    .into())
}

/// Three parameters to a single zero; see the module.
struct Door<T> {
    door: usize,
    shared: Arc<Shared<T>>,
}

impl<T: Real> CustomOp3 for Door<T> {
    fn name(&self) -> &'static str {
        "parameters-of-gru"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        Ok((T::to_cpu_storage_owned(vec![T::ZERO]), Shape::from(1)))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [first, second, third] = self.shared.take_gradients(self.door)?;
        Ok((Some(first), Some(second), Some(third)))
    }
}

/// Three doors to the average [C, W, H].
struct Operator<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Real> CustomOp3 for Operator<T> {
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
    ) -> CandleResult<(CpuStorage, Shape)> {
        let (average, shape) = self.shared.forward()?;
        Ok((T::to_cpu_storage_owned(average), shape))
    }

    fn bwd(
        &self,
        first: &Tensor,
        second: &Tensor,
        third: &Tensor,
        _average: &Tensor,
        gradient: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let averaged = reading(&gradient);
        self.shared.leave_gradients(averaged.numbers(NAME)?)?;
        Ok((
            Some(first.zeros_like()?),
            Some(second.zeros_like()?),
            Some(third.zeros_like()?),
        ))
    }
}
