//! The types of values and the kinds of memory in PTX.

use std::fmt;

/// The type at the end of an instruction's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    B32,
    B64,
    U32,
    U64,
    S32,
    S64,
    F32,
    F64,
    Pred,
}

impl Type {
    /// Reads `u32`, without its dot.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "b32" => Self::B32,
            "b64" => Self::B64,
            "u32" => Self::U32,
            "u64" => Self::U64,
            "s32" => Self::S32,
            "s64" => Self::S64,
            "f32" => Self::F32,
            "f64" => Self::F64,
            "pred" => Self::Pred,
            _ => return None,
        })
    }

    /// Width in memory; `None` for predicates, which are in registers only.
    pub(crate) fn bytes(self) -> Option<usize> {
        match self {
            Self::B32 | Self::U32 | Self::S32 | Self::F32 => Some(4),
            Self::B64 | Self::U64 | Self::S64 | Self::F64 => Some(8),
            Self::Pred => None,
        }
    }
}

/// A kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Space {
    /// The memory of the device.
    Global,
    /// The shared memory of a block.
    Shared,
}

impl fmt::Display for Space {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Global => "global",
            Self::Shared => "shared",
        })
    }
}
