//! Launches the CUDA kernels of a training step: `adam.cu`, `squares.cu` and `hinge.cu`.

use uard_core::gpu::{Argument, Gpu, GpuResult, Launch, Program};

use crate::config::{LossConfig, Reduction};
use crate::negatives::{Negatives, Pairing};
use crate::optimizer::update::Factors;

/// Number of threads of a block of `adam.cu` and `squares.cu`.
const THREADS: u32 = 256;

/// Number of threads of a block of `hinge.cu`.
const HINGE_THREADS: u32 = 128;

/// Largest number of blocks that sum one gradient; each gives one f64, which is copied to the host.
const MOST_SUMS: usize = 256;

/// How many numbers each thread of `squares.cu` sums; more, if [`MOST_SUMS`] blocks would not
/// suffice for the gradient.
const NUMBERS_OF_A_THREAD: usize = 8;

static ADAM: Program = Program {
    name: "adam",
    sources: &[include_str!("optimizer/adam.cu")],
    defines: Vec::new(),
};

static SQUARES: Program = Program {
    name: "squares",
    sources: &[include_str!("gradients/squares.cu")],
    defines: Vec::new(),
};

static HINGE: Program = Program {
    name: "hinge",
    sources: &[include_str!("loss/hinge.cu")],
    defines: Vec::new(),
};

/// One optimizer step on `count` f32 numbers of a parameter, with its gradient and its first and
/// second moments.
///
/// # Safety
/// Each of the four arguments must be the address of `count` f32 in memory of this GPU that is not
/// freed before the kernel has run.
///
/// # Errors
/// When the GPU fails.
pub(crate) unsafe fn adam(
    gpu: &dyn Gpu,
    [parameter, gradient, first, second]: [Argument; 4],
    count: usize,
    factors: &Factors,
) -> GpuResult<()> {
    let arguments = [
        parameter,
        gradient,
        first,
        second,
        Argument::U32(count as u32),
        Argument::F32(factors.scale),
        Argument::F32(factors.coupled),
        Argument::F32(factors.shrink),
        Argument::F32(factors.beta1),
        Argument::F32(factors.rest1),
        Argument::F32(factors.beta2),
        Argument::F32(factors.rest2),
        Argument::F32(factors.root),
        Argument::F32(factors.epsilon),
        Argument::F32(factors.size),
    ];
    // SAFETY: the arguments have the kernel's types and order; the caller guarantees that each
    // address holds `count` f32, and the kernel touches no index from `count` on.
    unsafe {
        gpu.launch(&Launch {
            program: &ADAM,
            kernel: "adam",
            blocks: count.div_ceil(THREADS as usize) as u32,
            threads: THREADS,
            shared_bytes: 0,
            arguments: &arguments,
        })
    }
}

/// How many partial sums `squares.cu` writes for a gradient of `count` numbers.
pub(crate) fn sum_count(count: usize) -> usize {
    count
        .div_ceil(THREADS as usize * NUMBERS_OF_A_THREAD)
        .min(MOST_SUMS)
}

/// Writes the partial sums of squares of a gradient of `count` f32: [`sum_count`] f64.
///
/// # Safety
/// `gradient` must be the address of `count` f32 and `sums` that of [`sum_count`] f64, in memory of
/// this GPU that is not freed before the kernel has run.
///
/// # Errors
/// When the GPU fails.
pub(crate) unsafe fn squares(
    gpu: &dyn Gpu,
    gradient: Argument,
    count: usize,
    sums: Argument,
) -> GpuResult<()> {
    // SAFETY: the arguments have the kernel's types and order. The caller guarantees `count` f32 to
    // read and one f64 to write for each of the `sum_count` blocks.
    unsafe {
        gpu.launch(&Launch {
            program: &SQUARES,
            kernel: "squares",
            blocks: sum_count(count) as u32,
            threads: THREADS,
            shared_bytes: 0,
            arguments: &[gradient, sums, Argument::U32(count as u32)],
        })
    }
}

/// Sizes and settings of the hinge loss of one batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HingeOptions {
    /// Number of images I.
    pub(crate) images: usize,
    /// Number of captions C.
    pub(crate) captions: usize,
    pub(crate) margin: f64,
    pub(crate) negatives: Negatives,
    /// The sum of the captions' losses is divided by this: 1 or C.
    pub(crate) divisor: f32,
}

impl HingeOptions {
    pub(crate) fn new(pairing: &Pairing, config: &LossConfig, negatives: Negatives) -> Self {
        Self {
            images: pairing.images(),
            captions: pairing.captions(),
            margin: config.margin,
            negatives,
            divisor: match config.reduction {
                Reduction::Sum => 1.0,
                Reduction::Mean => pairing.captions().max(1) as f32,
            },
        }
    }
}

