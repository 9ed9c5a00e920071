//! Which types of values and kinds of memory does PTX know?

use std::fmt;

/// The type in an instruction's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    B8,
    B16,
    B32,
    B64,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    Tf32,
    F32,
    F64,
    Pred,
}

impl Type {
    /// Reads `u32`, without its dot.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "b8" => Self::B8,
            "b16" => Self::B16,
            "b32" => Self::B32,
            "b64" => Self::B64,
            "u8" => Self::U8,
            "u16" => Self::U16,
            "u32" => Self::U32,
            "u64" => Self::U64,
            "s8" => Self::S8,
            "s16" => Self::S16,
            "s32" => Self::S32,
            "s64" => Self::S64,
            "f16" => Self::F16,
            "f16x2" => Self::F16x2,
            "bf16" => Self::Bf16,
            "bf16x2" => Self::Bf16x2,
            "tf32" => Self::Tf32,
            "f32" => Self::F32,
            "f64" => Self::F64,
            "pred" => Self::Pred,
            _ => return None,
        })
    }

    /// Width in memory.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::B8 | Self::U8 | Self::S8 | Self::Pred => 1,
            Self::B16 | Self::U16 | Self::S16 | Self::F16 | Self::Bf16 => 2,
            Self::B64 | Self::U64 | Self::S64 | Self::F64 => 8,
            _ => 4,
        }
    }

    /// Whether a narrow value is extended by its sign.
    pub(crate) fn is_signed(self) -> bool {
        matches!(self, Self::S8 | Self::S16 | Self::S32 | Self::S64)
    }

    /// Integers and bits.
    pub(crate) fn is_integer(self) -> bool {
        self.is_signed()
            || matches!(self, Self::B8 | Self::B16 | Self::B32 | Self::B64)
            || matches!(self, Self::U8 | Self::U16 | Self::U32 | Self::U64)
    }
}

/// A kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Space {
    /// Decided by the address.
    Generic,
    /// The device's.
    Global,
    /// The block's.
    Shared,
    /// The thread's.
    Local,
    /// Read-only.
    Constant,
    /// Arguments of the kernel.
    Argument,
    /// Arguments and results of calls of functions.
    Parameter,
}

impl Space {
    /// Where the space begins among generic addresses; `None` where it has no window.
    pub(crate) fn window(self) -> Option<u64> {
        match self {
            Self::Generic | Self::Global => Some(0),
            Self::Local => Some(1 << 32),
            Self::Shared => Some(2 << 32),
            Self::Constant => Some(3 << 32),
            Self::Argument => Some(4 << 32),
            Self::Parameter => None,
        }
    }

    /// The space of a generic address, and the address in it.
    pub(crate) fn of(address: u64) -> (Self, u64) {
        let inside = address & 0xffff_ffff;
        match address >> 32 {
            1 => (Self::Local, inside),
            2 => (Self::Shared, inside),
            3 => (Self::Constant, inside),
            4 => (Self::Argument, inside),
            _ => (Self::Global, address),
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Generic => "generic",
            Self::Global => "global",
            Self::Shared => "shared",
            Self::Local => "local",
            Self::Constant => "constant",
            Self::Argument => "argument",
            Self::Parameter => "parameter",
        })
    }
}
