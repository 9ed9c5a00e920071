//! What can be wrong with a module, a launch, or what a thread of a kernel did.

use crate::types::Space;

/// [`std::result::Result`] with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a module was refused or a launch ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no PTX.
    #[error("PTX line {line}: expected {expected}, found `{found}`")]
    Syntax {
        /// Counted from 1.
        line: u32,
        /// What could stand here.
        expected: String,
        /// What stands here.
        found: String,
    },
    /// An instruction or directive that this interpreter does not know.
    #[error("PTX line {line}: `{instruction}`: {reason}")]
    Unsupported {
        /// Counted from 1.
        line: u32,
        /// The line's text.
        instruction: String,
        /// What about it.
        reason: String,
    },
    /// No kernel of that name.
    #[error("the module has no kernel `{name}`; it has {known}")]
    UnknownKernel {
        /// What was asked for.
        name: String,
        /// The kernels of the module.
        known: String,
    },
    /// The arguments are not those of the kernel.
    #[error("kernel `{kernel}`: {reason}")]
    Arguments {
        /// The kernel.
        kernel: String,
        /// Which argument, what was expected and found.
        reason: String,
    },
    /// A grid or block that no GPU takes.
    #[error("kernel `{kernel}`: {blocks} blocks of {threads} threads: {reason}")]
    Shape {
        /// The kernel.
        kernel: String,
        /// Blocks of the grid.
        blocks: u32,
        /// Threads of a block.
        threads: u32,
        /// Which limit.
        reason: &'static str,
    },
    /// The host touched memory outside of what was allocated, or freed what was not.
    #[error("the host: {bytes} bytes at {address:#x} are not within one allocation")]
    HostAddress {
        /// Where.
        address: u64,
        /// How many bytes.
        bytes: usize,
    },
    /// The host read bytes that neither it nor a kernel wrote.
    #[error(
        "the host reads {address:#x}, byte {offset} of its read, which nobody wrote: \
         let the kernel write it, or write it before the launch"
    )]
    HostUnwritten {
        /// The first such byte.
        address: u64,
        /// Its place in the buffer that was read.
        offset: usize,
    },
    /// A thread did what it must not do.
    #[error("{place}: {fault}")]
    Fault {
        /// Who, and where.
        place: Box<Place>,
        /// What.
        fault: Fault,
    },
}

/// Which thread, at which instruction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kernel `{kernel}`, block {block}, thread {thread}, PTX line {line} `{instruction}`")]
pub struct Place {
    /// The kernel launched.
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

/// What a thread did that it must not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Outside any allocation, or outside the block's shared memory.
    #[error("out of bounds: {bytes} bytes of {space} memory at {address:#x}")]
    OutOfBounds {
        /// Kind of memory.
        space: Space,
        /// First byte.
        address: u64,
        /// Width.
        bytes: usize,
    },
    /// Not a multiple of the width.
    #[error("misaligned: {bytes} bytes of {space} memory at {address:#x}")]
    Misaligned {
        /// Kind of memory.
        space: Space,
        /// First byte.
        address: u64,
        /// Width, hence alignment.
        bytes: usize,
    },
    /// Reads what nobody wrote.
    #[error("uninitialised: reads {space} memory at {address:#x}, which nobody wrote")]
    Unwritten {
        /// Kind of memory.
        space: Space,
        /// The byte.
        address: u64,
    },
    /// Two threads, one byte, no barrier between them, at least one writes.
    #[error(
        "race: {access} shared memory at {address:#x}, which {other} {other_access} since \
         the last barrier between them"
    )]
    SharedRace {
        /// What this thread does.
        access: &'static str,
        /// The byte.
        address: u64,
        /// The other thread or threads.
        other: String,
        /// What they did.
        other_access: &'static str,
    },
    /// Touches bytes that an asynchronous copy still writes.
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
    /// Two blocks of a launch, one byte, at least one writes.
    #[error(
        "race between blocks: {access} global memory at {address:#x}, which {other} of the same launch {other_access}"
    )]
    BlockRace {
        /// What this block does.
        access: &'static str,
        /// The byte.
        address: u64,
        /// The other block or blocks.
        other: String,
        /// What they did.
        other_access: &'static str,
    },
    /// Nobody can go on.
    #[error("deadlock: {waiting}")]
    Deadlock {
        /// Who waits where.
        waiting: String,
    },
    /// Lanes of one warp wait at different `bar.sync`.
    #[error(
        "divergent barrier: another lane of the warp waits at the barrier of line {other_line}"
    )]
    DivergentBarrier {
        /// Line of the other barrier.
        other_line: u32,
    },
    /// A lane is not in its own member mask.
    #[error("lane {lane} executes with member mask {mask:#010x}, which leaves it out")]
    OutsideMask {
        /// The lane.
        lane: u32,
        /// The mask.
        mask: u32,
    },
    /// A shuffle reads a lane that takes no part.
    #[error("undefined shuffle: reads lane {lane}, which takes no part (member mask {mask:#010x})")]
    SilentLane {
        /// The lane read.
        lane: u32,
        /// Who takes part.
        mask: u32,
    },
    /// A matrix instruction without all 32 lanes.
    #[error("a matrix instruction takes all 32 lanes, and these are there: {mask:#010x}")]
    PartialWarp {
        /// Lanes that are there.
        mask: u32,
    },
    /// `trap`.
    #[error("the kernel trapped")]
    Trap,
    /// The warp seems to run forever.
    #[error("the warp executed {limit} instructions without an end")]
    Endless {
        /// The limit.
        limit: u64,
    },
}
