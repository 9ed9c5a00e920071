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
        /// Line of the PTX, counted from 1.
        line: u32,
        /// What the syntax allows here.
        expected: String,
        /// The word or sign that was found.
        found: String,
    },
    /// An instruction or directive that this interpreter does not support.
    #[error("PTX line {line}: `{instruction}`: {reason}")]
    Unsupported {
        /// Line of the PTX, counted from 1.
        line: u32,
        /// Text of the line.
        instruction: String,
        /// What is not supported.
        reason: String,
    },
    /// The module has no kernel of that name.
    #[error("the module has no kernel `{name}`; it has {known}")]
    UnknownKernel {
        /// The name that was given.
        name: String,
        /// Names of the module's kernels.
        known: String,
    },
    /// The arguments do not have the types of the kernel's parameters.
    #[error("kernel `{kernel}`: {reason}")]
    Arguments {
        /// Name of the kernel.
        kernel: String,
        /// The argument, what was expected and what was found.
        reason: String,
    },
    /// A grid or block that exceeds the limits of a GPU.
    #[error("kernel `{kernel}`: {blocks} blocks of {threads} threads: {reason}")]
    Shape {
        /// Name of the kernel.
        kernel: String,
        /// Number of blocks of the grid.
        blocks: u32,
        /// Number of threads of a block.
        threads: u32,
        /// The limit that is exceeded.
        reason: &'static str,
    },
    /// The host accessed memory outside an allocation, or freed an address that is not allocated.
    #[error("the host: {bytes} bytes at {address:#x} are not within one allocation")]
    HostAddress {
        /// Address of the first byte.
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
        /// Address of the first byte that was never written.
        address: u64,
        /// Offset of that byte in the buffer that was read.
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
        /// Address of the first byte.
        address: u64,
        /// Width of the access, in bytes.
        bytes: usize,
    },
    /// An access whose address is not a multiple of its width.
    #[error("misaligned: {bytes} bytes of {space} memory at {address:#x}")]
    Misaligned {
        /// Kind of memory.
        space: Space,
        /// Address of the first byte.
        address: u64,
        /// Width of the access in bytes, which is the required alignment.
        bytes: usize,
    },
    /// A read of bytes that were never written.
    #[error("uninitialised: reads {space} memory at {address:#x}, which was never written")]
    Unwritten {
        /// Kind of memory.
        space: Space,
        /// Address of the byte.
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
        /// Address of the byte.
        address: u64,
        /// The other thread or threads.
        other: String,
        /// `read` or `wrote`: the access of the other threads.
        other_access: &'static str,
    },
    /// An access to bytes that an asynchronous copy may still write.
    #[error(
        "copy in flight: touches shared memory at {address:#x}, which a cp.async of thread \
         {copier} writes: that thread has not waited for it"
    )]
    InFlight {
        /// Address of the byte.
        address: u64,
        /// Index of the thread that issued the copy.
        copier: u32,
    },
    /// Two blocks of a launch access one byte, and at least one writes.
    #[error(
        "race between blocks: {access} global memory at {address:#x}, which {other} of the same launch {other_access}"
    )]
    BlockRace {
        /// `reads` or `writes`: the access of this block.
        access: &'static str,
        /// Address of the byte.
        address: u64,
        /// The other block or blocks.
        other: String,
        /// `read` or `wrote`: the access of the other blocks.
        other_access: &'static str,
    },
    /// All threads of the block that have not ended are waiting.
    #[error("deadlock: {waiting}")]
    Deadlock {
        /// The waiting lanes, and the lines at which they wait.
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
        /// Index of the lane.
        lane: u32,
        /// The member mask of the instruction.
        mask: u32,
    },
    /// A shuffle reads a lane that does not execute it.
    #[error(
        "undefined shuffle: reads lane {lane}, which does not execute it (member mask {mask:#010x})"
    )]
    InactiveLane {
        /// Index of the lane that is read.
        lane: u32,
        /// Mask of the lanes that execute the shuffle.
        mask: u32,
    },
    /// A matrix instruction that not all 32 lanes execute.
    #[error("a matrix instruction needs all 32 lanes, but only these execute it: {mask:#010x}")]
    PartialWarp {
        /// Mask of the lanes that execute the instruction.
        mask: u32,
    },
    /// The instruction `trap`.
    #[error("the kernel trapped")]
    Trap,
    /// A warp executed so many instructions that it is taken to run forever.
    #[error("the warp executed {limit} instructions without an end")]
    Endless {
        /// The largest allowed number of instructions of a warp.
        limit: u64,
    },
}
