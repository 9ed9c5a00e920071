//! The gates of a time step on a GPU: launches of `gates.cu`.

use uard_core::gpu::{Argument, GpuResult, Launch, Machine, Program};

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
