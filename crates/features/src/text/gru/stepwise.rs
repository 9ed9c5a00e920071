//! How does a direction run on a CUDA device? Step by step: candle multiplies, one kernel does all
//! gates of a step, and the way back is an operator of its own, with one large product for the
//! weights instead of one a step.
//!
//! The same steps run on the CPU with the kernel as plain loops: so tests see everything but the
//! kernel, and the kernel is tested on an interpreter of PTX.

use candle_core::{CpuStorage, CustomOp3, Layout, Result as CandleResult, Shape, Tensor};

use super::gates::{Gates, GatesBackward};
use super::recurrence::Direction;
use super::schedule::Schedule;
use crate::Result;

/// The states of one direction [N, H] in step order, from `from_words` = W_ih x + b_ih [N, 3H] in
/// that order.
///
/// # Errors
/// When a tensor operation fails.
pub(super) fn states(
    from_words: &Tensor,
    direction: &Direction,
    schedule: &Schedule,
) -> Result<Tensor> {
    let recorded = Recorded::forward(
        &from_words.detach(),
        &direction.weight_hh.detach(),
        &direction.bias_hh.detach(),
        schedule,
    )?;
    Ok(from_words.apply_op3(&direction.weight_hh, &direction.bias_hh, recorded)?)
}

/// What the steps have left; as an operator, it hands out the states.
struct Recorded {
    /// [N, H].
    states: Tensor,
    /// Of each step, `[6 n H]`: as `gates.cu` lays it out.
    left: Vec<Tensor>,
    /// Captions n of each step.
    rows: Vec<usize>,
    width: usize,
}

impl Recorded {
    fn forward(
        from_words: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        schedule: &Schedule,
    ) -> Result<Self> {
        let (width, by_state) = (weight.dim(1)?, weight.t()?);
        let start = (schedule.captions(), width);
        let mut state = Tensor::zeros(start, weight.dtype(), weight.device())?;
        let (mut left, mut rows, mut states) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..schedule.steps() {
            let range = schedule.step(step);
            let previous = state.narrow(0, 0, range.len())?;
            let from_state = previous.matmul(&by_state)?;
            let from_words = from_words.narrow(0, range.start, range.len())?;
            let gates = Gates::new(bias, range.len(), width);
            let step = from_words.apply_op3_no_bwd(&from_state, &previous, &gates)?;
            state = block(&step, 0, (range.len(), width))?;
            states.push(state.clone());
            rows.push(range.len());
            left.push(step);
        }
        Ok(Self {
            states: Tensor::cat(&states, 0)?,
            left,
            rows,
            width,
        })
    }

    /// The gradients of `from_words`, of the weights of states and of their bias.
    fn backward(&self, weight: &Tensor, upstream: &Tensor) -> CandleResult<[Tensor; 3]> {
        let (weight, width) = (weight.detach(), self.width);
        let mut carried = Tensor::zeros((1, width), weight.dtype(), weight.device())?;
        let (mut carried_rows, mut end) = (0, upstream.dim(0)?);
        let (mut to_words, mut to_states, mut previous) = (Vec::new(), Vec::new(), Vec::new());
        for (left, &rows) in self.left.iter().zip(&self.rows).rev() {
            let above = upstream.narrow(0, end - rows, rows)?;
            let gates = GatesBackward {
                rows,
                width,
                carried_rows,
            };
            let found = left.apply_op3_no_bwd(&above, &carried, &gates)?;
            let of_states = block(&found, 3 * rows * width, (rows, 3 * width))?;
            let beside = block(&found, 6 * rows * width, (rows, width))?;
            end -= rows;
            if end > 0 {
                carried = (beside + of_states.matmul(&weight)?)?;
                carried_rows = rows;
            }
            to_words.push(block(&found, 0, (rows, 3 * width))?);
            to_states.push(of_states);
            previous.push(block(left, 5 * rows * width, (rows, width))?);
        }
        for steps in [&mut to_words, &mut to_states, &mut previous] {
            steps.reverse();
        }
        let to_states = Tensor::cat(&to_states, 0)?;
        let previous = Tensor::cat(&previous, 0)?;
        Ok([
            Tensor::cat(&to_words, 0)?,
            to_states.t()?.matmul(&previous)?,
            to_states.sum(0)?,
        ])
    }
}

/// A block of a vector of numbers, as a matrix.
fn block(numbers: &Tensor, start: usize, (rows, columns): (usize, usize)) -> CandleResult<Tensor> {
    numbers
        .narrow(0, start, rows * columns)?
        .reshape((rows, columns))
}

impl CustomOp3 for Recorded {
    fn name(&self) -> &'static str {
        "gru-steps"
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
        use candle_core::{Storage, backend::BackendStorage};
        let (storage, layout) = self.states.storage_and_layout();
        match &*storage {
            Storage::Cpu(states) => Ok((states.try_clone(layout)?, layout.shape().clone())),
            _ => Err(candle_core::Error::Msg(
                "gru-steps: states of another device".to_owned(),
            )),
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
    ) -> CandleResult<(candle_core::CudaStorage, Shape)> {
        use candle_core::{Storage, backend::BackendStorage};
        let (storage, layout) = self.states.storage_and_layout();
        match &*storage {
            Storage::Cuda(states) => Ok((states.try_clone(layout)?, layout.shape().clone())),
            _ => Err(candle_core::Error::Msg(
                "gru-steps: states of another device".to_owned(),
            )),
        }
    }

    fn bwd(
        &self,
        _from_words: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _states: &Tensor,
        upstream: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let upstream = upstream.contiguous()?;
        let [to_words, to_weight, to_bias] = self.backward(weight, &upstream)?;
        Ok((Some(to_words), Some(to_weight), Some(to_bias)))
    }
}
