//! Does a CUDA kernel compute what it should, where there is no GPU?
//!
//! [`Module::parse`] reads the PTX that NVRTC makes of CUDA C++, [`Module::launch`] runs it on the
//! processor: warps of 32 lanes with program counters of their own, blocks one after the other.
//! Meanwhile it watches what a GPU lets pass: accesses outside of memory, crooked addresses, bytes
//! that nobody wrote, races between threads and between blocks, barriers that never open, and
//! asynchronous copies that nobody waited for. [`Interpreter`] does so for the programs of this
//! workspace, as the GPU's driver does. Each fault is an [`Error`] that names the kernel, the line
//! of PTX, the block and the thread. No crate depends on this one outside its tests.
//!
//! # Where it is stricter or simpler than a GPU
//! - What is not supported is an error of [`Module::parse`].
//! - Approximate functions (`ex2.approx`, `sin.approx`, …) are rounded from double precision.
//! - A matrix product sums in double precision and rounds to single precision once.
//! - Only `bar.warp.sync` orders memory among the lanes of a warp, not shuffles and votes: so says
//!   the programming guide. A barrier of some warps of a block counts as one of the whole block.
//! - A block that reads what another block of the launch wrote is at fault, fence or not, unless
//!   both accesses are atomic, volatile, relaxed, acquire or release.
//! - Bytes in flight by `cp.async` arrive only when the thread waits for their group.
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
//!     grid: [1, 1, 1],
//!     block: [2, 1, 1],
//!     shared_bytes: 0,
//!     arguments: vec![Argument::Address(address)],
//! };
//! module.launch("twice", &launch, &mut memory)?;
//! let mut second = [0; 4];
//! memory.read(address + 4, &mut second)?;
//! assert_eq!(f32::from_le_bytes(second), 4.0);
//! # Ok::<(), uard_ptx::Error>(())
//! ```

mod arithmetic;
mod decode;
mod error;
mod execute;
mod instruction;
mod launch;
mod machine;
mod memory;
mod module;
mod parse;
mod shared;
mod types;

pub use error::{Error, Fault, Place, Result};
pub use launch::{Argument, Launch};
pub use machine::Interpreter;
pub use memory::Memory;
pub use module::Module;
pub use types::Space;
