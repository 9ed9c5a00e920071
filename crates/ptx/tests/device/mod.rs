//! A device for tests: copies arrays to and from kernels and launches them.

use uard_ptx::{Argument, Error, Fault, FaultLocation, Launch, Memory, Module};

/// A number in device memory.
pub trait Number: Copy {
    /// Converts the number to its bytes.
    fn to_bytes(self) -> Vec<u8>;
    /// Converts bytes to the number.
    fn from_bytes(bytes: &[u8]) -> Self;
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Number for $type {
            fn to_bytes(self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }
            fn from_bytes(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().unwrap())
            }
        }
    )*};
}

numbers!(u16 u32 u64 f32);

/// A module and its memory.
pub struct Device {
    module: Module,
    memory: Memory,
}

/// Number of blocks, threads of a block, and bytes of dynamic shared memory of a launch.
#[derive(Clone, Copy)]
pub struct Shape {
    pub blocks: u32,
    pub threads: u32,
    pub shared_bytes: u32,
}

/// One block of this many threads.
pub fn threads(threads: u32) -> Shape {
    Shape {
        blocks: 1,
        threads,
        shared_bytes: 0,
    }
}

/// Declares registers: 64 bits `x`, `y`, `a`, `b`, `c`, `o`; 32 bits `t`, `r0` to `r7`; single
/// precision `f0` to `f7`; double precision `d0` to `d3`; predicates `p0` to `p3`.
const REGISTERS: &str = ".reg .b64 x, y, a, b, c, o; .reg .b32 t, r<8>; .reg .f32 f<8>;
    .reg .f64 d<4>; .reg .pred p<4>;";

impl Device {
    /// A module of this PTX with empty memory.
    pub fn new(ptx: &str) -> Self {
        Self {
            module: Module::parse(ptx).unwrap(),
            memory: Memory::default(),
        }
    }

    /// A kernel `k` with these lines. It has the addresses of two arrays in `x` and `y`, the thread's
    /// index in `t`, and 64 bytes of shared memory `s`.
    pub fn with_lines(lines: &str) -> Self {
        Self::new(&format!(
            ".version 8.0 .target sm_80 .address_size 64
             .visible .entry k(.param .u64 px, .param .u64 py) {{
             {REGISTERS} .shared .align 16 .b8 s[64];
             ld.param.u64 x, [px]; ld.param.u64 y, [py]; mov.u32 t, %tid.x;
             {lines} ret; }}"
        ))
    }

    /// Copies an array to the device.
    pub fn array<T: Number>(&mut self, values: &[T]) -> Argument {
        let bytes: Vec<u8> = values.iter().flat_map(|&value| value.to_bytes()).collect();
        let address = self.memory.allocate(bytes.len());
        self.memory.write(address, &bytes).unwrap();
        Argument::Address(address)
    }

    /// Allocates an array without writing it.
    pub fn unwritten<T>(&mut self, count: usize) -> Argument {
        Argument::Address(self.memory.allocate(count * size_of::<T>()))
    }

    /// Copies an array from the device.
    pub fn read<T: Number>(&self, array: Argument, count: usize) -> Vec<T> {
        let Argument::Address(address) = array else {
            panic!("{array:?} is not an address");
        };
        let mut bytes = vec![0; count * size_of::<T>()];
        self.memory.read(address, &mut bytes).unwrap();
        bytes.chunks(size_of::<T>()).map(T::from_bytes).collect()
    }

    /// Launches a kernel.
    pub fn launch(
        &mut self,
        kernel: &str,
        shape: Shape,
        arguments: &[Argument],
    ) -> Result<(), Error> {
        let launch = Launch {
            blocks: shape.blocks,
            threads: shape.threads,
            shared_bytes: shape.shared_bytes,
            arguments,
        };
        self.module.launch(kernel, &launch, &mut self.memory)
    }
}

/// Location and kind of the fault that a launch ended with.
pub fn fault(result: Result<(), Error>) -> (FaultLocation, Fault) {
    match result {
        Err(Error::Fault { location, fault }) => (*location, fault),
        other => panic!("a fault was expected, not {other:?}"),
    }
}

/// Runs lines in one thread and returns `o` + `r3`. The inputs are in `a`, `b`, `c`, their lower
/// halves in `r0`, `r1`, `r2` and in `f0`, `f1`, `f2`.
pub fn run(lines: &str, [a, b, c]: [u64; 3]) -> u64 {
    let mut device = Device::with_lines(&format!(
        "ld.global.u64 a, [x]; ld.global.u64 b, [x+8]; ld.global.u64 c, [x+16];
         cvt.u32.u64 r0, a; cvt.u32.u64 r1, b; cvt.u32.u64 r2, c;
         mov.b32 f0, r0; mov.b32 f1, r1; mov.b32 f2, r2; mov.u64 o, 0; mov.u32 r3, 0;
         {lines}
         cvt.u64.u32 c, r3; add.s64 o, o, c; st.global.u64 [y], o;"
    ));
    let (x, y) = (device.array(&[a, b, c]), device.unwritten::<u64>(1));
    device.launch("k", threads(1), &[x, y]).unwrap();
    device.read::<u64>(y, 1)[0]
}

/// [`run`] with inputs and result of 32 bits.
pub fn run32(lines: &str, inputs: [u32; 3]) -> u32 {
    u32::try_from(run(lines, inputs.map(u64::from))).unwrap()
}

/// [`run`] with inputs in single precision; the result is `f3`.
pub fn run_f32(lines: &str, inputs: [f32; 3]) -> f32 {
    let lines = format!("{lines} mov.b32 r3, f3;");
    f32::from_bits(run32(&lines, inputs.map(f32::to_bits)))
}
