//! How does a training step run on a GPU? Launches of `adam.cu`, `squares.cu` and `hinge.cu`.

use uard_core::gpu::{Argument, GpuResult, Launch, Machine, Program};

use crate::config::{LossConfig, Reduction};
use crate::negatives::{Negatives, Pairing};
use crate::optimizer::update::Factors;

/// Threads of a block of `adam.cu` and `squares.cu`.
const THREADS: u32 = 256;

/// Threads of a block of `hinge.cu`.
const HINGE_THREADS: u32 = 128;

/// Blocks that sum one gradient, at most: each is one f64 that is copied to the host.
const MOST_SUMS: usize = 256;

/// Numbers that a thread of `squares.cu` sums before there are more blocks.
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

/// Moves `count` numbers of a parameter and its first and second moments; all f32.
///
/// # Safety
/// The arguments must be addresses of `count` numbers, in memory of this machine that lives until
/// the kernel has run.
///
/// # Errors
/// When the machine refuses.
pub(crate) unsafe fn adam(
    machine: &dyn Machine,
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
    // SAFETY: the caller's promise; the arguments are those of the kernel.
    unsafe {
        machine.launch(&Launch {
            program: &ADAM,
            kernel: "adam",
            blocks: count.div_ceil(THREADS as usize) as u32,
            threads: THREADS,
            shared_bytes: 0,
            arguments: &arguments,
        })
    }
}

/// How many sums of squares a gradient of `count` numbers leaves.
pub(crate) fn sums_of(count: usize) -> usize {
    count
        .div_ceil(THREADS as usize * NUMBERS_OF_A_THREAD)
        .min(MOST_SUMS)
}

/// Sums of squares f64, [`sums_of`] as many, of a gradient of `count` numbers f32.
///
/// # Safety
/// The arguments must be addresses of as many numbers, in memory of this machine that lives until
/// the kernel has run.
///
/// # Errors
/// When the machine refuses.
pub(crate) unsafe fn squares(
    machine: &dyn Machine,
    (gradient, count): (Argument, usize),
    sums: Argument,
) -> GpuResult<()> {
    // SAFETY: the caller's promise; the arguments are those of the kernel.
    unsafe {
        machine.launch(&Launch {
            program: &SQUARES,
            kernel: "squares",
            blocks: sums_of(count) as u32,
            threads: THREADS,
            shared_bytes: 0,
            arguments: &[gradient, sums, Argument::U32(count as u32)],
        })
    }
}

/// A hinge loss, for a batch of I images and C captions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HingeForm {
    pub(crate) images: usize,
    pub(crate) captions: usize,
    pub(crate) margin: f64,
    pub(crate) negatives: Negatives,
    /// What the captions' losses are divided by.
    pub(crate) divisor: f32,
}

impl HingeForm {
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

/// Where the hinge of a batch reads and writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HingeTensors {
    /// [I, C], f32.
    pub(crate) similarities: Argument,
    /// Image of each caption, u32, each below I.
    pub(crate) image_of_caption: Argument,
    /// [C, 2], u32: scratch.
    pub(crate) hardest: Argument,
    /// [I, C], f32: written.
    pub(crate) gradient: Argument,
}

