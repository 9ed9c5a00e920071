//! What does a module hold once it is parsed, and how is a kernel of it launched?

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::error::{Error, Result};
use crate::execute::Grid;
use crate::instruction::Instruction;
use crate::launch::{Launch, Parameter};
use crate::memory::Memory;
use crate::parse;

/// Kernels and variables of one PTX text.
#[derive(Clone, Debug)]
pub struct Module {
    pub(crate) code: Vec<Instruction>,
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) globals: Vec<GlobalVariable>,
    pub(crate) constants: Vec<u8>,
    pub(crate) lines: Vec<String>,
    /// Tells modules apart whose variables lie in the same memory.
    identity: u64,
}

/// A variable in device memory.
#[derive(Clone, Debug)]
pub(crate) struct GlobalVariable {
    /// Zero where the text says nothing, as CUDA has it.
    pub(crate) content: Vec<u8>,
}

/// An entry of the module.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    pub(crate) entry: u32,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) frame: Frame,
}

/// How much of each kind of storage a kernel needs, with all functions: they do not recurse, so
/// each has its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) registers: u32,
    pub(crate) parameter_bytes: usize,
    pub(crate) local_bytes: usize,
    /// End of the static shared memory, which starts at [`SHARED_START`].
    pub(crate) shared_end: usize,
    pub(crate) shared_align: usize,
}

/// Shared addresses below belong to the system, so that a null pointer is none.
pub(crate) const SHARED_START: usize = 1024;

impl Default for Frame {
    fn default() -> Self {
        Self {
            registers: 0,
            parameter_bytes: 0,
            local_bytes: 0,
            shared_end: SHARED_START,
            shared_align: 16,
        }
    }
}

impl Module {
    /// Reads a text of PTX.
    ///
    /// # Errors
    /// [`Error::Syntax`], and [`Error::Unsupported`] for what this interpreter does not know.
    pub fn parse(ptx: &str) -> Result<Self> {
        let mut hasher = DefaultHasher::new();
        ptx.hash(&mut hasher);
        let parsed = parse::module(ptx)?;
        Ok(Self {
            code: parsed.code,
            kernels: parsed.kernels,
            globals: parsed.globals,
            constants: parsed.constants,
            lines: ptx.lines().map(|line| line.trim().to_owned()).collect(),
            identity: hasher.finish(),
        })
    }

    /// Names of the kernels.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.kernels.iter().map(|kernel| kernel.name.as_str())
    }

    /// Runs every block of the grid, one after the other, in order of block index.
    ///
    /// # Errors
    /// [`Error::UnknownKernel`], [`Error::Shape`], [`Error::Arguments`]; [`Error::Fault`] for the
    /// first fault of a thread, after which the memory is as the threads left it.
    pub fn launch(&self, kernel: &str, launch: &Launch, memory: &mut Memory) -> Result<()> {
        let found = self.kernels.iter().find(|found| found.name == kernel);
        let Some(found) = found else {
            let known: Vec<&str> = self.kernels().collect();
            return Err(Error::UnknownKernel {
                name: kernel.to_owned(),
                known: known.join(", "),
            });
        };
        launch.check_shape(kernel, found.frame.shared_end - SHARED_START)?;
        let arguments = launch.argument_bytes(kernel, &found.parameters)?;
        let contents = self.globals.iter().map(|global| global.content.as_slice());
        let globals = memory.variables(self.identity, contents)?;
        memory.begin_launch();
        let grid = Grid {
            module: self,
            kernel: found,
            launch,
            arguments,
            globals,
        };
        grid.run(memory)
    }
}