/// Addresses that the hinge kernels read and write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HingeTensors {
    /// Similarities [I, C], f32; read.
    pub(crate) similarities: Argument,
    /// Index of each caption's image: C numbers u32, each below I; read.
    pub(crate) image_of_caption: Argument,
    /// Indices of each caption's hardest negatives [C, 2], u32: scratch memory, which is written
    /// before it is read.
    pub(crate) hardest: Argument,
    /// Gradient [I, C], f32; written.
    pub(crate) gradient: Argument,
}

/// Writes the gradient of a hinge loss with respect to the similarities.
///
/// # Safety
/// The addresses must hold tensors of the shapes and types that [`HingeTensors`] states, with I and
/// C of `options`, in memory of this GPU that is not freed before the kernels have run.
///
/// # Errors
/// When the GPU fails.
pub(crate) unsafe fn hinge(
    gpu: &dyn Gpu,
    options: &HingeOptions,
    tensors: &HingeTensors,
) -> GpuResult<()> {
    let sizes = [options.images, options.captions].map(|size| Argument::U32(size as u32));
    let [images, captions] = sizes;
    let (margin, divisor) = (
        Argument::F64(options.margin),
        Argument::F32(options.divisor),
    );
    let cells = (options.images * options.captions).div_ceil(HINGE_THREADS as usize) as u32;
    let owners = tensors.image_of_caption;
    let start = |kernel, blocks, arguments: &[Argument]| {
        // SAFETY: each call below passes the kernel's arguments with their types and in their
        // order; the caller guarantees the addresses, and the kernels touch no index beyond I and C.
        unsafe {
            gpu.launch(&Launch {
                program: &HINGE,
                kernel,
                blocks,
                threads: HINGE_THREADS,
                shared_bytes: 0,
                arguments,
            })
        }
    };
    let (from, hardest, to) = (tensors.similarities, tensors.hardest, tensors.gradient);
    match options.negatives {
        Negatives::All => {
            let arguments = [from, owners, to, images, captions, margin, divisor];
            start("hinge_of_all", cells, &arguments)
        }
        Negatives::Hardest => {
            let arguments = [from, owners, hardest, images, captions, margin];
            start("hinge_hardest", options.captions as u32, &arguments)?;
            let arguments = [hardest, owners, to, images, captions, divisor];
            start("hinge_of_hardest", cells, &arguments)
        }
    }
}

/// Launches the kernels above on [`Numbers`], which are buffers that know their length; used by
/// checks.
pub(crate) mod on_numbers {
    use uard_core::gpu::{Gpu, GpuResult, Numbers};

    use super::{Factors, HingeOptions, HingeTensors, sum_count};
    use crate::negatives::Pairing;

    /// One optimizer step on parameter, gradient, first and second moments.
    ///
    /// # Panics
    /// When the four buffers differ in length.
    pub(crate) fn adam(
        gpu: &dyn Gpu,
        numbers: [&Numbers<f32>; 4],
        factors: &Factors,
    ) -> GpuResult<()> {
        let count = numbers[0].len();
        assert!(numbers.iter().all(|numbers| numbers.len() == count));
        let arguments = numbers.map(Numbers::argument);
        // SAFETY: each buffer holds `count` f32, as asserted above, and a buffer is freed only after
        // the kernels that were launched before.
        unsafe { super::adam(gpu, arguments, count, factors) }
    }

    /// Sums of squares of a gradient.
    pub(crate) fn squares(gpu: &dyn Gpu, gradient: &Numbers<f32>) -> GpuResult<Vec<f64>> {
        let count = gradient.len();
        let sums = Numbers::unset(gpu, sum_count(count))?;
        // SAFETY: `gradient` holds `count` f32 and `sums` `sum_count` f64, and a buffer is freed only
        // after the kernels that were launched before.
        unsafe { super::squares(gpu, gradient.argument(), count, sums.argument()) }?;
        sums.read()
    }

    /// The gradient of the hinge with respect to similarities [I, C].
    ///
    /// # Panics
    /// When the similarities, the pairing and the options differ in I x C.
    pub(crate) fn hinge(
        gpu: &dyn Gpu,
        similarities: &[f32],
        pairing: &Pairing,
        options: &HingeOptions,
    ) -> GpuResult<Vec<f32>> {
        let cells = pairing.images() * pairing.captions();
        assert_eq!(
            (similarities.len(), options.images * options.captions),
            (cells, cells)
        );
        let similarities = Numbers::copied(gpu, similarities)?;
        let owners = pairing.image_of_caption().iter().map(|&image| image as u32);
        let owners = Numbers::copied(gpu, &owners.collect::<Vec<_>>())?;
        let hardest = Numbers::<u32>::unset(gpu, 2 * options.captions)?;
        let gradient = Numbers::unset(gpu, cells)?;
        let tensors = HingeTensors {
            similarities: similarities.argument(),
            image_of_caption: owners.argument(),
            hardest: hardest.argument(),
            gradient: gradient.argument(),
        };
        // SAFETY: the buffers have the sizes of `options`, a pairing's images are below I, and a
        // buffer is freed only after the kernels that were launched before.
        unsafe { super::hinge(gpu, options, &tensors) }?;
        gradient.read()
    }
}

