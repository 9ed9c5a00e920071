//! A module once it is parsed, and the launch of a kernel of it.

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

/// An entry of the module.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    pub(crate) entry: u32,
    /// Bytes of each parameter, 4 or 8.
    pub(crate) parameters: Vec<usize>,
    /// Registers of a thread.
    pub(crate) registers: u32,
    /// End of the static shared memory, which starts at [`SHARED_START`].
    pub(crate) shared_end: usize,
    /// Where dynamic shared memory begins, behind the static one.
    pub(crate) dynamic_start: usize,
}

/// Shared addresses below belong to the system, so that a null pointer is none.
pub(crate) const SHARED_START: usize = 1024;

impl Module {
    /// Reads a text of PTX.
    ///
    /// # Errors
    /// [`Error::Syntax`], and [`Error::Unsupported`] for what this interpreter does not know.
    pub fn parse(ptx: &str) -> Result<Self> {
        parse::module(ptx)
    }

    /// Runs every block of the grid, one after the other, in order of index.
    ///
    /// # Errors
    /// [`Error::UnknownKernel`], [`Error::Shape`], [`Error::Arguments`]; [`Error::Fault`] for the
    /// first fault of a thread, after which the memory is as the threads left it.
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
