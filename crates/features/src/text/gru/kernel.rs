//! The gates of a time step on a GPU: launches of `gates.cu`.

use candle_core::{DType, Device, Tensor};
use uard_core::gpu::{Argument, GpuResult, Launch, Machine, Numbers, Program};
use uard_core::random::{Draws, normal};

use super::gates::{Gates, GatesBackward};

/// Threads of a block, as `gates.cu` has them.
const THREADS: u32 = 256;

/// The program of both passes.
pub static GATES: Program = Program {
    name: "gates",
    sources: &[include_str!("gates.cu")],
    defines: Vec::new(),
};

/// Rows n and width H of a time step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepShape {
    /// Captions that have a word left.
    pub rows: usize,
    /// Width of a state.
    pub width: usize,
}

/// What a step leaves in `left` `[6 n H]`, from the words' part [n, 3H], the states' part [n, 3H],
/// its bias `[3H]` and the previous states [n, H]; all f32.
///
/// # Safety
/// The arguments must be addresses of as many numbers, in memory of this machine that lives until
/// the kernel has run.
///
/// # Errors
/// When the machine refuses.
pub unsafe fn forward<M: Machine>(
    machine: &M,
    [words, states, bias, previous]: [Argument; 4],
    left: Argument,
    shape: StepShape,
) -> GpuResult<()> {
    let arguments = [
        words,
        states,
        bias,
        previous,
        left,
        Argument::U32(shape.rows as u32),
        Argument::U32(shape.width as u32),
    ];
    // SAFETY: the caller's promise; the arguments are those of the kernel.
    unsafe { launch(machine, "gates_forward", &arguments, shape) }
}

/// The gradients `[7 n H]` of a step, from what it left `[6 n H]`, the gradient of its states [n, H]
/// and that from the later step [k, H], k being `carried_rows`.
///
/// # Safety
/// As [`forward`].
///
/// # Errors
/// When the machine refuses.
pub unsafe fn backward<M: Machine>(
    machine: &M,
    [left, upstream, carried]: [Argument; 3],
    gradients: Argument,
    (shape, carried_rows): (StepShape, usize),
) -> GpuResult<()> {
    let arguments = [
        left,
        upstream,
        carried,
        gradients,
        Argument::U32(shape.rows as u32),
        Argument::U32(shape.width as u32),
        Argument::U32(carried_rows as u32),
    ];
    // SAFETY: the caller's promise; the arguments are those of the kernel.
    unsafe { launch(machine, "gates_backward", &arguments, shape) }
}

/// # Safety
/// As [`forward`].
unsafe fn launch<M: Machine>(
    machine: &M,
    kernel: &'static str,
    arguments: &[Argument],
    shape: StepShape,
) -> GpuResult<()> {
    // SAFETY: the caller's promise.
    unsafe {
        machine.launch(&Launch {
            program: &GATES,
            kernel,
            blocks: ((shape.rows * shape.width) as u32).div_ceil(THREADS),
            threads: THREADS,
            shared_bytes: 0,
            arguments,
        })
    }
}

#[cfg(feature = "cuda")]
mod on_tensors {
    use candle_core::cuda_backend::{CudaDevice, CudaStorage};
    use candle_core::{Device, Error, Layout, Result, Shape};
    use uard_core::gpu::Argument;
    use uard_core::gpu::tensors::{address_of, driver};

    use super::{StepShape, backward, forward};
    use crate::text::gru::gates::{Gates, GatesBackward};

    impl Gates {
        /// What the step leaves.
        pub(in crate::text::gru) fn on_device(
            &self,
            device: &CudaDevice,
            inputs: [Argument; 4],
        ) -> Result<(CudaStorage, Shape)> {
            let (left, to, shape) = written(device, 6 * self.rows * self.width)?;
            let step = StepShape {
                rows: self.rows,
                width: self.width,
            };
            let driver = driver(&Device::Cuda(device.clone()))?;
            // SAFETY: the inputs are tensors of these sizes on the driver's stream, and so is what
            // is written.
            unsafe { forward(&*driver, inputs, to, step) }.map_err(Error::wrap)?;
            Ok((left, shape))
        }
    }

    impl GatesBackward {
        /// The gradients of the step.
        pub(in crate::text::gru) fn on_device(
            &self,
            device: &CudaDevice,
            inputs: [Argument; 3],
        ) -> Result<(CudaStorage, Shape)> {
            let (gradients, to, shape) = written(device, 7 * self.rows * self.width)?;
            let step = StepShape {
                rows: self.rows,
                width: self.width,
            };
            let driver = driver(&Device::Cuda(device.clone()))?;
            // SAFETY: as in the forward pass.
            unsafe { backward(&*driver, inputs, to, (step, self.carried_rows)) }
                .map_err(Error::wrap)?;
            Ok((gradients, shape))
        }
    }

