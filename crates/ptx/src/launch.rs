//! What does a launch say, and which bytes do a kernel's parameters become?

use crate::error::{Error, Result};

/// Grid, block, dynamic shared memory and arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Dynamic shared memory, in bytes.
    pub shared_bytes: u32,
    /// One for each parameter.
    pub arguments: Vec<Argument>,
}

/// One argument of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// A pointer.
    Address(u64),
    /// 32 bits.
    U32(u32),
    /// 32 bits.
    I32(i32),
    /// 64 bits.
    U64(u64),
    /// Single precision.
    F32(f32),
    /// A structure by value, as it lies in memory.
    Bytes(Vec<u8>),
}

impl Argument {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Address(value) | Self::U64(value) => value.to_le_bytes().to_vec(),
            Self::U32(value) => value.to_le_bytes().to_vec(),
            Self::I32(value) => value.to_le_bytes().to_vec(),
            Self::F32(value) => value.to_le_bytes().to_vec(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

/// A parameter of a kernel: where its bytes lie among all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter {
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
}

const MOST_THREADS: u64 = 1024;
/// Of compute capability 9.0; 8.0 has less.
const MOST_SHARED: usize = 232_448;

impl Launch {
    /// Threads of a block.
    pub(crate) fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    /// Refuses grids and blocks that a GPU refuses; the static shared memory is the kernel's.
    pub(crate) fn check_shape(&self, kernel: &str, static_bytes: usize) -> Result<()> {
        let threads: u64 = self.block.iter().map(|&side| u64::from(side)).product();
        let reason = match threads {
            0 => "a block has at least one thread",
            _ if self.grid.contains(&0) => "a grid has at least one block",
            _ if threads > MOST_THREADS || self.block[2] > 64 => {
                "a block has at most 1024 threads, and 64 in its third direction"
            }
            _ if self.grid[1] > 65535 || self.grid[2] > 65535 || self.grid[0] > i32::MAX as u32 => {
                "a grid has at most 2147483647 by 65535 by 65535 blocks"
            }
            _ if static_bytes + self.shared_bytes as usize > MOST_SHARED => {
                "a block has at most 232448 bytes of shared memory, static and dynamic"
            }
            _ => return Ok(()),
        };
        Err(Error::Shape {
            kernel: kernel.to_owned(),
            grid: self.grid,
            block: self.block,
            reason,
        })
    }

    /// The arguments as they lie in the kernel's parameter memory.
    pub(crate) fn argument_bytes(&self, kernel: &str, parameters: &[Parameter]) -> Result<Vec<u8>> {
        let refuse = |reason| {
            Err(Error::Arguments {
                kernel: kernel.to_owned(),
                reason,
            })
        };
        if parameters.len() != self.arguments.len() {
            let (expected, found) = (parameters.len(), self.arguments.len());
            return refuse(format!(
                "takes {expected} arguments, and {found} were given"
            ));
        }
        let end = parameters.last().map_or(0, |last| last.offset + last.bytes);
        let mut all = vec![0; end];
        for (index, (parameter, argument)) in parameters.iter().zip(&self.arguments).enumerate() {
            let bytes = argument.bytes();
            if bytes.len() != parameter.bytes {
                let (expected, found) = (parameter.bytes, bytes.len());
                return refuse(format!(
                    "argument {index} has {expected} bytes, and {argument:?} has {found}"
                ));
            }
            all[parameter.offset..parameter.offset + bytes.len()].copy_from_slice(&bytes);
        }
        Ok(all)
    }
}
