//! An instruction once its text is decoded.

use crate::types::Space;

/// A function of 64-bit register contents; it looks only at the bits of its type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Function {
    One(fn(u64) -> u64),
    Two(fn(u64, u64) -> u64),
    Three(fn(u64, u64, u64) -> u64),
    Four(fn(u64, u64, u64, u64) -> u64),
}

/// Number of a register in the file of a warp.
pub(crate) type Register = u32;

/// Registers that a launch sets, one after the other; those of the kernel's parameters follow.
pub(crate) const SPECIAL: [&str; 4] = ["%tid.x", "%ntid.x", "%ctaid.x", "%nctaid.x"];

/// `%tid.x`
pub(crate) const THREAD: usize = 0;
/// `%ntid.x`
pub(crate) const THREADS: usize = 1;
/// `%ctaid.x`
pub(crate) const BLOCK: usize = 2;
/// `%nctaid.x`
pub(crate) const BLOCKS: usize = 3;
/// Where dynamic shared memory begins.
pub(crate) const DYNAMIC_SHARED: usize = 4;
/// The first parameter.
pub(crate) const PARAMETERS: usize = 5;

/// Where an operand comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Register(Register),
    Value(u64),
}

/// `@%p` or `@!%p`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guard {
    pub(crate) register: Register,
    pub(crate) wanted: u64,
}

/// One step of a warp.
#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    pub(crate) guard: Option<Guard>,
    pub(crate) line: u32,
    pub(crate) op: Op,
}

/// `[base + offset]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) base: Source,
    pub(crate) offset: u64,
}

/// What a load, store or atomic touches.
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
        /// New content of old content and the operand.
        function: fn(u64, u64) -> u64,
        to: Register,
        from: Source,
    },
    /// 16 bytes from global to shared memory.
    CopyAsync {
        to: Address,
        from: Address,
    },
    CopyCommit,
    /// Waits until at most so many groups of the thread are in flight.
    CopyWait(usize),
    Branch(u32),
    Exit,
    Trap,
    /// `bar.sync 0`: waits for all threads of the block.
    Barrier,
    /// What lanes of a warp do once all members of a mask are there.
    Together {
        members: Source,
        action: Action,
    },
}

/// What lanes of a warp do together.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// `bar.warp.sync`
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

/// `shfl.sync.bfly`: every lane reads the one whose number differs from its own by the bits of
/// `lane`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shuffle {
    pub(crate) to: Register,
    pub(crate) predicate: Option<Register>,
    pub(crate) from: Source,
    pub(crate) lane: Source,
    pub(crate) clamp: Source,
}

/// What the elements of a matrix product are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    Bf16,
}

/// `mma.sync.aligned.m16n8k16.row.col.f32.….f32`.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    pub(crate) element: Element,
    pub(crate) to: [Register; 4],
    pub(crate) left: [Source; 4],
    pub(crate) right: [Source; 2],
    pub(crate) plus: [Source; 4],
}
