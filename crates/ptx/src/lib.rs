//! An interpreter of PTX for tests: runs CUDA kernels on the CPU and checks their memory accesses.
//!
//! [`Module::parse`] reads the PTX that NVRTC makes of CUDA C++. [`Module::launch`] runs it on the
//! CPU: warps of 32 lanes, each lane with its own program counter, and blocks one after the other.
//! It reports what a GPU does not: accesses out of bounds, misaligned addresses, reads of bytes that
//! were never written, races between threads and between blocks, deadlocks at barriers, and accesses
//! to asynchronous copies that were not waited for. Each fault is an [`Error`] that names the kernel,
//! the line of PTX, the block and the thread. [`Interpreter`] runs the GPU programs of this workspace
//! in place of the CUDA driver. Crates depend on this one in their tests only.
//!
//! # Supported PTX
//! Only the instructions that NVRTC makes of the kernels of this workspace: no calls, no local or
//! constant memory, no generic addresses, and one-dimensional blocks and grids. Anything else is an
//! error of [`Module::parse`] that names the line. To add an instruction on registers, add a line to
//! the table in `arithmetic`; to add another one, add a case to `parse/instruction.rs`.
//!
//! # Differences from a GPU
//! - Approximate functions (`ex2.approx`, `rcp.approx`) are rounded once.
//! - A matrix product sums in double precision and rounds to single precision once.
//! - Only `bar.warp.sync` orders memory accesses among the lanes of a warp; shuffles and reductions
//!   do not, as the programming guide states.
//! - A block that reads what another block of the launch wrote is at fault, unless both accesses are
//!   atomic.
//! - The bytes of a `cp.async` are written only when the thread waits for their group.
//! - A lane or a warp that spins until another one changes memory runs forever.
//!
//! # Example
//! ```
//! use uard_ptx::{Argument, Launch, Memory, Module};
//!
//! let module = Module::parse(
//!     ".version 8.0 .target sm_80 .address_size 64
//!      .visible .entry twice(.param .u64 p) {
//!          .reg .b64 %a, %o; .reg .f32 %x; .reg .b32 %i;
//!          ld.param.u64 %a, [p];
//!          mov.u32 %i, %tid.x;
//!          mul.wide.u32 %o, %i, 4;
//!          add.s64 %a, %a, %o;
//!          ld.global.f32 %x, [%a];
//!          add.f32 %x, %x, %x;
//!          st.global.f32 [%a], %x;
//!          ret;
//!      }",
//! )?;
//! let mut memory = Memory::default();
//! let address = memory.allocate(8);
//! memory.write(address, &[1.5_f32.to_le_bytes(), 2.0_f32.to_le_bytes()].concat())?;
//! let launch = Launch {
//!     blocks: 1,
//!     threads: 2,
//!     shared_bytes: 0,
//!     arguments: &[Argument::Address(address)],
//! };
//! module.launch("twice", &launch, &mut memory)?;
//! let mut second = [0; 4];
//! memory.read(address + 4, &mut second)?;
//! assert_eq!(f32::from_le_bytes(second), 4.0);
//! # Ok::<(), uard_ptx::Error>(())
//! ```

mod arithmetic;
mod error;
mod execute;
mod instruction;
#[allow(
    unsafe_code,
    reason = "implements an unsafe function of the GPU interface"
)]
mod interpreter;
mod launch;
mod memory;
mod module;
mod parse;
mod shared;
mod types;

pub use error::{Error, Fault, FaultLocation, Result};
pub use interpreter::Interpreter;
pub use launch::Launch;
pub use memory::Memory;
pub use module::Module;
pub use types::Space;
pub use uard_core::gpu::Argument;
