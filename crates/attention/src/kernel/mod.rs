//! Which code computes the similarity: chosen by name, the same contract for all.
//!
//! `scalar`, `avx2`, `avx512` and `amx` read packed fragments through [`crate::search::Search`];
//! `reference` and `tensor` read the tensors themselves.

mod by_reference;

pub(crate) mod answers;
#[cfg(feature = "cuda-kernels")]
pub mod cuda;

use std::fmt;
use std::str::FromStr;

use uard_core::panels::{InstructionSet, Instructions, Unavailable};
use uard_core::{Regions, Words};

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
    pub const ALL: [Self; 7] = [
        Self::Auto,
        Self::Reference,
        Self::Tensor,
        Self::Scalar,
        Self::Avx2,
        Self::Avx512,
        Self::Amx,
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
        }
    }

    /// Whether it reads packed fragments, through [`Search`].
    pub fn is_packed(self) -> bool {
        !matches!(self, Self::Reference | Self::Tensor)
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
            Self::Reference | Self::Tensor => {
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

    /// Matches every image with every caption in f32, from the tensors to a matrix.
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
            _ => Search::new(matcher, threshold, self, Precision::F32)?.all_pairs(
                regions,
                words,
                on_progress,
            ),
        }
    }
}

impl FromStr for Kernel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = "auto, reference, tensor, scalar, avx2, avx512 or amx";
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
