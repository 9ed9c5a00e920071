//! The options of a launch, and their limits.

use uard_core::gpu::Argument;

use crate::error::{Error, Result};
use crate::module::{Kernel, SHARED_START};

/// The options of a launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch<'a> {
    /// Number of blocks of the grid.
    pub blocks: u32,
    /// Number of threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
    /// One argument for each parameter.
    pub arguments: &'a [Argument],
}

const MOST_BLOCKS: u32 = i32::MAX as u32;
const MOST_THREADS: u32 = 1024;
/// Largest shared memory of a block on an H100, in bytes; GPUs of compute capability 8.0 have less.
pub(crate) const MOST_SHARED: u32 = 232_448;

impl Launch<'_> {
    /// Checks the limits of a GPU, and the number and sizes of the arguments.
    pub(crate) fn check(&self, kernel: &Kernel) -> Result<()> {
        let static_bytes = kernel.shared_end - SHARED_START;
        let reason = if self.blocks == 0 || self.blocks > MOST_BLOCKS {
            "a grid has between 1 and 2147483647 blocks"
        } else if self.threads == 0 || self.threads > MOST_THREADS {
            "a block has between 1 and 1024 threads"
        } else if static_bytes + self.shared_bytes as usize > MOST_SHARED as usize {
            "a block has at most 232448 bytes of shared memory, static and dynamic"
        } else {
            return self.check_arguments(kernel);
        };
        Err(Error::Shape {
            kernel: kernel.name.clone(),
            blocks: self.blocks,
            threads: self.threads,
            reason,
        })
    }

    fn check_arguments(&self, kernel: &Kernel) -> Result<()> {
        let refuse = |reason| {
            Err(Error::Arguments {
                kernel: kernel.name.clone(),
                reason,
            })
        };
        let (expected, found) = (kernel.parameters.len(), self.arguments.len());
        if expected != found {
            return refuse(format!("takes {expected} arguments, {found} were given"));
        }
        for (index, (&expected, argument)) in
            kernel.parameters.iter().zip(self.arguments).enumerate()
        {
            let (_, found) = bits(argument);
            if expected != found {
                return refuse(format!(
                    "argument {index} has {expected} bytes, {argument:?} has {found}"
                ));
            }
        }
        Ok(())
    }
}

/// The register contents of an argument, and its size in bytes.
pub(crate) fn bits(argument: &Argument) -> (u64, usize) {
    match *argument {
        Argument::Address(address) => (address, 8),
        Argument::U32(number) => (number.into(), 4),
        Argument::F32(number) => (number.to_bits().into(), 4),
        Argument::F64(number) => (number.to_bits(), 8),
    }
}
