//! What is an instruction once its text is decoded?

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

/// A load, store or atomic: which memory, how wide an element, how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) space: Space,
    /// Bytes of one element.
    pub(crate) bytes: usize,
    pub(crate) signed: bool,
    /// Strong accesses do not race with each other.
    pub(crate) strong: bool,
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
    Special {
        special: Special,
        to: Register,
    },
    Load {
        access: Access,
        to: Vec<Register>,
    },
    Store {
        access: Access,
        from: Vec<Source>,
    },
    Atomic {
        access: Access,
        /// New content of old content and two operands.
        function: fn(u64, u64, u64) -> u64,
        to: Option<Register>,
        from: [Source; 2],
    },
    CopyAsync {
        to: Address,
        from: Access,
        /// Bytes read; the others become zero.
        size: Source,
    },
    CopyCommit,
    /// Waits until at most so many groups of the thread are in flight; `None` also waits for
    /// copies that were not committed.
    CopyWait(Option<u64>),
    LoadMatrix {
        address: Address,
        transposed: bool,
        to: Vec<Register>,
    },
    MultiplyMatrix(Box<Product>),
    Branch(u32),
    BranchIndexed {
        index: Source,
        targets: Vec<u32>,
    },
    Call {
        target: u32,
        copies: Vec<ParameterCopy>,
        /// Where the function keeps its return address.
        back: Register,
    },
    /// Results of a call, copied after it.
    CopyParameters(Vec<ParameterCopy>),
    Return(Register),
    Exit,
    Trap,
    Nothing,
    Barrier {
        id: Source,
        /// Threads that it waits for; `None`: all of the block.
        count: Option<Source>,
        kind: BarrierKind,
        /// The same instruction for all lanes of a warp.
        aligned: bool,
    },
    WarpBarrier {
        mask: Source,
    },
    Shuffle(Box<Shuffle>),
    Vote {
        kind: VoteKind,
        to: Register,
        predicate: Source,
        mask: Source,
    },
    Match {
        all: bool,
        bytes: usize,
        to: Register,
        predicate: Option<Register>,
        from: Source,
        mask: Source,
    },
    Reduce {
        function: fn(u64, u64) -> u64,
        to: Register,
        from: Source,
        mask: Source,
    },
    ActiveMask {
        to: Register,
    },
}

/// What a barrier does besides waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BarrierKind {
    Wait,
    Arrive,
    Reduce {
        vote: BarrierVote,
        predicate: Source,
        to: Register,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BarrierVote {
    Count,
    And,
    Or,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VoteKind {
    All,
    Any,
    Uniform,
    Ballot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShuffleKind {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Shuffle {
    pub(crate) kind: ShuffleKind,
    pub(crate) to: Register,
    pub(crate) predicate: Option<Register>,
    pub(crate) from: Source,
    pub(crate) lane: Source,
    pub(crate) clamp: Source,
    pub(crate) mask: Source,
}

/// Bytes of parameter memory that a call moves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ParameterCopy {
    pub(crate) to: usize,
    pub(crate) from: usize,
    pub(crate) bytes: usize,
}

/// What the elements of a matrix product are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    Bf16,
    Tf32,
}

/// `mma.sync.aligned.m16n8kK.row.col.f32.….f32`.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    pub(crate) element: Element,
    pub(crate) depth: usize,
    pub(crate) to: Vec<Register>,
    pub(crate) left: Vec<Source>,
    pub(crate) right: Vec<Source>,
    pub(crate) plus: Vec<Source>,
}

/// A register that the machine sets.
/// Its functions of a lane are never compared.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Special {
    Thread(usize),
    Threads(usize),
    Block(usize),
    Blocks(usize),
    Lane,
    Warp,
    Warps,
    LaneMask(fn(u32) -> u32),
    /// The address of a variable of the module, known at launch.
    Variable(usize),
    /// Where dynamic shared memory begins.
    DynamicShared,
    DynamicSharedBytes,
    SharedBytes,
    Clock,
    Zero,
}
