//! Launches the kernels of `gates.cu`: the gates of a time step on a GPU, and their gradients.

use candle_core::{DType, Device, Tensor};
use uard_core::gpu::{Argument, Gpu, GpuResult, Launch, Numbers, Program};
use uard_core::random::{Draws, normal};

use super::composed::{StepInputs, composed_gates, composed_gradients};

/// The number of threads in a block, as in `gates.cu`.
const THREADS: u32 = 256;

/// The program with the kernels of both passes.
static GATES: Program = Program {
    name: "gates",
    sources: &[include_str!("gates.cu")],
    defines: Vec::new(),
};

/// The sizes of a time step.
#[derive(Debug, Clone, Copy)]
struct StepShape {
    /// Rows n: the number of captions that have a word in this step.
    rows: usize,
    /// The width H of the states.
    width: usize,
    /// Rows k of the gradient from the later step: the number of captions that have a word there.
    carried_rows: usize,
}

/// Launches the forward kernel: it writes the next states, the gates and the previous states to
/// `saved` `[6 n H]`. The inputs are `W_ih x + b_ih` [n, 3H], `W_hh h` [n, 3H], `b_hh` `[3H]` and the
/// previous states h [n, H]; all numbers are f32.
///
/// # Safety
/// Each argument must be the address of as many f32 as stated above for `shape`, in memory of this
/// GPU that lives until the kernel has run; nothing else may write to it meanwhile.
///
/// # Errors
/// When the kernel cannot be compiled or launched.
unsafe fn forward(
    gpu: &dyn Gpu,
    inputs: [Argument; 4],
    saved: Argument,
    shape: StepShape,
) -> GpuResult<()> {
    let sizes = [shape.rows, shape.width].map(|size| Argument::U32(size as u32));
    let arguments = [&inputs[..], &[saved], &sizes].concat();
    // SAFETY: the arguments are those of `gates_forward`, in number, order and type; the caller
    // promises that the addresses are valid.
    unsafe { launch(gpu, "gates_forward", &arguments, shape) }
}

/// Launches the backward kernel: it writes the gradients of a step to `gradients` `[7 n H]`. The
/// inputs are what the step saved `[6 n H]`, the part of the gradient of its next states that comes
/// from the average [n, H], and the part from the later step [k, H].
///
/// # Safety
/// As [`forward`].
///
/// # Errors
/// When the kernel cannot be compiled or launched.
unsafe fn backward(
    gpu: &dyn Gpu,
    inputs: [Argument; 3],
    gradients: Argument,
    shape: StepShape,
) -> GpuResult<()> {
    let sizes = [shape.rows, shape.width, shape.carried_rows];
    let sizes = sizes.map(|size| Argument::U32(size as u32));
    let arguments = [&inputs[..], &[gradients], &sizes].concat();
    // SAFETY: the arguments are those of `gates_backward`, in number, order and type; the caller
    // promises that the addresses are valid.
    unsafe { launch(gpu, "gates_backward", &arguments, shape) }
}

/// Launches a kernel with a thread for each number of a step's states.
///
/// # Safety
/// As [`forward`]; the arguments must be those of the kernel.
unsafe fn launch(
    gpu: &dyn Gpu,
    kernel: &'static str,
    arguments: &[Argument],
    shape: StepShape,
) -> GpuResult<()> {
    // SAFETY: the caller promises that the arguments are those of the kernel and that the addresses
    // are valid. The kernels use no shared memory, and ignore threads beyond the last number.
    unsafe {
        gpu.launch(&Launch {
            program: &GATES,
            kernel,
            blocks: ((shape.rows * shape.width) as u32).div_ceil(THREADS),
            threads: THREADS,
            shared_bytes: 0,
            arguments,
        })
    }
}

/// Calls the kernels on tensors of a CUDA device.
#[cfg(feature = "cuda")]
pub(super) mod on_tensors {
    use candle_core::{DType, Error, Result, Tensor};
    use uard_core::gpu::tensors::{address, driver};

    use super::{StepShape, backward, forward};
    use crate::text::gru::composed::{StepGradients, StepInputs};

