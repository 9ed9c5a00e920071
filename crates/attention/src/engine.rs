//! Which code computes the similarity, and in which numbers: chosen by name, the same contract for
//! all.

use std::fmt;
use std::str::FromStr;
#[cfg(feature = "cuda-kernels")]
use std::sync::Arc;

use candle_core::Device;
#[cfg(feature = "cuda-kernels")]
use uard_core::gpu::Machine;
use uard_linalg::panels::{InstructionSet, Instructions, Unavailable};

use crate::config::unknown;
use crate::{Error, Precision, Result};

/// A way of computing similarities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// The fastest that has the precision: on packed fragments on the CPU, where tensors live on
    /// another device there.
    #[default]
    Auto,
    /// Scalar loops in f64 that form every attended vector: judges the others.
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

/// An engine that was found able to run here, in one of its precisions.
#[derive(Debug, Clone)]
pub struct Running {
    pub(crate) means: Means,
    precision: Precision,
    fallback: Option<Unavailable>,
}

/// What an engine computes with.
#[derive(Debug, Clone)]
pub(crate) enum Means {
    /// The instructions of kernels on packed fragments.
    Packed(Instructions),
    /// The matcher's own operations.
    Tensor,
    /// Plain loops.
    Reference,
    /// A GPU; in tests the interpreter of PTX.
    #[cfg(feature = "cuda-kernels")]
    Cuda(Arc<dyn Machine>),
}

impl Engine {
    /// All of them, in the order of their names on the command line.
    pub const ALL: [Self; 8] = [
        Self::Auto,
        Self::Reference,
        Self::Tensor,
        Self::Scalar,
        Self::Avx2,
        Self::Avx512,
        Self::Amx,
        Self::Cuda,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Reference => "reference",
            Self::Tensor => "tensor",
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
            Self::Cuda => "cuda",
        }
    }

    /// Whether it reads packed fragments, on the CPU.
    pub fn is_packed(self) -> bool {
        !matches!(self, Self::Reference | Self::Tensor | Self::Cuda)
    }

    /// The precisions that it has; the first is its own, where none is asked for.
    pub fn precisions(self) -> &'static [Precision] {
        match self {
            Self::Reference | Self::Tensor => &[Precision::F32],
            Self::Cuda => &[Precision::F16, Precision::Bf16],
            _ => &[Precision::F32, Precision::Bf16, Precision::Exact],
        }
    }

    /// What runs when this engine is asked for, with tensors on a device.
    ///
    /// `Auto` takes the fastest that has the precision: our kernels where the device is CUDA's, the
    /// matcher's own operations on it for f32, and otherwise the fastest instruction set of the CPU.
    /// `Amx`, where this machine or its system has none, falls back to the fastest, with the reason
    /// in [`Running::fallback`]; any other set that is missing is an error.
    ///
    /// # Errors
    /// In one sentence: the engine lacks the precision, with those that it has; or this machine or
    /// this build lacks the engine.
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

    /// What `Auto` is on a device; any other engine is itself.
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
    /// An engine on a machine that is open already, as our kernels run on it.
    ///
    /// # Errors
    /// When the precision is neither f16 nor bf16.
    #[cfg(feature = "cuda-kernels")]
    pub fn on_machine(machine: Arc<dyn Machine>, precision: Precision) -> Result<Self> {
        Ok(Self {
            means: Means::Cuda(machine),
            precision: Engine::Cuda.checked(Some(precision))?,
            fallback: None,
        })
    }

    /// What runs; never `Auto`.
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

    /// The numbers that relevance is computed in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Why it is not the engine that was asked for by name, if it is not.
    pub fn fallback(&self) -> Option<Unavailable> {
        self.fallback
    }
}

/// The engine and its precision, and on a GPU its name: `avx2 in f32`.
impl fmt::Display for Running {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} in {}", self.engine(), self.precision)?;
        #[cfg(feature = "cuda-kernels")]
        if let Means::Cuda(machine) = &self.means {
            write!(formatter, " on {}", machine.name())?;
        }
        Ok(())
    }
}

/// The GPU that tensors of a device are matched on: theirs, if they are on one, else the first.
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

impl FromStr for Engine {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = "auto, reference, tensor, scalar, avx2, avx512, amx or cuda";
        Self::ALL
            .into_iter()
            .find(|engine| engine.name() == text)
            .ok_or_else(|| unknown("kernel", text, known))
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
