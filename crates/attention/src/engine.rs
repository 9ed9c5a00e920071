//! The engines, which compute similarities, chosen by name; and an engine that is ready to run in
//! one of its precisions.

use std::fmt;
#[cfg(feature = "cuda-kernels")]
use std::sync::Arc;

use candle_core::Device;
#[cfg(feature = "cuda-kernels")]
use uard_core::gpu::Gpu;
use uard_linalg::panels::{InstructionSet, Instructions, Unavailable};

use crate::names::named;
use crate::{Error, Precision, Result};

/// A way of computing similarities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// The fastest that has the precision: one on packed fragments if tensors are on the CPU, one
    /// on the device of the tensors if they are not.
    #[default]
    Auto,
    /// Scalar loops in f64 that form every attended vector; the others are tested against it.
    Reference,
    /// The batch similarity that training uses, on the device of the tensors.
    Tensor,
    /// Packed fragments, plain Rust.
    Scalar,
    /// Packed fragments, AVX2 with FMA.
    Avx2,
    /// Packed fragments, AVX-512.
    Avx512,
    /// Packed fragments, AMX tiles for bf16 and AVX-512 for the rest.
    Amx,
    /// Our kernels on an NVIDIA GPU.
    Cuda,
}

/// An engine that can run on this computer, in one of its precisions.
#[derive(Debug, Clone)]
pub struct Running {
    pub(crate) means: Means,
    precision: Precision,
    fallback: Option<Unavailable>,
}

/// What an engine needs to run.
#[derive(Debug, Clone)]
pub(crate) enum Means {
    /// Kernels on packed fragments, by these instructions.
    Packed(Instructions),
    /// The similarity of the matcher.
    Tensor,
    /// Scalar loops.
    Reference,
    /// Kernels on a GPU; in tests on the interpreter of PTX.
    #[cfg(feature = "cuda-kernels")]
    Cuda(Arc<dyn Gpu>),
}

impl Engine {
    /// Whether the engine reads packed fragments, on the CPU.
    pub fn is_packed(self) -> bool {
        !matches!(self, Self::Reference | Self::Tensor | Self::Cuda)
    }

    /// The precisions of the engine; the first is its default.
    pub fn precisions(self) -> &'static [Precision] {
        match self {
            Self::Reference | Self::Tensor => &[Precision::F32],
            Self::Cuda => &[Precision::F16, Precision::Bf16],
            _ => &[Precision::F32, Precision::Bf16, Precision::Exact],
        }
    }

    /// Checks that this engine can run, for tensors on a device.
    ///
    /// For tensors on the CPU `Auto` becomes the engine of the CPU's fastest instruction set; for
    /// tensors on another device [`Engine::Cuda`] or [`Engine::Tensor`], the first of them that can
    /// run there in the precision, and if none can, again the CPU's fastest. `Amx` becomes the
    /// CPU's fastest where the processor or the operating system has no AMX, with the reason in
    /// [`Running::fallback`]; any other missing instruction set is an error.
    ///
    /// # Errors
    /// When the engine does not have the precision; when this computer or this build does not have
    /// the engine.
    pub fn open(self, precision: Option<Precision>, device: &Device) -> Result<Running> {
        let engine = self.on(precision, device);
        let precision = engine.checked(precision)?;
        let (means, fallback) = match engine {
            Self::Reference => (Means::Reference, None),
            Self::Tensor => (Means::Tensor, None),
            Self::Cuda => (cuda(device)?, None),
            packed => {
                let (instructions, fallback) = packed.instructions()?;
                (Means::Packed(instructions), fallback)
            }
        };
        Ok(Running {
            means,
            precision,
            fallback,
        })
    }

    /// The engine that `Auto` becomes on a device; any other engine stays.
    fn on(self, precision: Option<Precision>, device: &Device) -> Self {
        if self != Self::Auto || device.is_cpu() {
            return self;
        }
        let has = |engine: Self| precision.is_none_or(|asked| engine.precisions().contains(&asked));
        if device.is_cuda() && cfg!(feature = "cuda-kernels") && has(Self::Cuda) {
            Self::Cuda
        } else if has(Self::Tensor) {
            Self::Tensor
        } else {
            Self::Auto
        }
    }

    /// The precision to run in: the given one, if the engine has it, or the default.
    fn checked(self, asked: Option<Precision>) -> Result<Precision> {
        let has = self.precisions();
        let precision = asked.unwrap_or(has[0]);
        if has.contains(&precision) {
            return Ok(precision);
        }
        let names: Vec<String> = has.iter().map(Precision::to_string).collect();
        Err(Error::PrecisionMissing {
            engine: self,
            asked: precision,
            has: names.join(" or "),
        })
    }

    /// The instructions of an engine on packed fragments, and why they are not those that its name
    /// says; `None` if they are.
    fn instructions(self) -> Result<(Instructions, Option<Unavailable>)> {
        let set = match self {
            Self::Scalar => InstructionSet::Scalar,
            Self::Avx2 => InstructionSet::Avx2,
            Self::Avx512 => InstructionSet::Avx512,
            Self::Amx => InstructionSet::Amx,
            _ => return Ok((Instructions::best(), None)),
        };
        match Instructions::detect(set) {
            Ok(instructions) => Ok((instructions, None)),
            Err(missing) if set == InstructionSet::Amx => Ok((Instructions::best(), Some(missing))),
            Err(missing) => Err(missing.into()),
        }
    }
}

