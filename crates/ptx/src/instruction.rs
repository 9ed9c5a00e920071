//! A parsed instruction.

use crate::types::Space;

/// A function of 64-bit register contents; it reads only the bits of its type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Function {
    One(fn(u64) -> u64),
    Two(fn(u64, u64) -> u64),
    Three(fn(u64, u64, u64) -> u64),
    Four(fn(u64, u64, u64, u64) -> u64),
}

/// Index of a register in the register file of a warp.
pub(crate) type Register = u32;

/// The special registers, which a launch sets. They have the first indices; those of the kernel's
/// parameters follow.
pub(crate) const SPECIAL: [&str; 4] = ["%tid.x", "%ntid.x", "%ctaid.x", "%nctaid.x"];

/// Register of `%tid.x`, the index of the thread in its block.
pub(crate) const THREAD: usize = 0;
/// Register of `%ntid.x`, the number of threads of a block.
pub(crate) const THREADS: usize = 1;
/// Register of `%ctaid.x`, the index of the block.
pub(crate) const BLOCK: usize = 2;
/// Register of `%nctaid.x`, the number of blocks.
pub(crate) const BLOCKS: usize = 3;
/// Register of the address of the dynamic shared memory.
pub(crate) const DYNAMIC_SHARED: usize = 4;
/// Register of the kernel's first parameter.
pub(crate) const PARAMETERS: usize = 5;

/// An operand that is read: a register or a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Register(Register),
    Value(u64),
}

/// The guard of an instruction, `@%p` or `@!%p`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guard {
    pub(crate) register: Register,
    /// The value of the register, 1 or 0, with which the instruction is executed.
    pub(crate) wanted: u64,
}

/// One instruction with its guard and line.
#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    pub(crate) guard: Option<Guard>,
    pub(crate) line: u32,
    pub(crate) op: Op,
}

/// An address in memory, `[base + offset]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) base: Source,
    pub(crate) offset: u64,
}

/// The memory that a load, store or atomic accesses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) space: Space,
    pub(crate) bytes: usize,
    pub(crate) address: Address,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    One {
        function: fn(u64) -> u64,
        to: Register,
        from: Source,
    },
    Two {
        function: fn(u64, u64) -> u64,
        to: Register,
        from: [Source; 2],
    },
    Three {
        function: fn(u64, u64, u64) -> u64,
        to: Register,
        from: [Source; 3],
    },
    Four {
        function: fn(u64, u64, u64, u64) -> u64,
        to: Register,
        from: [Source; 4],
    },
    Load {
        access: Access,
        to: Register,
    },
    Store {
        access: Access,
        from: Source,
    },
    Atomic {
        access: Access,
        /// Computes the new contents from the old contents and the operand.
        function: fn(u64, u64) -> u64,
        to: Register,
        from: Source,
    },
    /// Begins an asynchronous copy of 16 bytes from global to shared memory.
    CopyAsync {
        to: Address,
        from: Address,
    },
    CopyCommit,
    /// Waits until at most this many groups of the thread are pending.
    CopyWait(usize),
    Branch(u32),
    Exit,
    Trap,
    /// `bar.sync 0`: waits for all threads of the block.
    Barrier,
    /// A collective instruction: runs once all lanes of the mask `members` have reached it.
    Collective {
        members: Source,
        action: Action,
    },
}

/// What a collective instruction does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// A barrier of the warp, `bar.warp.sync`.
    Barrier,
    Shuffle(Shuffle),
    Reduce {
        function: fn(u64, u64) -> u64,
        to: Register,
        from: Source,
    },
    LoadMatrix {
        address: Address,
        to: Vec<Register>,
    },
    Multiply(Box<Product>),
}

/// `shfl.sync.bfly`: every lane reads from the lane whose index is its own with the bits of `lane`
/// flipped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shuffle {
    pub(crate) to: Register,
    pub(crate) predicate: Option<Register>,
    pub(crate) from: Source,
    pub(crate) lane: Source,
    pub(crate) clamp: Source,
}

/// The type of the elements of a matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    Bf16,
}

/// A matrix product, `mma.sync.aligned.m16n8k16.row.col.f32.….f32`.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    pub(crate) element: Element,
    pub(crate) to: [Register; 4],
    pub(crate) left: [Source; 4],
    pub(crate) right: [Source; 2],
    pub(crate) plus: [Source; 4],
}