    /// A vector of f32, where it lies, and its shape.
    fn written(device: &CudaDevice, count: usize) -> Result<(CudaStorage, Argument, Shape)> {
        let shape = Shape::from(count);
        let numbers = device.alloc_zeros::<f32>(count)?;
        let numbers = CudaStorage::wrap_cuda_slice(numbers, device.clone());
        let address = address_of(&numbers, &Layout::contiguous(&shape))?;
        Ok((numbers, address, shape))
    }
}

/// Runs both passes on a seeded step, and gives the largest difference from the same in plain loops
/// in f64. Sums and products of a few numbers in f32 and the GPU's `expf` and `tanhf` stay below
/// [`TOLERANCE`].
///
/// # Errors
/// When the machine fails.
pub fn check<M: Machine>(machine: &M) -> crate::Result<f64> {
    // More numbers than a block has threads, and rows that the later step has not.
    let (shape, carried_rows) = (StepShape { rows: 5, width: 67 }, 3);
    let area = shape.rows * shape.width;
    let draw = |label: &str, count| normal(&mut Draws::new(2).stream(label, &[]), 1.0, count);
    let given = [
        draw("words", 3 * area),
        draw("states", 3 * area),
        draw("bias", 3 * shape.width),
        draw("previous", area),
        draw("upstream", area),
        draw("carried", carried_rows * shape.width),
    ];
    let (left, gradients) =
        on_machine(machine, &given, (shape, carried_rows)).map_err(uard_core::Error::from)?;
    let tensors = given
        .iter()
        .map(|numbers| {
            Tensor::from_slice(numbers, numbers.len(), &Device::Cpu)?.to_dtype(DType::F64)
        })
        .collect::<candle_core::Result<Vec<_>>>()?;
    let gates = Gates {
        bias: tensors[2].clone(),
        rows: shape.rows,
        width: shape.width,
    };
    let expected_left = tensors[0].apply_op3_no_bwd(&tensors[1], &tensors[3], &gates)?;
    let gates = GatesBackward {
        rows: shape.rows,
        width: shape.width,
        carried_rows,
    };
    let expected = expected_left.apply_op3_no_bwd(&tensors[4], &tensors[5], &gates)?;
    let left = difference(&left, &expected_left.to_vec1::<f64>()?);
    let gradients = difference(&gradients, &expected.to_vec1::<f64>()?);
    Ok(if left > gradients { left } else { gradients })
}

/// Above what [`check`] finds on a machine that is right.
pub const TOLERANCE: f64 = 2e-6;

fn on_machine<M: Machine>(
    machine: &M,
    given: &[Vec<f32>; 6],
    (shape, carried_rows): (StepShape, usize),
) -> GpuResult<(Vec<f32>, Vec<f32>)> {
    let mut there = Vec::new();
    for numbers in given {
        there.push(Numbers::copied(machine, numbers)?);
    }
    let area = shape.rows * shape.width;
    let left = Numbers::<M, f32>::unset(machine, 6 * area)?;
    let gradients = Numbers::<M, f32>::unset(machine, 7 * area)?;
    let at = |index: usize| there[index].argument();
    // SAFETY: all buffers have the sizes of the step and outlive the reads below.
    unsafe {
        let step = [at(0), at(1), at(2), at(3)];
        forward(machine, step, left.argument(), shape)?;
        let step = [left.argument(), at(4), at(5)];
        backward(machine, step, gradients.argument(), (shape, carried_rows))?;
    }
    Ok((left.read(machine)?, gradients.read(machine)?))
}

/// The largest difference; NaN where something is not a number.
fn difference(found: &[f32], expected: &[f64]) -> f64 {
    let differences = found
        .iter()
        .zip(expected)
        .map(|(&found, expected)| (f64::from(found) - expected).abs());
    differences.fold(0.0, |largest, next| match next <= largest {
        true => largest,
        false => next,
    })
}

#[cfg(test)]
mod tests {
    use uard_ptx::Interpreter;

    use super::*;

    #[test]
    fn gates_of_a_gpu_equal_plain_loops_in_both_passes() {
        let required = std::env::var_os("UARD_NVRTC").is_some();
        let Some(machine) = Interpreter::where_possible(80, required) else {
            return;
        };
        let found = check(&machine).unwrap();
        assert!(found < TOLERANCE, "{found}");
    }
}