/// The gradient of a hinge loss.
///
/// # Safety
/// The addresses must be those of the form's numbers, in memory of this machine that lives until
/// the kernels have run.
///
/// # Errors
/// When the machine refuses.
pub(crate) unsafe fn hinge(
    machine: &dyn Machine,
    form: &HingeForm,
    tensors: &HingeTensors,
) -> GpuResult<()> {
    let sizes = [form.images, form.captions].map(|size| Argument::U32(size as u32));
    let [images, captions] = sizes;
    let (margin, divisor) = (Argument::F64(form.margin), Argument::F32(form.divisor));
    let cells = (form.images * form.captions).div_ceil(HINGE_THREADS as usize) as u32;
    let owners = tensors.image_of_caption;
    let start = |kernel, blocks, arguments: &[Argument]| {
        // SAFETY: the caller's promise; the arguments are those of the kernel.
        unsafe {
            machine.launch(&Launch {
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
    match form.negatives {
        Negatives::All => {
            let arguments = [from, owners, to, images, captions, margin, divisor];
            start("hinge_of_all", cells, &arguments)
        }
        Negatives::Hardest => {
            let arguments = [from, owners, hardest, images, captions, margin];
            start("hinge_hardest", form.captions as u32, &arguments)?;
            let arguments = [hardest, owners, to, images, captions, divisor];
            start("hinge_of_hardest", cells, &arguments)
        }
    }
}

/// The same on numbers of any machine, which know how many they are: for checks.
pub(crate) mod on_numbers {
    use uard_core::gpu::{GpuResult, Machine, Numbers};

    use super::{Factors, HingeForm, HingeTensors, sums_of};
    use crate::negatives::Pairing;

    /// Parameter, gradient, first and second moments.
    ///
    /// # Panics
    /// When they are not equally many.
    pub(crate) fn adam(
        machine: &dyn Machine,
        numbers: [&Numbers<f32>; 4],
        factors: &Factors,
    ) -> GpuResult<()> {
        let count = numbers[0].len();
        assert!(numbers.iter().all(|numbers| numbers.len() == count));
        let arguments = numbers.map(Numbers::argument);
        // SAFETY: as many numbers each, which a machine gives back after the kernels before it.
        unsafe { super::adam(machine, arguments, count, factors) }
    }

    /// Sums of squares of a gradient.
    pub(crate) fn squares(machine: &dyn Machine, gradient: &Numbers<f32>) -> GpuResult<Vec<f64>> {
        let count = gradient.len();
        let sums = Numbers::unset(machine, sums_of(count))?;
        // SAFETY: the sizes are those of the kernel, and the sums are read behind it.
        unsafe { super::squares(machine, (gradient.argument(), count), sums.argument()) }?;
        sums.read()
    }

    /// The gradient of the hinge on similarities [I, C].
    ///
    /// # Panics
    /// When they are not as many.
    pub(crate) fn hinge(
        machine: &dyn Machine,
        similarities: &[f32],
        pairing: &Pairing,
        form: &HingeForm,
    ) -> GpuResult<Vec<f32>> {
        let cells = pairing.images() * pairing.captions();
        assert_eq!(
            (similarities.len(), form.images * form.captions),
            (cells, cells)
        );
        let similarities = Numbers::copied(machine, similarities)?;
        let owners = pairing.image_of_caption().iter().map(|&image| image as u32);
        let owners = Numbers::copied(machine, &owners.collect::<Vec<_>>())?;
        let hardest = Numbers::<u32>::unset(machine, 2 * form.captions)?;
        let gradient = Numbers::unset(machine, cells)?;
        let tensors = HingeTensors {
            similarities: similarities.argument(),
            image_of_caption: owners.argument(),
            hardest: hardest.argument(),
            gradient: gradient.argument(),
        };
        // SAFETY: the sizes are the form's, a pairing's images are below I, and the gradient is read
        // behind the kernels.
        unsafe { super::hinge(machine, form, &tensors) }?;
        gradient.read()
    }
}

/// The same on tensors of a CUDA device.
#[cfg(feature = "cuda")]
pub(crate) mod on_tensors {
    use candle_core::{DType, Device, Error, Result, Tensor};
    use uard_core::gpu::tensors::{address, driver};

    use super::{Factors, HingeForm, HingeTensors, sums_of};
    use crate::negatives::Pairing;

    /// Parameter, gradient, first and second moments; all but the gradient change in place.
    pub(crate) fn adam(tensors: [&Tensor; 4], factors: &Factors) -> Result<()> {
        let count = tensors[0].elem_count();
        let other = |tensor: &&Tensor| tensor.elem_count() != count || tensor.dtype() != DType::F32;
        if tensors.iter().any(other) {
            let message = format!("adam: gradient and moments must be {count} numbers of f32");
            return Err(Error::Msg(message).bt());
        }
        let [parameter, gradient, first, second] = tensors.map(address);
        let addresses = [parameter?, gradient?, first?, second?];
        let driver = driver(tensors[0].device())?;
        // SAFETY: four tensors of `count` f32 on the driver's stream; parameters and moments share
        // memory with nobody.
        unsafe { super::adam(&*driver, addresses, count, factors) }.map_err(Error::wrap)
    }

    /// Sums of squares of all gradients, f64, one after the other: [`sums_of`] each.
    pub(crate) fn squares<'a>(
        gradients: impl Iterator<Item = &'a Tensor> + Clone,
    ) -> Result<Tensor> {
        let sums: usize = gradients
            .clone()
            .map(|gradient| sums_of(gradient.elem_count()))
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
            let to = address(&squares.narrow(0, from, sums_of(count))?)?;
            let gradient = (address(&gradient)?, count);
            // SAFETY: `count` f32, and room for their sums, on the driver's stream, which gives
            // memory back after the kernels before it.
            unsafe { super::squares(&*driver(&device)?, gradient, to) }.map_err(Error::wrap)?;
            from += sums_of(count);
        }
        Ok(squares)
    }

    /// The gradient of a hinge loss with respect to similarities [I, C].
    pub(crate) fn hinge(
        similarities: &Tensor,
        pairing: &Pairing,
        form: &HingeForm,
    ) -> Result<Tensor> {
        let (device, captions) = (similarities.device(), form.captions);
        let shape = (form.images, captions);
        let similarities = similarities.detach().contiguous()?;
        if similarities.dims() != [form.images, captions] || similarities.dtype() != DType::F32 {
            return Err(Error::Msg(format!(
                "hinge: similarities must be [{}, {captions}] of f32, found {:?} of {:?}",
                form.images,
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
        // SAFETY: the tensors have the form's sizes, a pairing's images are below I, and all are on
        // the driver's stream, which gives memory back after the kernels before it.
        unsafe { super::hinge(&*driver(device)?, form, &tensors) }.map_err(Error::wrap)?;
        Ok(gradient)
    }
}

#[cfg(test)]
mod tests {
    use uard_core::gpu::compile::{Target, compile};
    use uard_ptx::Interpreter;

    use super::*;

    #[test]
    fn every_program_compiles_to_code_of_ampere_and_hopper() {
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