    /// Whether the kernels can run on this tensor: it is f32 and on a CUDA device.
    pub(in crate::text::gru) fn takes(tensor: &Tensor) -> bool {
        tensor.device().is_cuda() && tensor.dtype() == DType::F32
    }

    /// Computes what a step saves, [6, n, H], with the forward kernel.
    pub(in crate::text::gru) fn gates(step: &StepInputs<'_>) -> Result<Tensor> {
        let (rows, width) = step.previous.dims2()?;
        let device = step.previous.device();
        // SAFETY: the numbers are not initialised, and the kernel below writes all of them before
        // the tensor is read: both are on the device's one stream. Tests on the interpreter of PTX
        // check that every number is written.
        let saved = unsafe { Tensor::empty((6, rows, width), DType::F32, device) }?;
        let inputs = [
            address(step.from_words)?,
            address(step.from_states)?,
            address(step.bias)?,
            address(step.previous)?,
        ];
        let shape = StepShape {
            rows,
            width,
            carried_rows: 0,
        };
        // SAFETY: `ComposedRecurrence`, the only caller, makes the inputs with the shapes of
        // `StepInputs` for the rows and the width of `previous`, and `saved` is allocated above with
        // its size. All lie on the driver's stream, which frees memory only after the kernels that
        // were launched before.
        unsafe { forward(&*driver(device)?, inputs, address(&saved)?, shape) }
            .map_err(Error::wrap)?;
        Ok(saved)
    }

    /// Computes the gradients of a step with the backward kernel.
    pub(in crate::text::gru) fn gradients(
        saved: &Tensor,
        upstream: &Tensor,
        carried: &Tensor,
    ) -> Result<StepGradients> {
        let (rows, width) = upstream.dims2()?;
        // SAFETY: the numbers are not initialised, and the kernel below writes all of them before
        // they are read, as in the forward pass.
        let found = unsafe { Tensor::empty(7 * rows * width, DType::F32, saved.device()) }?;
        let inputs = [address(saved)?, address(upstream)?, address(carried)?];
        let shape = StepShape {
            rows,
            width,
            carried_rows: carried.dim(0)?,
        };
        // SAFETY: `saved` is the result of `gates` for these rows and this width; `upstream` and
        // `carried` have the shapes that `shape` is read from, and `found` is allocated above with its
        // size. All lie on the driver's stream, as in the forward pass.
        unsafe { backward(&*driver(saved.device())?, inputs, address(&found)?, shape) }
            .map_err(Error::wrap)?;
        let block = |start: usize, columns: usize| {
            let numbers = found.narrow(0, start * rows * width, rows * columns)?;
            numbers.reshape((rows, columns))
        };
        Ok(StepGradients {
            from_words: block(0, 3 * width)?,
            from_states: block(3, 3 * width)?,
            carried: block(6, width)?,
        })
    }
}

/// Runs both kernels on seeded numbers, and gives the largest difference from candle's operations in
/// f64. It is below [`TOLERANCE`] if the kernels are right, and infinite if a second run gives other
/// bytes.
///
/// # Errors
/// When the GPU fails.
pub fn check(gpu: &dyn Gpu) -> crate::Result<f64> {
    // Rows n, width H and carried rows k. In order: more numbers than a block has threads, and rows
    // without a gradient from the later step; one row; no later step; a row wider than a block.
    let steps = [(5, 67, 3), (1, 5, 1), (3, 9, 0), (2, 300, 1)];
    let mut largest = 0.0;
    for (rows, width, carried_rows) in steps {
        let shape = StepShape {
            rows,
            width,
            carried_rows,
        };
        largest = larger(largest, check_step(gpu, shape)?);
    }
    Ok(largest)
}

/// The largest difference that [`check`] allows: sums and products of a few numbers in f32, and the
/// errors of the GPU's `expf` and `tanhf`, stay below it.
pub const TOLERANCE: f64 = 2e-6;

