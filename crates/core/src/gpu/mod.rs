//! Compiles our CUDA kernels at run time, holds memory of a GPU and launches kernels there.
//!
//! A [`Gpu`] compiles each [`Program`] once and runs kernels in the order of their launches.
//! [`Driver`] is a real GPU. Tests run the same programs on an interpreter of PTX, so that they cover
//! everything but the driver on a machine without a GPU.
//!
//! This builds without CUDA, whose libraries are loaded when a [`Driver`] is opened.

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

/// CUDA C++ source with values for its macros, compiled at run time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its name in messages.
    pub name: &'static str,
    /// The texts of its files, in the order of compilation.
    pub sources: &'static [&'static str],
    /// Names and values of `#define`s before the sources, in order.
    pub defines: Vec<(&'static str, u32)>,
}

/// Hashes name and defines alone: a program is looked up at every launch, and sources are long.
impl Hash for Program {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.defines.hash(state);
    }
}

impl Program {
    /// The text that is compiled: defines, then sources.
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
    /// An address in the memory of the GPU.
    Address(u64),
    /// An unsigned integer: a count, an offset or a switch.
    U32(u32),
    /// A number of 32 bits.
    F32(f32),
    /// A number of 64 bits.
    F64(f64),
}

/// A launch of a kernel: its grid, shared memory and arguments.
#[derive(Debug, Clone)]
pub struct Launch<'a> {
    /// The program that defines the kernel.
    pub program: &'a Program,
    /// The kernel's name in the program.
    pub kernel: &'static str,
    /// How many blocks; with 0 nothing is launched.
    pub blocks: u32,
    /// How many threads a block has.
    pub threads: u32,
    /// Bytes of dynamic shared memory of a block, beside what the source declares.
    pub shared_bytes: u32,
    /// The kernel's arguments, in the order of its parameters.
    pub arguments: &'a [Argument],
}

/// An allocation in the memory of a GPU, freed when dropped.
pub trait Memory: Debug + Send + Sync {
    /// The address of its first byte, a multiple of 256.
    fn address(&self) -> u64;

    /// Copies bytes of the host to its beginning.
    ///
    /// # Errors
    /// When the copy fails.
    ///
    /// # Panics
    /// When the allocation is shorter than `bytes`.
    fn write(&mut self, bytes: &[u8]) -> GpuResult<()>;

    /// Copies from its beginning to the host, after all kernels launched before have run.
    ///
    /// # Errors
    /// When the copy fails, or a kernel launched before has failed.
    ///
    /// # Panics
    /// When the allocation is shorter than `bytes`.
    fn read(&self, bytes: &mut [u8]) -> GpuResult<()>;

    /// Sets every byte to zero.
    ///
    /// # Errors
    /// When the GPU fails.
    fn clear(&mut self) -> GpuResult<()>;
}

/// A GPU, or an interpreter of its kernels: allocates memory and runs kernels one after the other.
pub trait Gpu: Debug + Send + Sync {
    /// Its name in messages.
    fn name(&self) -> &str;

    /// The most bytes of shared memory that a block may have.
    fn shared_bytes(&self) -> u32;

    /// Allocates memory without initialising it.
    ///
    /// # Errors
    /// When too little memory is free.
    fn allocate(&self, bytes: usize) -> GpuResult<Box<dyn Memory>>;

    /// Launches a kernel, which runs after those launched before.
    ///
    /// # Errors
    /// When the program does not compile for this GPU, or the driver refuses the launch.
    ///
    /// # Safety
    /// The arguments have the number, order and types of the kernel's parameters. All memory that the
    /// kernel accesses through their addresses is allocated on this GPU, and is not freed before the
    /// kernel has run.
    unsafe fn launch(&self, launch: &Launch<'_>) -> GpuResult<()>;
}

/// An array of numbers in the memory of a GPU.
#[derive(Debug)]
pub struct Numbers<T> {
    memory: Box<dyn Memory>,
    count: usize,
    number: PhantomData<T>,
}

impl<T: Pod> Numbers<T> {
    /// Allocates `count` numbers without initialising them.
    ///
    /// # Errors
    /// When too little memory is free.
    pub fn unset(gpu: &dyn Gpu, count: usize) -> GpuResult<Self> {
        // An overflow becomes the largest count of bytes, which no GPU can allocate.
        let bytes = count.saturating_mul(size_of::<T>());
        Ok(Self {
            memory: gpu.allocate(bytes)?,
            count,
            number: PhantomData,
        })
    }

    /// Allocates `count` zeros.
    ///
    /// # Errors
    /// When too little memory is free.
    pub fn zeros(gpu: &dyn Gpu, count: usize) -> GpuResult<Self> {
        let mut numbers = Self::unset(gpu, count)?;
        numbers.memory.clear()?;
        Ok(numbers)
    }

    /// Copies numbers of the host to newly allocated memory.
    ///
    /// # Errors
    /// When too little memory is free.
    pub fn copied(gpu: &dyn Gpu, numbers: &[T]) -> GpuResult<Self> {
        let mut copy = Self::unset(gpu, numbers.len())?;
        copy.memory.write(bytemuck::cast_slice(numbers))?;
        Ok(copy)
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no numbers.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Copies the first `numbers.len()` numbers to the host, after all kernels launched before have run.
    ///
    /// # Errors
    /// When the copy fails, or a kernel launched before has failed.
    ///
    /// # Panics
    /// When `numbers` is longer than the array.
    pub fn read_into(&self, numbers: &mut [T]) -> GpuResult<()> {
        assert!(
            numbers.len() <= self.count,
            "no more numbers than the array has"
        );
        self.memory.read(bytemuck::cast_slice_mut(numbers))
    }

    /// Copies all numbers to the host.
    ///
    /// # Errors
    /// As [`Numbers::read_into`].
    pub fn read(&self) -> GpuResult<Vec<T>> {
        let mut numbers = vec![T::zeroed(); self.count];
        self.read_into(&mut numbers)?;
        Ok(numbers)
    }

    /// The address of the first number, as an argument of a kernel.
    pub fn argument(&self) -> Argument {
        self.argument_from(0)
    }

    /// The address of the number at `index`, as an argument of a kernel.
    ///
    /// # Panics
    /// When `index` is above the array's length.
    pub fn argument_from(&self, index: usize) -> Argument {
        assert!(index <= self.count, "an index within the array");
        Argument::Address(self.memory.address() + (index * size_of::<T>()) as u64)
    }
}
