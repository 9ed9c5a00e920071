//! All gates of one time step, forward and backward: plain loops on the CPU, `gates.cu` on CUDA.
//!
//! `cell` has the formulas; here they work on the tensors of [`super::stepwise`], whose layouts
//! `gates.cu` describes.

use candle_core::{
    CpuStorage, CustomOp3, DType, Layout, Result as CandleResult, Shape, Tensor, WithDType,
};
use uard_core::slices::{numbers, reading};

const NAME: &str = "gru-gates";

/// (`W_ih x + b_ih` [n, 3H], `W_hh h` [n, 3H], h [n, H]) to what a step leaves, `[6 n H]`.
pub(super) struct Gates {
    /// `[3H]`.
    bias: Tensor,
    rows: usize,
    width: usize,
}

/// (what a step left `[6 n H]`, gradient of its states [n, H], gradient from the later step [k, H])
/// to the gradients of the words' part [n, 3H], of the states' part [n, 3H] and of h beside `W_hh`
/// [n, H], one after the other.
pub(super) struct GatesBackward {
    pub rows: usize,
    pub width: usize,
    /// Rows that come from the later step: the first ones.
    pub carried_rows: usize,
}

impl Gates {
    pub(super) fn new(bias: &Tensor, rows: usize, width: usize) -> Self {
        Self {
            bias: bias.clone(),
            rows,
            width,
        }
    }

    fn on_host<T: WithDType>(
        &self,
        words: &[T],
        states: &[T],
        previous: &[T],
    ) -> CandleResult<Vec<T>> {
        let bias = reading(&self.bias);
        let bias = bias.numbers::<T>(NAME)?;
        let area = self.rows * self.width;
        let mut left = vec![T::from_f64(0.0); 6 * area];
        for at in 0..area {
            let (row, column) = (at / self.width, at % self.width);
            let gate = |of: &[T], gate: usize| of[(row * 3 + gate) * self.width + column].to_f64();
            let bias = |gate: usize| bias[gate * self.width + column].to_f64();
            let r = sigmoid(gate(words, 0) + gate(states, 0) + bias(0));
            let z = sigmoid(gate(words, 1) + gate(states, 1) + bias(1));
            let q = gate(states, 2) + bias(2);
            let n = (gate(words, 2) + r * q).tanh();
            let before = previous[at].to_f64();
            let found = [n + z * (before - n), r, z, n, q, before];
            for (block, found) in found.into_iter().enumerate() {
                left[block * area + at] = T::from_f64(found);
            }
        }
        Ok(left)
    }
}

impl GatesBackward {
    fn on_host<T: WithDType>(&self, left: &[T], upstream: &[T], carried: &[T]) -> Vec<T> {
        let (area, width) = (self.rows * self.width, self.width);
        let mut gradients = vec![T::from_f64(0.0); 7 * area];
        for at in 0..area {
            let (row, column) = (at / width, at % width);
            let [r, z, n, q, before] =
                [1, 2, 3, 4, 5].map(|block| left[block * area + at].to_f64());
            let carried = match row < self.carried_rows {
                true => carried[at].to_f64(),
                false => 0.0,
            };
            let d = upstream[at].to_f64() + carried;
            let to_n = d * (1.0 - z) * (1.0 - n * n);
            let to_z = d * (before - n) * z * (1.0 - z);
            let to_r = to_n * q * r * (1.0 - r);
            let places = [(0, [to_r, to_z, to_n]), (3 * area, [to_r, to_z, to_n * r])];
            for (start, found) in places {
                for (gate, found) in found.into_iter().enumerate() {
                    gradients[start + (row * 3 + gate) * width + column] = T::from_f64(found);
                }
            }
            gradients[6 * area + at] = T::from_f64(d * z);
        }
        gradients
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The three inputs of an operator, in host memory.
type Inputs<'a> = [(&'a CpuStorage, &'a Layout); 3];

fn slices<'a, T: WithDType>(inputs: Inputs<'a>) -> CandleResult<[&'a [T]; 3]> {
    let [a, b, c] = inputs.map(|(storage, layout)| numbers::<T>(storage, layout, NAME));
    Ok([a?, b?, c?])
}

fn gates<T: WithDType>(gates: &Gates, inputs: Inputs<'_>) -> CandleResult<(CpuStorage, Shape)> {
    let [words, states, previous] = slices::<T>(inputs)?;
    let left = gates.on_host(words, states, previous)?;
    let count = left.len();
    Ok((T::to_cpu_storage_owned(left), Shape::from(count)))
}

fn gates_backward<T: WithDType>(
    gates: &GatesBackward,
    inputs: Inputs<'_>,
) -> CandleResult<(CpuStorage, Shape)> {
    let [left, upstream, carried] = slices::<T>(inputs)?;
    let found = gates.on_host(left, upstream, carried);
    let count = found.len();
    Ok((T::to_cpu_storage_owned(found), Shape::from(count)))
}

impl CustomOp3 for Gates {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        words: &CpuStorage,
        words_layout: &Layout,
        states: &CpuStorage,
        states_layout: &Layout,
        previous: &CpuStorage,
        previous_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let inputs = [
            (words, words_layout),
            (states, states_layout),
            (previous, previous_layout),
        ];
        match self.bias.dtype() {
            DType::F64 => gates::<f64>(self, inputs),
            _ => gates::<f32>(self, inputs),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        words: &candle_core::CudaStorage,
        words_layout: &Layout,
        states: &candle_core::CudaStorage,
        states_layout: &Layout,
        previous: &candle_core::CudaStorage,
        previous_layout: &Layout,
    ) -> CandleResult<(candle_core::CudaStorage, Shape)> {
        use uard_core::gpu::tensors::{address, address_of};
        let inputs = [
            address_of(words, words_layout)?,
            address_of(states, states_layout)?,
            address(&self.bias)?,
            address_of(previous, previous_layout)?,
        ];
        self.on_device(&words.device, inputs)
    }
}

impl CustomOp3 for GatesBackward {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        left: &CpuStorage,
        left_layout: &Layout,
        upstream: &CpuStorage,
        upstream_layout: &Layout,
        carried: &CpuStorage,
        carried_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let inputs = [
            (left, left_layout),
            (upstream, upstream_layout),
            (carried, carried_layout),
        ];
        match left {
            CpuStorage::F64(_) => gates_backward::<f64>(self, inputs),
            _ => gates_backward::<f32>(self, inputs),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        left: &candle_core::CudaStorage,
        left_layout: &Layout,
        upstream: &candle_core::CudaStorage,
        upstream_layout: &Layout,
        carried: &candle_core::CudaStorage,
        carried_layout: &Layout,
    ) -> CandleResult<(candle_core::CudaStorage, Shape)> {
        use uard_core::gpu::tensors::address_of;
        let inputs = [
            address_of(left, left_layout)?,
            address_of(upstream, upstream_layout)?,
            address_of(carried, carried_layout)?,
        ];
        self.on_device(&left.device, inputs)
    }
}
