//! [`Instructions`]: an instruction set that this machine was found to have. Detection runs once.

use std::fmt;
use std::sync::OnceLock;

use super::machine;

/// A set of instructions that kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstructionSet {
    /// Plain Rust.
    Scalar,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL; `vdpbf16ps` where the machine has it.
    Avx512,
    /// AVX-512 as above, and AMX tiles for products in bf16.
    Amx,
}

impl InstructionSet {
    /// All sets, each followed by those that contain it.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Amx];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
        }
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why an instruction set cannot be used on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{set} cannot be used: {reason}")]
pub struct Unavailable {
    /// The requested set.
    pub set: InstructionSet,
    /// What is missing.
    pub reason: &'static str,
}

/// An instruction set that this machine has, so that a kernel may use its instructions. Only detection
/// makes one, apart from [`Instructions::SCALAR`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instructions {
    set: InstructionSet,
    /// Whether AVX-512 has `vdpbf16ps`, and the set contains AVX-512.
    bf16_pairs: bool,
}

impl Instructions {
    /// Plain Rust, which every machine has.
    pub const SCALAR: Self = Self {
        set: InstructionSet::Scalar,
        bf16_pairs: false,
    };

    /// Detects whether this machine has the set; all sets are looked for in the first call alone.
    ///
    /// Detecting AMX requests the operating system's permission to use tiles, which it gives to every
    /// thread of the process.
    ///
    /// # Errors
    /// When the processor or the operating system lacks something, which the error names.
    pub fn detect(set: InstructionSet) -> Result<Self, Unavailable> {
        static MISSING: OnceLock<[Option<&str>; InstructionSet::ALL.len()]> = OnceLock::new();
        let missing = MISSING.get_or_init(|| InstructionSet::ALL.map(machine::missing_for));
        match missing[set as usize] {
            Some(reason) => Err(Unavailable { set, reason }),
            None => Ok(Self {
                set,
                bf16_pairs: set >= InstructionSet::Avx512 && machine::has_bf16_pairs(),
            }),
        }
    }

    /// AMX on a machine that lacks it, for tests that emulate its instructions.
    #[cfg(all(test, target_arch = "x86_64", target_os = "linux", not(miri)))]
    pub(super) fn emulated_amx() -> Self {
        Self {
            set: InstructionSet::Amx,
            bf16_pairs: false,
        }
    }

    /// The fastest set that this machine has.
    pub fn best() -> Self {
        let mut sets = InstructionSet::ALL.into_iter().rev();
        sets.find_map(|set| Self::detect(set).ok())
            .unwrap_or(Self::SCALAR)
    }

    /// Which set it is.
    pub fn set(self) -> InstructionSet {
        self.set
    }

    /// The vectors of AVX-512 where it has `vdpbf16ps`, which multiplies pairs of bf16.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn pairs(self) -> Option<pulp::x86::V4> {
        self.bf16_pairs.then(pulp::x86::V4::try_new).flatten()
    }
}