fn check_step(gpu: &dyn Gpu, shape: StepShape) -> crate::Result<f64> {
    let area = shape.rows * shape.width;
    let draw =
        |label: &str, count: usize| normal(&mut Draws::new(2).stream(label, &[]), 1.0, count);
    let inputs = [
        draw("words", 3 * area),
        draw("states", 3 * area),
        draw("bias", 3 * shape.width),
        draw("previous", area),
        draw("upstream", area),
        // At least one row, so that there is an address; the kernel reads none if there are no
        // carried rows.
        draw("carried", shape.carried_rows.max(1) * shape.width),
    ];
    let run = || on_gpu(gpu, &inputs, shape).map_err(uard_core::Error::from);
    let (found, again) = (run()?, run()?);
    let bits = |found: &[Vec<f32>; 2]| found.concat().into_iter().map(f32::to_bits).collect();
    let (found_bits, again_bits): (Vec<u32>, Vec<u32>) = (bits(&found), bits(&again));
    if found_bits != again_bits {
        return Ok(f64::INFINITY);
    }
    let expected = by_candle(&inputs, shape)?;
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    let differences = pairs.map(|(&found, expected)| (f64::from(found) - expected).abs());
    Ok(differences.fold(0.0, larger))
}

/// What a step saves `[6 n H]`, and its gradients `[7 n H]`, computed by candle's operations in
/// f64.
fn by_candle(inputs: &[Vec<f32>; 6], shape: StepShape) -> candle_core::Result<[Vec<f64>; 2]> {
    let StepShape { rows, width, .. } = shape;
    let tensor = |at: usize, columns: usize| {
        let tensor = Tensor::from_slice(&inputs[at], inputs[at].len(), &Device::Cpu)?;
        tensor.to_dtype(DType::F64)?.reshape(((), columns))
    };
    let saved = composed_gates(&StepInputs {
        from_words: &tensor(0, 3 * width)?,
        from_states: &tensor(1, 3 * width)?,
        bias: &tensor(2, 3 * width)?.flatten_all()?,
        previous: &tensor(3, width)?,
    })?;
    let carried = match shape.carried_rows {
        0 => Tensor::zeros((rows, width), DType::F64, &Device::Cpu)?,
        _ => tensor(5, width)?,
    };
    let found = composed_gradients(&saved, &tensor(4, width)?, &carried)?;
    let found = [found.from_words, found.from_states, found.carried];
    let found = found.map(|part| part.flatten_all());
    let [words, states, beside] = found;
    let gradients = Tensor::cat(&[words?, states?, beside?], 0)?;
    Ok([saved.flatten_all()?.to_vec1()?, gradients.to_vec1()?])
}

fn on_gpu(gpu: &dyn Gpu, inputs: &[Vec<f32>; 6], shape: StepShape) -> GpuResult<[Vec<f32>; 2]> {
    let mut buffers = Vec::new();
    for numbers in inputs {
        buffers.push(Numbers::copied(gpu, numbers)?);
    }
    let area = shape.rows * shape.width;
    let saved = Numbers::<f32>::unset(gpu, 6 * area)?;
    let gradients = Numbers::<f32>::unset(gpu, 7 * area)?;
    let at = |index: usize| buffers[index].argument();
    // SAFETY: every buffer is allocated above with the size that the kernel expects for `shape`, on
    // this GPU. `read` waits for the kernels, and the buffers are freed after it.
    unsafe {
        let step = [at(0), at(1), at(2), at(3)];
        forward(gpu, step, saved.argument(), shape)?;
        let step = [saved.argument(), at(4), at(5)];
        backward(gpu, step, gradients.argument(), shape)?;
    }
    Ok([saved.read()?, gradients.read()?])
}

/// The larger of two numbers; NaN if one of them is.
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

    /// The interpreter, or `None` if there is no NVRTC to compile the kernels. `cargo xtask ci` sets
    /// `UARD_NVRTC`, and then a missing NVRTC is a failure.
    fn interpreter() -> Option<Interpreter> {
        let required = std::env::var_os("UARD_NVRTC").is_some();
        Interpreter::where_possible(80, required)
    }

    #[test]
    fn kernels_of_a_gpu_equal_candles_operations() {
        let Some(gpu) = interpreter() else {
            return;
        };
        let found = check(&gpu).unwrap();
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
