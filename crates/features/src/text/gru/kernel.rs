//! The gates of a time step, and the gradient of the embedding, on a GPU: launches of `gates.cu` and
//! `lookup.cu`.

use candle_core::{DType, Device, Tensor};
use uard_core::gpu::{Argument, GpuResult, Launch, Machine, Numbers, Program};
use uard_core::random::{Draws, normal};

use super::gates::{Gates, GatesBackward};
use super::lookup::Readers;

/// Threads of a block, as the kernels have them.
const THREADS: u32 = 256;

/// The program of both passes.
pub static GATES: Program = Program {
    name: "gates",
    sources: &[include_str!("gates.cu")],
    defines: Vec::new(),
};

/// The program of an embedding's gradient.
pub static LOOKUP: Program = Program {
    name: "lookup",
    sources: &[include_str!("lookup.cu")],
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
pub unsafe fn forward(
    machine: &dyn Machine,
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
pub unsafe fn backward(
    machine: &dyn Machine,
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

/// The rows of an embedding's gradient that were read, `rows` as many, of `width` numbers each, from
/// the gradient of the words: `ids`, `starts` and `words` as `lookup.cu` has them.
///
/// # Safety
/// As [`forward`]; ids are rows of the gradient, words rows of what flows back.
///
/// # Errors
/// When the machine refuses.
unsafe fn lookup(
    machine: &dyn Machine,
    upstream: Argument,
    [ids, starts, words]: [Argument; 3],
    gradient: Argument,
    (rows, width): (usize, usize),
) -> GpuResult<()> {
    let width = Argument::U32(width as u32);
    // SAFETY: the caller's promise; the arguments are those of the kernel.
    unsafe {
        machine.launch(&Launch {
            program: &LOOKUP,
            kernel: "lookup_backward",
            blocks: rows as u32,
            threads: THREADS,
            shared_bytes: 0,
            arguments: &[upstream, ids, starts, words, gradient, width],
        })
    }
}

#[cfg(feature = "cuda")]
pub(super) use on_tensors::lookup_gradient;

#[cfg(feature = "cuda")]
mod on_tensors {
    use candle_core::cuda_backend::{CudaDevice, CudaStorage};
    use candle_core::{DType, Device, Error, Layout, Result, Shape, Tensor};
    use uard_core::gpu::Argument;
    use uard_core::gpu::tensors::{address, address_of, driver};

    use super::{StepShape, backward, forward, lookup};
    use crate::text::gru::gates::{Gates, GatesBackward};
    use crate::text::gru::lookup::Readers;

    /// The gradient [V, E] of an embedding from that of the words, [N, E] of f32.
    pub(in crate::text::gru) fn lookup_gradient(
        upstream: &Tensor,
        readers: &Readers,
        shape: (usize, usize),
    ) -> Result<Tensor> {
        let device = upstream.device();
        let gradient = Tensor::zeros(shape, DType::F32, device)?;
        let grouped = [&readers.ids, &readers.starts, &readers.words]
            .map(|numbers| Tensor::from_slice(numbers, numbers.len(), device));
        let [ids, starts, words] = grouped;
        let (ids, starts, words) = (ids?, starts?, words?);
        let groups = [address(&ids)?, address(&starts)?, address(&words)?];
        let (from, to) = (address(upstream)?, address(&gradient)?);
        let read = (readers.ids.len(), shape.1);
        // SAFETY: ids are rows of the embedding and words rows of what flows back, as the forward
        // pass has found; all are on the driver's stream, which gives memory back after the kernel.
        unsafe { lookup(&*driver(device)?, from, groups, to, read) }.map_err(Error::wrap)?;
        Ok(gradient)
    }

    impl Gates {
        /// What the step leaves.
        pub(in crate::text::gru) fn on_device(
            &self,
            device: &CudaDevice,
            inputs: [Argument; 4],
        ) -> Result<(CudaStorage, Shape)> {
            let (left, to, shape) = unset(device, 6 * self.rows * self.width)?;
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
            let (gradients, to, shape) = unset(device, 7 * self.rows * self.width)?;
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

    /// A vector of f32 that is not set, where it lies, and its shape.
    fn unset(device: &CudaDevice, count: usize) -> Result<(CudaStorage, Argument, Shape)> {
        let shape = Shape::from(count);
        // SAFETY: both kernels write every number, which the interpreter of PTX has watched, and
        // nobody reads before them.
        let numbers = unsafe { device.alloc::<f32>(count) }?;
        let numbers = CudaStorage::wrap_cuda_slice(numbers, device.clone());
        let address = address_of(&numbers, &Layout::contiguous(&shape))?;
        Ok((numbers, address, shape))
    }
}

/// Runs every kernel of the text encoder on seeded numbers, and gives the largest difference from
/// plain loops: in f64 for the gates, where sums and products of a few numbers in f32 and the GPU's
/// `expf` and `tanhf` stay below [`TOLERANCE`], and in f32 for the embedding's gradient, which has the
/// same order of sums. Infinite where a second run gives other bytes.
///
/// # Errors
/// When the machine fails.
pub fn check(machine: &dyn Machine) -> crate::Result<f64> {
    // More numbers than a block has threads, and rows that the later step has not; one row; nothing
    // from a later step; a row wider than a block.
    let steps = [(5, 67, 3), (1, 5, 1), (3, 9, 0), (2, 300, 1)];
    let mut largest = 0.0;
    for (rows, width, carried_rows) in steps {
        let found = check_step(machine, (StepShape { rows, width }, carried_rows))?;
        largest = larger(largest, found);
    }
    for (ids, width) in [(&[4, 1, 4, 0, 4, 1][..], 300), (&[2], 3)] {
        largest = larger(largest, check_lookup(machine, ids, width)?);
    }
    Ok(largest)
}

/// Above what [`check`] finds on a machine that is right.
pub const TOLERANCE: f64 = 2e-6;

fn draw(label: &str, count: usize) -> Vec<f32> {
    normal(&mut Draws::new(2).stream(label, &[]), 1.0, count)
}

fn check_step(
    machine: &dyn Machine,
    (shape, carried_rows): (StepShape, usize),
) -> crate::Result<f64> {
    let area = shape.rows * shape.width;
    let given = [
        draw("words", 3 * area),
        draw("states", 3 * area),
        draw("bias", 3 * shape.width),
        draw("previous", area),
        draw("upstream", area),
        // Never read where there are none, but an address all the same.
        draw("carried", carried_rows.max(1) * shape.width),
    ];
    let run = || on_machine(machine, &given, (shape, carried_rows));
    let found = run().map_err(uard_core::Error::from)?;
    let again = run().map_err(uard_core::Error::from)?;
    if bits(&found) != bits(&again) {
        return Ok(f64::INFINITY);
    }
    let expected = by_loops(&given, (shape, carried_rows))?;
    Ok(larger(
        difference(&found[0], &expected[0]),
        difference(&found[1], &expected[1]),
    ))
}

/// What a step leaves and its gradients, in f64.
fn by_loops(
    given: &[Vec<f32>; 6],
    (shape, carried_rows): (StepShape, usize),
) -> crate::Result<[Vec<f64>; 2]> {
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
    let left = tensors[0].apply_op3_no_bwd(&tensors[1], &tensors[3], &gates)?;
    let gates = GatesBackward {
        rows: shape.rows,
        width: shape.width,
        carried_rows,
    };
    let gradients = left.apply_op3_no_bwd(&tensors[4], &tensors[5], &gates)?;
    Ok([left.to_vec1()?, gradients.to_vec1()?])
}

/// A row that nobody reads stays zero.
fn check_lookup(machine: &dyn Machine, ids: &[u32], width: usize) -> crate::Result<f64> {
    let (readers, upstream) = (Readers::new(ids), draw("upstream", ids.len() * width));
    let shape = (6, width);
    let run = || lookup_on_machine(machine, &readers, &upstream, shape);
    let found = run().map_err(uard_core::Error::from)?;
    let again = run().map_err(uard_core::Error::from)?;
    if bits(std::slice::from_ref(&found)) != bits(&[again]) {
        return Ok(f64::INFINITY);
    }
    let expected = readers.summed(&upstream, shape);
    let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
    Ok(difference(&found, &expected))
}

fn lookup_on_machine(
    machine: &dyn Machine,
    readers: &Readers,
    upstream: &[f32],
    (rows, width): (usize, usize),
) -> GpuResult<Vec<f32>> {
    let upstream = Numbers::copied(machine, upstream)?;
    let ids = Numbers::copied(machine, &readers.ids)?;
    let starts = Numbers::copied(machine, &readers.starts)?;
    let words = Numbers::copied(machine, &readers.words)?;
    let gradient = Numbers::<f32>::zeros(machine, rows * width)?;
    let groups = [ids.argument(), starts.argument(), words.argument()];
    let (from, to) = (upstream.argument(), gradient.argument());
    let read = (readers.ids.len(), width);
    // SAFETY: every id is below `rows` and every word below the rows of `upstream`; all outlive the
    // read below.
    unsafe { lookup(machine, from, groups, to, read)? };
    gradient.read()
}

fn on_machine(
    machine: &dyn Machine,
    given: &[Vec<f32>; 6],
    (shape, carried_rows): (StepShape, usize),
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
        backward(machine, step, gradients.argument(), (shape, carried_rows))?;
    }
    Ok([left.read()?, gradients.read()?])
}

/// The largest difference; NaN where something is not a number.
fn difference(found: &[f32], expected: &[f64]) -> f64 {
    let differences = found
        .iter()
        .zip(expected)
        .map(|(&found, expected)| (f64::from(found) - expected).abs());
    differences.fold(0.0, larger)
}

/// The larger of two, and NaN if one is.
fn larger(largest: f64, next: f64) -> f64 {
    if largest.is_nan() || next <= largest {
        largest
    } else {
        next
    }
}

fn bits(numbers: &[Vec<f32>]) -> Vec<u32> {
    numbers
        .iter()
        .flatten()
        .map(|number| number.to_bits())
        .collect()
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
    fn kernels_of_a_gpu_equal_plain_loops() {
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
        for program in [&GATES, &LOOKUP] {
            for target in [Target::Cubin(80), Target::Cubin(90), Target::Ptx(90)] {
                compile(program, target).unwrap();
            }
        }
    }
}
