//! The shared memory of a block, and which threads touched it since a barrier.

use crate::error::Fault;
use crate::module::SHARED_START;
use crate::types::Space;

/// Shared memory, with marks for every byte.
#[derive(Debug)]
pub(crate) struct Shared {
    data: Vec<u8>,
    marks: Vec<Mark>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    written: bool,
    /// The thread, counted from 1, whose asynchronous copy writes here; 0 is none.
    copier: u32,
    write: Touch,
    read: Touch,
}

/// Who touched a byte last, and when.
#[derive(Clone, Copy, Debug, Default)]
struct Touch {
    /// 0: nobody.
    block_epoch: u32,
    warp_epoch: u32,
    thread: u16,
    warp: u16,
    strong: bool,
}

/// More than one thread or warp.
const MANY: u16 = u16::MAX;

/// A thread, and how many barriers it went past.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadAccess {
    /// Its index in the block.
    pub(crate) thread: u32,
    /// Barriers of the block so far, and one.
    pub(crate) block_epoch: u32,
    /// Barriers of the warp so far.
    pub(crate) warp_epoch: u32,
    pub(crate) strong: bool,
}

impl ThreadAccess {
    fn touch(self) -> Touch {
        Touch {
            block_epoch: self.block_epoch,
            warp_epoch: self.warp_epoch,
            thread: self.thread as u16,
            warp: (self.thread / 32) as u16,
            strong: self.strong,
        }
    }
}

impl Touch {
    /// Whether no barrier orders this before `now`, which is another thread.
    fn conflicts(self, now: Self) -> bool {
        if self.block_epoch != now.block_epoch || (self.strong && now.strong) {
            return false;
        }
        self.warp != now.warp || self.warp_epoch == now.warp_epoch && self.thread != now.thread
    }

    /// This reading and a later one as one.
    fn joined(self, now: Self) -> Self {
        let strong = self.strong && now.strong;
        if self.block_epoch != now.block_epoch {
            return now;
        }
        if self.warp != now.warp {
            return Self {
                warp: MANY,
                thread: MANY,
                strong,
                ..now
            };
        }
        if self.warp_epoch != now.warp_epoch {
            return now;
        }
        let thread = if self.thread == now.thread {
            now.thread
        } else {
            MANY
        };
        Self {
            thread,
            strong,
            ..now
        }
    }

    fn describe(self) -> String {
        match (self.warp, self.thread) {
            (MANY, _) => "threads of several warps".to_owned(),
            (warp, MANY) => format!("several threads of warp {warp}"),
            (_, thread) => format!("thread {thread}"),
        }
    }
}

type Watched<T> = Result<T, Fault>;

impl Shared {
    /// `end` is the address behind the last byte.
    pub(crate) fn new(end: usize) -> Self {
        let bytes = end - SHARED_START;
        Self {
            data: vec![0xa5; bytes],
            marks: vec![Mark::default(); bytes],
        }
    }

    /// As for a new block.
    pub(crate) fn clear(&mut self) {
        self.data.fill(0xa5);
        self.marks.fill(Mark::default());
    }

    fn place(&self, address: u64, bytes: usize) -> Watched<usize> {
        let at = (address as usize).wrapping_sub(SHARED_START);
        match at.checked_add(bytes) {
            Some(end) if end <= self.data.len() => Ok(at),
            _ => Err(Fault::OutOfBounds {
                space: Space::Shared,
                address,
                bytes,
            }),
        }
    }

    fn in_flight(mark: &Mark, address: u64) -> Watched<()> {
        match mark.copier {
            0 => Ok(()),
            copier => Err(Fault::InFlight {
                address,
                copier: copier - 1,
            }),
        }
    }

    pub(crate) fn load(&mut self, who: ThreadAccess, address: u64, to: &mut [u8]) -> Watched<()> {
        let at = self.place(address, to.len())?;
        let now = who.touch();
        for (offset, mark) in self.marks[at..at + to.len()].iter_mut().enumerate() {
            let address = address + offset as u64;
            Self::in_flight(mark, address)?;
            if !mark.written {
                let space = Space::Shared;
                return Err(Fault::Unwritten { space, address });
            }
            if mark.write.conflicts(now) {
                return Err(race("reads", address, mark.write, "wrote"));
            }
            mark.read = mark.read.joined(now);
        }
        to.copy_from_slice(&self.data[at..at + to.len()]);
        Ok(())
    }

    pub(crate) fn store(&mut self, who: ThreadAccess, address: u64, from: &[u8]) -> Watched<()> {
        let at = self.place(address, from.len())?;
        self.mark_written(who, address, from.len())?;
        for mark in &mut self.marks[at..at + from.len()] {
            mark.written = true;
        }
        self.data[at..at + from.len()].copy_from_slice(from);
        Ok(())
    }

    fn mark_written(&mut self, who: ThreadAccess, address: u64, bytes: usize) -> Watched<()> {
        let at = self.place(address, bytes)?;
        let now = who.touch();
        for (offset, mark) in self.marks[at..at + bytes].iter_mut().enumerate() {
            let address = address + offset as u64;
            Self::in_flight(mark, address)?;
            if mark.write.conflicts(now) {
                return Err(race("writes", address, mark.write, "wrote"));
            }
            if mark.read.conflicts(now) {
                return Err(race("writes", address, mark.read, "read"));
            }
            // Atomics of several threads count as the last one's: those before were strong too.
            mark.write = now;
        }
        Ok(())
    }

    /// An asynchronous copy to `bytes` bytes begins.
    pub(crate) fn depart(&mut self, who: ThreadAccess, address: u64, bytes: usize) -> Watched<()> {
        self.mark_written(who, address, bytes)?;
        let at = self.place(address, bytes)?;
        for mark in &mut self.marks[at..at + bytes] {
            mark.copier = who.thread + 1;
        }
        Ok(())
    }

    /// The copy has ended: the thread waited for it.
    pub(crate) fn arrive(&mut self, who: ThreadAccess, address: u64, from: &[u8]) -> Watched<()> {
        let at = self.place(address, from.len())?;
        for mark in &mut self.marks[at..at + from.len()] {
            mark.copier = 0;
            mark.written = true;
            mark.write = who.touch();
        }
        self.data[at..at + from.len()].copy_from_slice(from);
        Ok(())
    }
}

fn race(access: &'static str, address: u64, other: Touch, other_access: &'static str) -> Fault {
    Fault::SharedRace {
        access,
        address,
        other: other.describe(),
        other_access,
    }
}
