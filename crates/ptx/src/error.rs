//! The errors of parsing and launching, and the faults of a kernel's threads.

use crate::types::Space;

/// [`std::result::Result`] with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a module was refused or a launch ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not PTX.
    #[error("PTX line {line}: expected {expected}, found `{found}`")]
    Syntax {
        /// Counted from 1.
        line: u32,
        /// What is allowed here.
        expected: String,
        /// The word or sign that was found.
        found: String,
    },
    /// An instruction or directive that this interpreter does not support.
    #[error("PTX line {line}: `{instruction}`: {reason}")]
    Unsupported {
        /// Counted from 1.
        line: u32,
        /// The line's text.
        instruction: String,
        /// What is not supported.
        reason: String,
    },
    /// The module has no kernel of that name.
    #[error("the module has no kernel `{name}`; it has {known}")]
    UnknownKernel {
        /// The name given.
        name: String,
        /// The kernels of the module.
        known: String,
    },
    /// The arguments do not have the types of the kernel's parameters.
    #[error("kernel `{kernel}`: {reason}")]
    Arguments {
        /// The kernel.
        kernel: String,
        /// The argument, what was expected and what was found.
        reason: String,
    },
    /// A grid or block that exceeds the limits of a GPU.
    #[error("kernel `{kernel}`: {blocks} blocks of {threads} threads: {reason}")]
    Shape {
        /// The kernel.
        kernel: String,
        /// Number of blocks of the grid.
        blocks: u32,
        /// Number of threads of a block.
        threads: u32,
        /// The limit.
        reason: &'static str,
    },
    /// The host accessed memory outside an allocation, or freed an address that is not allocated.
    #[error("the host: {bytes} bytes at {address:#x} are not within one allocation")]
    HostAddress {
        /// The first byte.
        address: u64,
        /// Number of bytes.
        bytes: usize,
    },
    /// The host read bytes that were never written.
    #[error(
        "the host reads {address:#x}, byte {offset} of its read, which was never written: \
         let the kernel write it, or write it before the launch"
    )]
    HostUnwritten {
        /// The first such byte.
        address: u64,
        /// Its offset in the buffer that was read.
        offset: usize,
    },
    /// A thread of the kernel is at fault.
    #[error("{location}: {fault}")]
    Fault {
        /// The thread and its instruction.
        location: Box<FaultLocation>,
        /// What the thread did.
        fault: Fault,
    },
}

/// The thread and the instruction of a fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kernel `{kernel}`, block {block}, thread {thread}, PTX line {line} `{instruction}`")]
pub struct FaultLocation {
    /// Name of the kernel.
    pub kernel: String,
    /// Line of the PTX, counted from 1.
    pub line: u32,
    /// Text of that line.
    pub instruction: String,
    /// Index of the block.
    pub block: u32,
    /// Index of the thread in the block.
    pub thread: u32,
}

/// An error of a thread: undefined behaviour, or a kernel that does not end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// An access outside of any allocation, or outside of the block's shared memory.
    #[error("out of bounds: {bytes} bytes of {space} memory at {address:#x}")]
    OutOfBounds {
        /// Kind of memory.
        space: Space,
        /// First byte.
        address: u64,
        /// Width of the access.
        bytes: usize,
    },
    /// An access whose address is not a multiple of its width.
    #[error("misaligned: {bytes} bytes of {space} memory at {address:#x}")]
    Misaligned {
        /// Kind of memory.
        space: Space,
        /// First byte.
        address: u64,
        /// Width of the access, which is the required alignment.
        bytes: usize,
    },
    /// A read of bytes that were never written.
    #[error("uninitialised: reads {space} memory at {address:#x}, which was never written")]
    Unwritten {
        /// Kind of memory.
        space: Space,
        /// The byte.
        address: u64,
    },
    /// Two threads access one byte without a barrier between them, and at least one writes.
    #[error(
        "race: {access} shared memory at {address:#x}, which {other} {other_access} since \
         the last barrier between them"
    )]
    SharedRace {
        /// `reads` or `writes`: the access of this thread.
        access: &'static str,
        /// The byte.
        address: u64,
        /// The other thread or threads.
        other: String,
        /// `read` or `wrote`: their access.
        other_access: &'static str,
    },
    /// An access to bytes that an asynchronous copy may still write.
    #[error(
        "copy in flight: touches shared memory at {address:#x}, which a cp.async of thread \
         {copier} writes: that thread has not waited for it"
    )]
    InFlight {
        /// The byte.
        address: u64,
        /// The thread that issued the copy.
        copier: u32,
    },
    /// Two blocks of a launch access one byte, and at least one writes.
    #[error(
        "race between blocks: {access} global memory at {address:#x}, which {other} of the same launch {other_access}"
    )]
    BlockRace {
        /// `reads` or `writes`: the access of this block.
        access: &'static str,
        /// The byte.
        address: u64,
        /// The other block or blocks.
        other: String,
        /// `read` or `wrote`: their access.
        other_access: &'static str,
    },
    /// All threads of the block that have not ended are waiting.
    #[error("deadlock: {waiting}")]
    Deadlock {
        /// The waiting lanes and their lines.
        waiting: String,
    },
    /// Lanes of one warp wait at different `bar.sync` instructions.
    #[error(
        "divergent barrier: another lane of the warp waits at the barrier of line {other_line}"
    )]
    DivergentBarrier {
        /// Line of the other barrier.
        other_line: u32,
    },
    /// A lane executes an instruction whose member mask does not contain it.
    #[error("lane {lane} executes with member mask {mask:#010x}, which does not contain it")]
    OutsideMask {
        /// The lane.
        lane: u32,
        /// The mask.
        mask: u32,
    },
    /// A shuffle reads a lane that does not execute it.
    #[error(
        "undefined shuffle: reads lane {lane}, which does not execute it (member mask {mask:#010x})"
    )]
    InactiveLane {
        /// The lane read.
        lane: u32,
        /// The lanes that execute the shuffle.
        mask: u32,
    },
    /// A matrix instruction that not all 32 lanes execute.
    #[error("a matrix instruction needs all 32 lanes, but only these execute it: {mask:#010x}")]
    PartialWarp {
        /// The lanes that execute it.
        mask: u32,
    },
    /// The instruction `trap`.
    #[error("the kernel trapped")]
    Trap,
    /// A warp executed so many instructions that it is taken to run forever.
    #[error("the warp executed {limit} instructions without an end")]
    Endless {
        /// The limit.
        limit: u64,
    },
}
