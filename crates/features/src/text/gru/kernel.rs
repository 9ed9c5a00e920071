//! The gates of a time step on a GPU: launches of `gates.cu`.

use candle_core::{DType, Device, Tensor};
use uard_core::gpu::{Argument, GpuResult, Launch, Machine, Numbers, Program};
use uard_core::random::{Draws, normal};

use super::composed::{StepInputs, composed_gates, composed_gradients};

/// Threads of a block, as the kernels have them.
const THREADS: u32 = 256;

/// The program of both passes.
static GATES: Program = Program {
    name: "gates",
    sources: &[include_str!("gates.cu")],
    defines: Vec::new(),
};

/// Rows n and width H of a time step, and the rows k that a later step sends something to.
#[derive(Debug, Clone, Copy)]
struct StepShape {
    rows: usize,
    width: usize,
    carried_rows: usize,
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
unsafe fn forward(
    machine: &dyn Machine,
    inputs: [Argument; 4],
    left: Argument,
    shape: StepShape,
) -> GpuResult<()> {
    let sizes = [shape.rows, shape.width].map(|size| Argument::U32(size as u32));
    let arguments = [&inputs[..], &[left], &sizes].concat();
    // SAFETY: the caller's promise; the arguments are those of the kernel.
    unsafe { launch(machine, "gates_forward", &arguments, shape) }
}

/// The gradients `[7 n H]` of a step, from what it left `[6 n H]`, the gradient of its states [n, H]
/// and that from the later step [k, H].
///
/// # Safety
/// As [`forward`].
///
/// # Errors
/// When the machine refuses.
unsafe fn backward(
    machine: &dyn Machine,
    inputs: [Argument; 3],
    gradients: Argument,
    shape: StepShape,
) -> GpuResult<()> {
    let sizes = [shape.rows, shape.width, shape.carried_rows];
    let sizes = sizes.map(|size| Argument::U32(size as u32));
    let arguments = [&inputs[..], &[gradients], &sizes].concat();
    // SAFETY: the caller's promise; the arguments are those of the kernel.
    unsafe { launch(machine, "gates_backward", &arguments, shape) }
}

/// # Safety
/// As [`forward`].
unsafe fn launch(
    machine: &dyn Machine,
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

/// The same on tensors of a CUDA device.
#[cfg(feature = "cuda")]
pub(super) mod on_tensors {
    use candle_core::{DType, Error, Result, Tensor};
    use uard_core::gpu::tensors::{address, driver};

    use super::{StepShape, backward, forward};
    use crate::text::gru::composed::{StepGradients, StepInputs};

    /// Whether the kernels run on tensors like this one.
    pub(in crate::text::gru) fn takes(tensor: &Tensor) -> bool {
        tensor.device().is_cuda() && tensor.dtype() == DType::F32
    }

    /// What a step leaves, [6, n, H].
    pub(in crate::text::gru) fn gates(step: &StepInputs<'_>) -> Result<Tensor> {
        let (rows, width) = step.previous.dims2()?;
        let device = step.previous.device();
        // SAFETY: the kernel writes every number, which the interpreter of PTX has watched, and
        // nobody reads before it.
        let left = unsafe { Tensor::empty((6, rows, width), DType::F32, device) }?;
        let inputs = [
            address(step.words)?,
            address(step.states)?,
            address(step.bias)?,
            address(step.previous)?,
        ];
        let shape = StepShape {
            rows,
            width,
            carried_rows: 0,
        };
        // SAFETY: the inputs are tensors of these sizes on the driver's stream, which gives memory
        // back after the kernels before it, and so is what is written.
        unsafe { forward(&*driver(device)?, inputs, address(&left)?, shape) }
            .map_err(Error::wrap)?;
        Ok(left)
    }

    /// The gradients of a step.
    pub(in crate::text::gru) fn gradients(
        left: &Tensor,
        above: &Tensor,
        carried: &Tensor,
    ) -> Result<StepGradients> {
        let (rows, width) = above.dims2()?;
        // SAFETY: as in the forward pass.
        let found = unsafe { Tensor::empty(7 * rows * width, DType::F32, left.device()) }?;
        let inputs = [address(left)?, address(above)?, address(carried)?];
        let shape = StepShape {
            rows,
            width,
            carried_rows: carried.dim(0)?,
        };
        // SAFETY: as in the forward pass.
        unsafe { backward(&*driver(left.device())?, inputs, address(&found)?, shape) }
            .map_err(Error::wrap)?;
        let block = |start: usize, columns: usize| {
            let numbers = found.narrow(0, start * rows * width, rows * columns)?;
            numbers.reshape((rows, columns))
        };
        Ok(StepGradients {
            words: block(0, 3 * width)?,
            states: block(3, 3 * width)?,
            beside: block(6, width)?,
        })
    }
}

/// Runs both kernels on seeded numbers, and gives the largest difference from candle's operations in
/// f64: sums and products of a few numbers in f32, and the GPU's `expf` and `tanhf`, stay below
/// [`TOLERANCE`]. Infinite where a second run gives other bytes.
///
/// # Errors
/// When the machine fails.
pub fn check(machine: &dyn Machine) -> crate::Result<f64> {
    // More numbers than a block has threads, and rows that the later step has not; one row; nothing
    // from a later step; a row wider than a block.
    let steps = [(5, 67, 3), (1, 5, 1), (3, 9, 0), (2, 300, 1)];
    let mut largest = 0.0;
    for (rows, width, carried_rows) in steps {
        let shape = StepShape {
            rows,
            width,
            carried_rows,
        };
        largest = larger(largest, check_step(machine, shape)?);
    }
    Ok(largest)
}

/// Above what [`check`] finds on a machine that is right.
pub const TOLERANCE: f64 = 2e-6;

fn check_step(machine: &dyn Machine, shape: StepShape) -> crate::Result<f64> {
    let area = shape.rows * shape.width;
    let draw =
        |label: &str, count: usize| normal(&mut Draws::new(2).stream(label, &[]), 1.0, count);
    let given = [
        draw("words", 3 * area),
        draw("states", 3 * area),
        draw("bias", 3 * shape.width),
        draw("previous", area),
        draw("upstream", area),
        // Never read where there are none, but an address all the same.
        draw("carried", shape.carried_rows.max(1) * shape.width),
    ];
    let run = || on_machine(machine, &given, shape).map_err(uard_core::Error::from);
    let (found, again) = (run()?, run()?);
    let bits = |found: &[Vec<f32>; 2]| found.concat().into_iter().map(f32::to_bits).collect();
    let (found_bits, again_bits): (Vec<u32>, Vec<u32>) = (bits(&found), bits(&again));
    if found_bits != again_bits {
        return Ok(f64::INFINITY);
    }
    let expected = by_candle(&given, shape)?;
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    let differences = pairs.map(|(&found, expected)| (f64::from(found) - expected).abs());
    Ok(differences.fold(0.0, larger))
}

/// What a step leaves and its gradients, in f64.
fn by_candle(given: &[Vec<f32>; 6], shape: StepShape) -> candle_core::Result<[Vec<f64>; 2]> {
    let StepShape { rows, width, .. } = shape;
    let tensor = |at: usize, columns: usize| {
        let tensor = Tensor::from_slice(&given[at], given[at].len(), &Device::Cpu)?;
        tensor.to_dtype(DType::F64)?.reshape(((), columns))
    };
    let left = composed_gates(&StepInputs {
        words: &tensor(0, 3 * width)?,
        states: &tensor(1, 3 * width)?,
        bias: &tensor(2, 3 * width)?.flatten_all()?,
        previous: &tensor(3, width)?,
    })?;
    let carried = match shape.carried_rows {
        0 => Tensor::zeros((rows, width), DType::F64, &Device::Cpu)?,
        _ => tensor(5, width)?,
    };
    let found = composed_gradients(&left, &tensor(4, width)?, &carried)?;
    let found = [found.words, found.states, found.beside].map(|part| part.flatten_all());
    let [words, states, beside] = found;
    let gradients = Tensor::cat(&[words?, states?, beside?], 0)?;
    Ok([left.flatten_all()?.to_vec1()?, gradients.to_vec1()?])
}

fn on_machine(
    machine: &dyn Machine,
    given: &[Vec<f32>; 6],
    shape: StepShape,
) -> GpuResult<[Vec<f32>; 2]> {
    let mut there = Vec::new();
    for numbers in given {
        there.push(Numbers::copied(machine, numbers)?);
    }
    let area = shape.rows * shape.width;
    let left = Numbers::<f32>::unset(machine, 6 * area)?;
    let gradients = Numbers::<f32>::unset(machine, 7 * area)?;
    let at = |index: usize| there[index].argument();
    // SAFETY: all buffers have the sizes of the step and outlive the reads below.
    unsafe {
        let step = [at(0), at(1), at(2), at(3)];
        forward(machine, step, left.argument(), shape)?;
        let step = [left.argument(), at(4), at(5)];
        backward(machine, step, gradients.argument(), shape)?;
    }
    Ok([left.read()?, gradients.read()?])
}

/// The larger of two, and NaN if one is.
fn larger(largest: f64, next: f64) -> f64 {
    if largest.is_nan() || next <= largest {
        largest
    } else {
        next
    }
}

#[cfg(test)]
mod tests {
    use uard_core::gpu::compile::{Target, compile};
    use uard_ptx::Interpreter;

    use super::*;

    /// Without NVRTC there is nothing to run; the gate sets the variable, and has it.
    fn interpreter() -> Option<Interpreter> {
        let required = std::env::var_os("UARD_NVRTC").is_some();
        Interpreter::where_possible(80, required)
    }

    #[test]
    fn kernels_of_a_gpu_equal_candles_operations() {
        let Some(machine) = interpreter() else {
            return;
        };
        let found = check(&machine).unwrap();
        assert!(found < TOLERANCE, "{found}");
    }

    #[test]
    fn every_program_compiles_to_code_of_ampere_and_hopper() {
        if interpreter().is_none() {
            return;
        }
        for target in [Target::Cubin(80), Target::Cubin(90), Target::Ptx(90)] {
            compile(&GATES, target).unwrap();
        }
    }
}
