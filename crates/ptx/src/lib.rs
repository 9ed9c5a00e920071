//! An interpreter of PTX: shows that a CUDA kernel computes what it should, where there is no GPU.
//!
//! [`Module::parse`] reads the PTX that NVRTC makes of CUDA C++, [`Module::launch`] runs it on the
//! processor: warps of 32 lanes with program counters of their own, blocks one after the other.
//! Meanwhile it watches what a GPU lets pass: accesses outside of memory, misaligned addresses, bytes
//! that nobody wrote, races between threads and between blocks, barriers that never open, and
//! asynchronous copies that nobody waited for. [`Interpreter`] does so for the programs of this
//! workspace, as the GPU's driver does. Each fault is an [`Error`] that names the kernel, the line
//! of PTX, the block and the thread. No crate depends on this one outside its tests.
//!
//! # What it knows
//! The instructions that NVRTC makes of the kernels of this workspace, and no others: no calls, no
//! local or constant memory, no generic addresses, blocks and grids in one direction. Anything else
//! is an error of [`Module::parse`] that names the line. A kernel that needs one more instruction on
//! registers adds its line to the table in `arithmetic`, a larger one its case in
//! `parse/instruction.rs`.
//!
//! # Where it is stricter or simpler than a GPU
//! - Approximate functions (`ex2.approx`, `rcp.approx`) are rounded once.
//! - A matrix product sums in double precision and rounds to single precision once.
//! - Only `bar.warp.sync` orders memory among the lanes of a warp, not shuffles and reductions: so
//!   says the programming guide.
//! - A block that reads what another block of the launch wrote is at fault, unless both accesses are
//!   atomic.
//! - Bytes in flight by `cp.async` arrive only when the thread waits for their group.
//! - A lane or a warp that spins until another one goes on runs forever.
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
mod launch;
#[allow(
    unsafe_code,
    reason = "gives the host side of kernels the memory of the interpreter"
)]
mod machine;
mod memory;
mod module;
mod parse;
mod shared;
mod types;

pub use error::{Error, Fault, Place, Result};
pub use launch::Launch;
pub use machine::Interpreter;
pub use memory::Memory;
pub use module::Module;
pub use types::Space;
pub use uard_core::gpu::Argument;
