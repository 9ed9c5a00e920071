//! A parsed module, and the launch of its kernels.

use crate::error::{Error, Result};
use crate::execute::Grid;
use crate::instruction::Instruction;
use crate::launch::Launch;
use crate::memory::Memory;
use crate::parse;

/// The kernels of one PTX text.
#[derive(Clone, Debug)]
pub struct Module {
    pub(crate) code: Vec<Instruction>,
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) lines: Vec<String>,
}

/// A kernel of a module.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    /// Index of the kernel's first instruction.
    pub(crate) entry: u32,
    /// Size of each parameter in bytes, 4 or 8.
    pub(crate) parameters: Vec<usize>,
    /// Number of registers of a thread.
    pub(crate) registers: u32,
    /// End of the static shared memory, which starts at [`SHARED_START`].
    pub(crate) shared_end: usize,
    /// Start of the dynamic shared memory, after the static one.
    pub(crate) dynamic_start: usize,
}

/// The first address of shared memory; not 0, so that an access through a null pointer is out of
/// bounds.
pub(crate) const SHARED_START: usize = 1024;

impl Module {
    /// Parses PTX.
    ///
    /// # Errors
    /// [`Error::Syntax`], and [`Error::Unsupported`] for PTX that this interpreter does not support.
    pub fn parse(ptx: &str) -> Result<Self> {
        parse::module(ptx)
    }

    /// Runs every block of the grid, one after the other, in the order of their indices.
    ///
    /// # Errors
    /// [`Error::UnknownKernel`], [`Error::Shape`], [`Error::Arguments`]; [`Error::Fault`] for the
    /// first fault of a thread. Writes before the fault remain in memory.
    pub fn launch(&self, kernel: &str, launch: &Launch<'_>, memory: &mut Memory) -> Result<()> {
        let found = self.kernels.iter().find(|found| found.name == kernel);
        let Some(found) = found else {
            let known: Vec<_> = self.kernels.iter().map(|found| &*found.name).collect();
            return Err(Error::UnknownKernel {
                name: kernel.to_owned(),
                known: known.join(", "),
            });
        };
        launch.check(found)?;
        memory.begin_launch();
        let grid = Grid {
            module: self,
            kernel: found,
            launch,
        };
        grid.run(memory)
    }
}
