//! Which code computes the similarity: chosen by name, the same contract for all.
//!
//! `scalar`, `avx2`, `avx512` and `amx` read packed fragments through [`crate::search::Search`];
//! `reference` and `tensor` read the tensors themselves, and `cuda` copies them to a GPU.

mod by_reference;

pub(crate) mod answers;
pub mod check;
#[cfg(feature = "cuda-kernels")]
pub mod cuda;

use std::fmt;
use std::str::FromStr;

use uard_core::{Regions, Words};
use uard_linalg::panels::{InstructionSet, Instructions, Unavailable};

pub use by_reference::reference_attention;

use crate::config::unknown;
use crate::search::{AllPairs, Search, all_pairs};
use crate::{Error, Matcher, Precision, Result};

/// A way of computing similarities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kernel {
    /// The fastest on packed fragments that this machine can run.
    #[default]
    Auto,
    /// Scalar loops in f64 that form every attended vector: judges the others.
    Reference,
    /// The batch similarity that training uses.
    Tensor,
    /// Packed fragments, plain Rust.
    Scalar,
    /// Packed fragments, AVX2 with FMA.
    Avx2,
    /// Packed fragments, AVX-512.
    Avx512,
    /// Packed fragments, AMX tiles for bf16 and AVX-512 for the rest.
    Amx,
    /// An NVIDIA GPU, in f16 or bf16: `kernel::cuda`.
    Cuda,
}

/// The instructions that a kernel on packed fragments runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    instructions: Instructions,
    fallback: Option<Unavailable>,
}

impl Running {
    /// The instruction set in use.
    pub fn set(self) -> InstructionSet {
        self.instructions.set()
    }

    /// Why it is not the set that was asked for by name, if it is not.
    pub fn fallback(self) -> Option<Unavailable> {
        self.fallback
    }

    pub(crate) fn instructions(self) -> Instructions {
        self.instructions
    }
}

impl Kernel {
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

    /// Whether it reads packed fragments, through [`Search`].
    pub fn is_packed(self) -> bool {
        !matches!(self, Self::Reference | Self::Tensor | Self::Cuda)
    }

    /// What runs on this machine when this kernel is asked for.
    ///
    /// `Auto` takes the fastest instruction set. `Amx`, where this machine or its system has none,
    /// falls back to the fastest, with the reason in [`Running::fallback`]; any other set that is
    /// missing is an error.
    ///
    /// # Errors
    /// When the instructions are missing, or the kernel does not read packed fragments.
    pub fn resolve(self) -> Result<Running> {
        let set = match self {
            Self::Reference | Self::Tensor | Self::Cuda => {
                return Err(Error::Setting {
                    setting: "kernel",
                    found: self.to_string(),
                    expected: "one that reads packed fragments: auto, scalar, avx2, avx512 or amx",
                });
            }
            Self::Auto => Instructions::best().set(),
            Self::Scalar => InstructionSet::Scalar,
            Self::Avx2 => InstructionSet::Avx2,
            Self::Avx512 => InstructionSet::Avx512,
            Self::Amx => InstructionSet::Amx,
        };
        match Instructions::detect(set) {
            Ok(instructions) => Ok(Running {
                instructions,
                fallback: None,
            }),
            Err(missing) if set == InstructionSet::Amx => Ok(Running {
                instructions: Instructions::best(),
                fallback: Some(missing),
            }),
            Err(missing) => Err(missing.into()),
        }
    }

    /// Matches every image with every caption in f32 (f16 on a GPU), from the tensors to a matrix.
    ///
    /// Kernels on packed fragments pack them first; whoever asks more than once, or in another
    /// precision, packs once and keeps a [`Search`]. `on_progress` is told the pairs done and the
    /// pairs in all.
    ///
    /// # Errors
    /// As [`Kernel::resolve`] and [`Matcher::similarities`].
    pub fn all_pairs(
        self,
        matcher: &Matcher,
        (regions, words): (&Regions, &Words),
        threshold: f64,
        on_progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<AllPairs> {
        let mut on_tile = |done, total| on_progress(done, total);
        match self {
            Self::Reference => {
                by_reference::reference_pairs(matcher, (regions, words), threshold, on_progress)
            }
            Self::Tensor => all_pairs(matcher, regions, words, threshold, &mut on_tile),
            Self::Cuda => on_gpu(matcher, (regions, words), threshold, on_progress),
            _ => Search::new(matcher, threshold, self, Precision::F32)?.all_pairs(
                regions,
                words,
                on_progress,
            ),
        }
    }
}

#[cfg(feature = "cuda-kernels")]
fn on_gpu(
    matcher: &Matcher,
    (regions, words): (&Regions, &Words),
    threshold: f64,
    on_progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<AllPairs> {
    let machine = cuda::open(regions.rows().device())?;
    let there = (
        &cuda::DeviceRegions::copied(&*machine, regions, cuda::Half::F16)?,
        &cuda::DeviceWords::copied(&*machine, words, cuda::Half::F16)?,
    );
    let mut values = vec![0.0; regions.images() * words.captions()];
    let search = cuda::DeviceSearch::new(machine, matcher, threshold)?;
    let kept = search.similarities_into(there, &mut values, on_progress)?;
    Ok(AllPairs { values, kept })
}

#[cfg(not(feature = "cuda-kernels"))]
fn on_gpu(
    _: &Matcher,
    _: (&Regions, &Words),
    _: f64,
    _: &(dyn Fn(usize, usize) + Sync),
) -> Result<AllPairs> {
    Err(Error::Setting {
        setting: "kernel",
        found: Kernel::Cuda.to_string(),
        expected: "a build with the feature `cuda-kernels`",
    })
}

impl FromStr for Kernel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = "auto, reference, tensor, scalar, avx2, avx512, amx or cuda";
        Self::ALL
            .into_iter()
            .find(|kernel| kernel.name() == text)
            .ok_or_else(|| unknown("kernel", text, known))
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
