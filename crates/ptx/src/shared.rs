//! The shared memory of a block. It records the accesses of threads since the last barrier, to find
//! races.

use crate::error::Fault;
use crate::module::SHARED_START;
use crate::types::Space;

/// Shared memory with a record for every byte.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    data: Vec<u8>,
    marks: Vec<Mark>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    written: bool,
    /// The thread, counted from 1, whose asynchronous copy to this byte is pending; 0 for none.
    copier: u32,
    write: Touch,
    read: Touch,
}

/// The last access to a byte.
#[derive(Clone, Copy, Debug, Default)]
struct Touch {
    /// Number of barriers of the block before the access, plus one; 0 if there was no access.
    block_epoch: u32,
    warp_epoch: u32,
    thread: u16,
    warp: u16,
    strong: bool,
}

/// A thread or warp index that stands for more than one of them.
const MANY: u16 = u16::MAX;

/// An access of a thread, with the number of barriers before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadAccess {
    /// Index of the thread in the block.
    pub(crate) thread: u32,
    /// Number of barriers of the block so far, plus one.
    pub(crate) block_epoch: u32,
    /// Number of barriers of the warp so far.
    pub(crate) warp_epoch: u32,
    /// Whether the access is atomic.
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
    /// Whether `now` is by another thread, no barrier orders the two, and not both are atomic.
    fn conflicts(self, now: Self) -> bool {
        if self.block_epoch != now.block_epoch || (self.strong && now.strong) {
            return false;
        }
        self.warp != now.warp || self.warp_epoch == now.warp_epoch && self.thread != now.thread
    }

    /// Combines this read with a later read into one record.
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

type Checked<T> = Result<T, Fault>;

impl SharedMemory {
    /// Shared memory up to `end`, the address after the last byte.
    pub(crate) fn new(end: usize) -> Self {
        let bytes = end - SHARED_START;
        Self {
            data: vec![0xa5; bytes],
            marks: vec![Mark::default(); bytes],
        }
    }

    /// Resets contents and records for a new block.
    pub(crate) fn clear(&mut self) {
        self.data.fill(0xa5);
        self.marks.fill(Mark::default());
    }

    /// The index of the first byte, if all bytes are within the memory.
    fn index(&self, address: u64, bytes: usize) -> Checked<usize> {
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

    /// Checks that no copy to the byte is pending.
    fn expect_no_copy(mark: &Mark, address: u64) -> Checked<()> {
        match mark.copier {
            0 => Ok(()),
            copier => Err(Fault::InFlight {
                address,
                copier: copier - 1,
            }),
        }
    }

    pub(crate) fn load(&mut self, by: ThreadAccess, address: u64, to: &mut [u8]) -> Checked<()> {
        let at = self.index(address, to.len())?;
        let now = by.touch();
        for (offset, mark) in self.marks[at..at + to.len()].iter_mut().enumerate() {
            let address = address + offset as u64;
            Self::expect_no_copy(mark, address)?;
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

    pub(crate) fn store(&mut self, by: ThreadAccess, address: u64, from: &[u8]) -> Checked<()> {
        let at = self.index(address, from.len())?;
        self.mark_written(by, address, from.len())?;
        for mark in &mut self.marks[at..at + from.len()] {
            mark.written = true;
        }
        self.data[at..at + from.len()].copy_from_slice(from);
        Ok(())
    }

    fn mark_written(&mut self, by: ThreadAccess, address: u64, bytes: usize) -> Checked<()> {
        let at = self.index(address, bytes)?;
        let now = by.touch();
        for (offset, mark) in self.marks[at..at + bytes].iter_mut().enumerate() {
            let address = address + offset as u64;
            Self::expect_no_copy(mark, address)?;
            if mark.write.conflicts(now) {
                return Err(race("writes", address, mark.write, "wrote"));
            }
            if mark.read.conflicts(now) {
                return Err(race("writes", address, mark.read, "read"));
            }
            // Of the atomics of several threads only the last is kept, because the earlier ones were
            // atomic too and conflict with the same accesses.
            mark.write = now;
        }
        Ok(())
    }

    /// Begins an asynchronous copy of `bytes` bytes.
    pub(crate) fn begin_copy(
        &mut self,
        by: ThreadAccess,
        address: u64,
        bytes: usize,
    ) -> Checked<()> {
        self.mark_written(by, address, bytes)?;
        let at = self.index(address, bytes)?;
        for mark in &mut self.marks[at..at + bytes] {
            mark.copier = by.thread + 1;
        }
        Ok(())
    }

    /// Completes an asynchronous copy that its thread has waited for.
    pub(crate) fn complete_copy(
        &mut self,
        by: ThreadAccess,
        address: u64,
        from: &[u8],
    ) -> Checked<()> {
        let at = self.index(address, from.len())?;
        for mark in &mut self.marks[at..at + from.len()] {
            mark.copier = 0;
            mark.written = true;
            mark.write = by.touch();
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