/// Launches the kernels above on tensors of a CUDA device.
#[cfg(feature = "cuda")]
pub(crate) mod on_tensors {
    use candle_core::{DType, Device, Error, Result, Tensor};
    use uard_core::gpu::tensors::{address, driver};

    use super::{Factors, HingeOptions, HingeTensors, sum_count};
    use crate::negatives::Pairing;

    /// One optimizer step on parameter, gradient, first and second moments; all but the gradient
    /// change in place.
    pub(crate) fn adam(tensors: [&Tensor; 4], factors: &Factors) -> Result<()> {
        let count = tensors[0].elem_count();
        let wrong = |tensor: &&Tensor| tensor.elem_count() != count || tensor.dtype() != DType::F32;
        if tensors.iter().any(wrong) {
            let message = format!("adam: parameter, gradient and moments must be {count} f32 each");
            return Err(Error::Msg(message).bt());
        }
        let [parameter, gradient, first, second] = tensors.map(address);
        let addresses = [parameter?, gradient?, first?, second?];
        let driver = driver(tensors[0].device())?;
        // SAFETY: all four tensors hold `count` f32, as checked above, and are used on the driver's
        // stream only, on which they are freed after the kernel. Parameters and moments share memory
        // with no other tensor, so they may be changed in place.
        unsafe { super::adam(&*driver, addresses, count, factors) }.map_err(Error::wrap)
    }

    /// Partial sums of squares of all gradients, one after the other: [`sum_count`] f64 for each.
    pub(crate) fn squares<'a>(
        gradients: impl Iterator<Item = &'a Tensor> + Clone,
    ) -> Result<Tensor> {
        let sums: usize = gradients
            .clone()
            .map(|gradient| sum_count(gradient.elem_count()))
            .sum();
        let device = match gradients.clone().next() {
            Some(gradient) => gradient.device().clone(),
            None => Device::Cpu,
        };
        let squares = Tensor::zeros(sums, DType::F64, &device)?;
        let mut from = 0;
        for gradient in gradients {
            let gradient = gradient.to_dtype(DType::F32)?.contiguous()?;
            let count = gradient.elem_count();
            if count == 0 {
                continue;
            }
            let to = address(&squares.narrow(0, from, sum_count(count))?)?;
            let from_address = address(&gradient)?;
            // SAFETY: the gradient holds `count` f32 and `to` is the address of `sum_count` f64. Both
            // are freed on the driver's stream, after the kernels that were launched before.
            unsafe { super::squares(&*driver(&device)?, from_address, count, to) }
                .map_err(Error::wrap)?;
            from += sum_count(count);
        }
        Ok(squares)
    }

    /// The gradient of a hinge loss with respect to similarities [I, C].
    pub(crate) fn hinge(
        similarities: &Tensor,
        pairing: &Pairing,
        options: &HingeOptions,
    ) -> Result<Tensor> {
        let (device, captions) = (similarities.device(), options.captions);
        let shape = (options.images, captions);
        let similarities = similarities.detach().contiguous()?;
        if similarities.dims() != [options.images, captions] || similarities.dtype() != DType::F32 {
            return Err(Error::Msg(format!(
                "hinge: similarities must be [{}, {captions}] of f32, found {:?} of {:?}",
                options.images,
                similarities.dims(),
                similarities.dtype()
            ))
            .bt());
        }
        let owners = pairing.image_of_caption().iter().map(|&image| image as u32);
        let owners = Tensor::from_vec(owners.collect::<Vec<_>>(), captions, device)?;
        let hardest = Tensor::zeros((captions, 2), DType::U32, device)?;
        let gradient = Tensor::zeros(shape, DType::F32, device)?;
        let tensors = HingeTensors {
            similarities: address(&similarities)?,
            image_of_caption: address(&owners)?,
            hardest: address(&hardest)?,
            gradient: address(&gradient)?,
        };
        // SAFETY: the tensors have the sizes of `options` and the types that `HingeTensors` states,
        // a pairing's images are below I, and all tensors are freed on the driver's stream, after
        // the kernels that were launched before.
        unsafe { super::hinge(&*driver(device)?, options, &tensors) }.map_err(Error::wrap)?;
        Ok(gradient)
    }
}

#[cfg(test)]
mod tests {
    use uard_core::gpu::compile::{Target, compile};
    use uard_ptx::Interpreter;

    use super::*;

    #[test]
    fn every_program_compiles_for_ampere_and_hopper() {
        let required = std::env::var_os("UARD_NVRTC").is_some();
        if Interpreter::where_possible(80, required).is_none() {
            return;
        }
        for program in [&ADAM, &SQUARES, &HINGE] {
            for target in [Target::Cubin(80), Target::Cubin(90), Target::Ptx(90)] {
                compile(program, target).unwrap();
            }
        }
    }
}
