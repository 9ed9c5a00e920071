//! How does a test bring arrays to a kernel and back?

#![allow(dead_code, reason = "each test uses a part")]

use uard_ptx::{Argument, Error, Fault, Launch, Memory, Module, Place};

/// A number as it lies in device memory.
pub trait Number: Copy {
    /// Its bytes.
    fn bytes(self) -> Vec<u8>;
    /// The number of its bytes.
    fn of(bytes: &[u8]) -> Self;
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Number for $type {
            fn bytes(self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }
            fn of(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().unwrap())
            }
        }
    )*};
}

numbers!(u16 u32 i32 u64 i64 u128 f32 f64);

/// A module and its memory.
pub struct Device {
    module: Module,
    pub memory: Memory,
}

impl Device {
    /// Memory is empty.
    pub fn new(ptx: &str) -> Self {
        Self {
            module: Module::parse(ptx).unwrap(),
            memory: Memory::default(),
        }
    }

    /// An array that the kernel finds.
    pub fn with<T: Number>(&mut self, values: &[T]) -> Argument {
        let bytes: Vec<u8> = values.iter().flat_map(|&value| value.bytes()).collect();
        let address = self.memory.allocate(bytes.len());
        self.memory.write(address, &bytes).unwrap();
        Argument::Address(address)
    }

    /// Room for an array that nobody wrote.
    pub fn room<T>(&mut self, count: usize) -> Argument {
        Argument::Address(self.memory.allocate(count * size_of::<T>()))
    }

    /// What an array holds.
    pub fn read<T: Number>(&self, array: &Argument, count: usize) -> Vec<T> {
        let Argument::Address(address) = array else {
            panic!("{array:?} is no array");
        };
        let mut bytes = vec![0; count * size_of::<T>()];
        self.memory.read(*address, &mut bytes).unwrap();
        bytes.chunks(size_of::<T>()).map(T::of).collect()
    }

    /// One launch along the first direction.
    pub fn launch(
        &mut self,
        kernel: &str,
        (blocks, threads): (u32, u32),
        arguments: &[&Argument],
    ) -> Result<(), Error> {
        self.launch_shape(kernel, ([blocks, 1, 1], [threads, 1, 1], 0), arguments)
    }

    /// One launch of any grid, block and dynamic shared memory.
    pub fn launch_shape(
        &mut self,
        kernel: &str,
        (grid, block, shared_bytes): ([u32; 3], [u32; 3], u32),
        arguments: &[&Argument],
    ) -> Result<(), Error> {
        let launch = Launch {
            grid,
            block,
            shared_bytes,
            arguments: arguments.iter().map(|&argument| argument.clone()).collect(),
        };
        self.module.launch(kernel, &launch, &mut self.memory)
    }
}

/// The fault that a launch ended with.
pub fn fault(result: Result<(), Error>) -> (Place, Fault) {
    match result {
        Err(Error::Fault { place, fault }) => (*place, fault),
        other => panic!("a fault was expected, not {other:?}"),
    }
}

/// Draws that are the same in every run, over all 64 bits.
pub struct Draws(pub u64);

impl Draws {
    /// The next one (splitmix64).
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between −1 and 1.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}
