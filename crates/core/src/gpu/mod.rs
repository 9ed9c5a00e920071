//! How do kernels of ours reach a GPU? Source, compiled where it runs, and numbers to start it with.
//!
//! A [`Machine`] compiles a [`Program`] once, holds memory and runs kernels in the order in which
//! they are launched. [`Driver`] is a GPU; tests run the same programs on an interpreter of PTX,
//! so that everything but the driver itself is seen to work where there is no GPU.
//!
//! Nothing here needs CUDA to be built, or to be there: its libraries are looked for when a
//! [`Driver`] is opened.

pub mod compile;
mod driver;
mod error;
#[cfg(feature = "cuda")]
pub mod tensors;
#[cfg(feature = "cuda")]
pub mod upload;

pub use driver::Driver;
pub use error::{GpuError, GpuResult};

use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use bytemuck::Pod;

/// CUDA C++ that is compiled where it runs, with the numbers it is compiled for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Names it in messages.
    pub name: &'static str,
    /// Its files, one after the other.
    pub sources: &'static [&'static str],
    /// What `#define`s put before them, in order.
    pub defines: Vec<(&'static str, u32)>,
}

/// By name and numbers alone: machines look programs up at every launch, and sources are long.
impl Hash for Program {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.defines.hash(state);
    }
}

impl Program {
    /// Everything that is compiled.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.defines {
            text.push_str(&format!("#define {name} {value}\n"));
        }
        for source in self.sources {
            text.push_str(source);
        }
        text
    }
}

/// One argument of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Argument {
    /// Where numbers lie in the machine's memory.
    Address(u64),
    /// A count, an offset, a switch.
    U32(u32),
    /// A number.
    F32(f32),
    /// A number of 64 bits.
    F64(f64),
}

/// A kernel, and what it is started with.
#[derive(Debug, Clone)]
pub struct Launch<'a> {
    /// Where the kernel is defined.
    pub program: &'a Program,
    /// Its name there.
    pub kernel: &'static str,
    /// Blocks; with none nothing is started.
    pub blocks: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Shared memory of a block beside what the source declares.
    pub shared_bytes: u32,
    /// In the order of its parameters.
    pub arguments: &'a [Argument],
}

/// Memory of a machine, given back when dropped.
pub trait Memory: Debug + Send + Sync {
    /// Where it begins: on a multiple of 256.
    fn address(&self) -> u64;

    /// Copies to its beginning.
    ///
    /// # Errors
    /// When the machine fails.
    ///
    /// # Panics
    /// When there is less of it.
    fn write(&mut self, bytes: &[u8]) -> GpuResult<()>;

    /// Copies from its beginning, after everything that was launched before.
    ///
    /// # Errors
    /// When the machine fails, now or in a kernel launched before.
    ///
    /// # Panics
    /// When there is less of it.
    fn read(&self, bytes: &mut [u8]) -> GpuResult<()>;

    /// Sets every byte to zero.
    ///
    /// # Errors
    /// When the machine fails.
    fn clear(&mut self) -> GpuResult<()>;
}

/// What runs kernels, one after the other.
pub trait Machine: Debug + Send + Sync {
    /// Its name, for people.
    fn name(&self) -> &str;

    /// Shared memory that a block may ask for.
    fn shared_bytes(&self) -> u32;

    /// Memory whose bytes are not set.
    ///
    /// # Errors
    /// When there is too little.
    fn allocate(&self, bytes: usize) -> GpuResult<Box<dyn Memory>>;

    /// Starts a kernel after those before it.
    ///
    /// # Errors
    /// When the program does not compile for this machine, or it refuses the launch.
    ///
    /// # Safety
    /// The arguments must be those that the kernel declares, and what it reads and writes through
    /// their addresses must lie in memory that lives until the kernel has run.
    unsafe fn launch(&self, launch: &Launch<'_>) -> GpuResult<()>;
}

/// Numbers in a machine's memory.
#[derive(Debug)]
pub struct Numbers<T> {
    memory: Box<dyn Memory>,
    count: usize,
    number: PhantomData<T>,
}

impl<T: Pod> Numbers<T> {
    /// Room for numbers that are not set.
    ///
    /// # Errors
    /// When there is too little memory.
    pub fn unset(machine: &dyn Machine, count: usize) -> GpuResult<Self> {
        // More bytes than can be counted are more than any machine has.
        let bytes = count.saturating_mul(size_of::<T>());
        Ok(Self {
            memory: machine.allocate(bytes)?,
            count,
            number: PhantomData,
        })
    }

    /// Zeros.
    ///
    /// # Errors
    /// When there is too little memory.
    pub fn zeros(machine: &dyn Machine, count: usize) -> GpuResult<Self> {
        let mut numbers = Self::unset(machine, count)?;
        numbers.memory.clear()?;
        Ok(numbers)
    }

    /// A copy of numbers of the host.
    ///
    /// # Errors
    /// When there is too little memory.
    pub fn copied(machine: &dyn Machine, numbers: &[T]) -> GpuResult<Self> {
        let mut copy = Self::unset(machine, numbers.len())?;
        copy.memory.write(bytemuck::cast_slice(numbers))?;
        Ok(copy)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first `numbers.len()` of them, after everything that was launched before.
    ///
    /// # Errors
    /// When the machine failed.
    ///
    /// # Panics
    /// When there are not as many.
    pub fn read_into(&self, numbers: &mut [T]) -> GpuResult<()> {
        assert!(numbers.len() <= self.count, "as many as there are");
        self.memory.read(bytemuck::cast_slice_mut(numbers))
    }

    /// All of them.
    ///
    /// # Errors
    /// When the machine failed.
    pub fn read(&self) -> GpuResult<Vec<T>> {
        let mut numbers = vec![T::zeroed(); self.count];
        self.read_into(&mut numbers)?;
        Ok(numbers)
    }

    /// Where they lie.
    pub fn argument(&self) -> Argument {
        self.argument_from(0)
    }

    /// Where they lie from one of them on.
    ///
    /// # Panics
    /// When there is none with this index, nor an end there.
    pub fn argument_from(&self, index: usize) -> Argument {
        assert!(index <= self.count, "a number that is there");
        Argument::Address(self.memory.address() + (index * size_of::<T>()) as u64)
    }
}