impl Running {
    /// The CUDA kernels on an open GPU, or on an interpreter of PTX.
    ///
    /// # Errors
    /// When the precision is neither f16 nor bf16.
    #[cfg(feature = "cuda-kernels")]
    pub fn on_gpu(gpu: Arc<dyn Gpu>, precision: Precision) -> Result<Self> {
        Ok(Self {
            means: Means::Cuda(gpu),
            precision: Engine::Cuda.checked(Some(precision))?,
            fallback: None,
        })
    }

    /// The engine; never `Auto`.
    pub fn engine(&self) -> Engine {
        match &self.means {
            Means::Reference => Engine::Reference,
            Means::Tensor => Engine::Tensor,
            #[cfg(feature = "cuda-kernels")]
            Means::Cuda(_) => Engine::Cuda,
            Means::Packed(instructions) => match instructions.set() {
                InstructionSet::Scalar => Engine::Scalar,
                InstructionSet::Avx2 => Engine::Avx2,
                InstructionSet::Avx512 => Engine::Avx512,
                InstructionSet::Amx => Engine::Amx,
            },
        }
    }

    /// The precision of relevance.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Why the engine is not the one that was named; none if it is.
    pub fn fallback(&self) -> Option<Unavailable> {
        self.fallback
    }
}

/// The engine and its precision, and on a GPU its name: `avx2 in f32`.
impl fmt::Display for Running {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} in {}", self.engine(), self.precision)?;
        #[cfg(feature = "cuda-kernels")]
        if let Means::Cuda(gpu) = &self.means {
            write!(formatter, " on {}", gpu.name())?;
        }
        Ok(())
    }
}

/// The GPU of the tensors' device, or the first GPU if that is the CPU.
#[cfg(feature = "cuda-kernels")]
fn cuda(device: &Device) -> Result<Means> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return Ok(Means::Cuda(uard_core::gpu::tensors::driver(device)?));
    }
    let _ = device;
    Ok(Means::Cuda(Arc::new(uard_core::gpu::Driver::open(0)?)))
}

#[cfg(not(feature = "cuda-kernels"))]
fn cuda(_: &Device) -> Result<Means> {
    Err(Error::NotBuilt {
        engine: Engine::Cuda,
        feature: "cuda-kernels",
    })
}

named!(Engine, "kernel", {
    Auto => "auto",
    Reference => "reference",
    Tensor => "tensor",
    Scalar => "scalar",
    Avx2 => "avx2",
    Avx512 => "avx512",
    Amx => "amx"
    or Cuda => "cuda"
});
