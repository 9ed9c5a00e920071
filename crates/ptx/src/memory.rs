//! Device memory that records which bytes were written and which block of the launch accessed them.

use std::collections::BTreeMap;

use crate::error::{Error, Fault, Result};
use crate::types::Space;

/// Device memory: allocations with gaps between them, and a record for every byte.
#[derive(Clone, Debug)]
pub struct Memory {
    allocations: BTreeMap<u64, Allocation>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Allocation {
    data: Vec<u8>,
    marks: Vec<Mark>,
    /// Whether a block of the current launch accessed the allocation.
    touched: bool,
}

/// The record of a byte. Writer and reader are the index of a block plus one, or 0 for no block.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    written: bool,
    writer: u32,
    reader: u32,
}

/// The bit that is set in a writer or reader whose accesses to the byte were all atomic.
const STRONG: u32 = 1 << 31;
/// A writer or reader that stands for more than one block.
const MANY: u32 = STRONG - 1;

/// An access of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockAccess {
    /// Index of the block.
    pub(crate) block: u32,
    /// Whether the access is atomic.
    pub(crate) strong: bool,
}

impl BlockAccess {
    fn mark(self) -> u32 {
        (self.block + 1) | if self.strong { STRONG } else { 0 }
    }

    /// Whether the byte's earlier access was by another block, and not both are atomic.
    fn conflicts(self, mark: u32) -> bool {
        mark != 0 && mark & !STRONG != self.block + 1 && !(self.strong && mark & STRONG != 0)
    }
}

const FIRST_ADDRESS: u64 = 0x7000_0000_0000;
const ALIGNMENT: u64 = 256;
const GAP: u64 = 4096;

impl Default for Memory {
    fn default() -> Self {
        Self {
            allocations: BTreeMap::new(),
            next: FIRST_ADDRESS,
        }
    }
}

impl Memory {
    /// Allocates bytes, which count as not written; returns the address, a multiple of 256.
    pub fn allocate(&mut self, bytes: usize) -> u64 {
        let address = self.next;
        self.next = (address + bytes as u64 + GAP).next_multiple_of(ALIGNMENT);
        let allocation = Allocation {
            data: vec![0xa5; bytes],
            marks: vec![Mark::default(); bytes],
            touched: false,
        };
        self.allocations.insert(address, allocation);
        address
    }

    /// Frees an allocation; its address is never used again.
    ///
    /// # Errors
    /// [`Error::HostAddress`] unless [`Memory::allocate`] returned the address and it has not been
    /// freed.
    pub fn free(&mut self, address: u64) -> Result<()> {
        match self.allocations.remove(&address) {
            Some(_) => Ok(()),
            None => Err(Error::HostAddress { address, bytes: 0 }),
        }
    }

    /// Writes bytes for the host.
    ///
    /// # Errors
    /// [`Error::HostAddress`] when the bytes are not within one allocation.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        let Some((allocation, at)) = self.find(address, bytes.len()) else {
            let bytes = bytes.len();
            return Err(Error::HostAddress { address, bytes });
        };
        allocation.data[at..at + bytes.len()].copy_from_slice(bytes);
        for mark in &mut allocation.marks[at..at + bytes.len()] {
            mark.written = true;
        }
        Ok(())
    }

    /// Reads bytes for the host.
    ///
    /// # Errors
    /// [`Error::HostAddress`] when the bytes are not within one allocation,
    /// [`Error::HostUnwritten`] when one of them was never written.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<()> {
        let outside = Error::HostAddress {
            address,
            bytes: bytes.len(),
        };
        let Some((start, allocation)) = self.allocations.range(..=address).next_back() else {
            return Err(outside);
        };
        let at = (address - start) as usize;
        let end = at + bytes.len();
        if end > allocation.data.len() {
            return Err(outside);
        }
        let marks = &allocation.marks[at..end];
        if let Some(offset) = marks.iter().position(|mark| !mark.written) {
            return Err(Error::HostUnwritten {
                address: address + offset as u64,
                offset,
            });
        }
        bytes.copy_from_slice(&allocation.data[at..end]);
        Ok(())
    }

    fn find(&mut self, address: u64, bytes: usize) -> Option<(&mut Allocation, usize)> {
        let (start, allocation) = self.allocations.range_mut(..=address).next_back()?;
        let at = usize::try_from(address - start).ok()?;
        let inside = at.checked_add(bytes)? <= allocation.data.len();
        inside.then_some((allocation, at))
    }

    /// Clears the records of which blocks accessed each byte.
    pub(crate) fn begin_launch(&mut self) {
        for allocation in self.allocations.values_mut() {
            if std::mem::take(&mut allocation.touched) {
                for mark in &mut allocation.marks {
                    (mark.writer, mark.reader) = (0, 0);
                }
            }
        }
    }

    /// Reads bytes for a thread; `by` describes the access of its block.
    pub(crate) fn load(
        &mut self,
        by: BlockAccess,
        address: u64,
        to: &mut [u8],
    ) -> std::result::Result<(), Fault> {
        let Some((allocation, at)) = self.find(address, to.len()) else {
            return Err(outside(address, to.len()));
        };
        allocation.touched = true;
        for (offset, mark) in allocation.marks[at..at + to.len()].iter_mut().enumerate() {
            let address = address + offset as u64;
            if !mark.written {
                let space = Space::Global;
                return Err(Fault::Unwritten { space, address });
            }
            if by.conflicts(mark.writer) {
                return Err(race("reads", address, mark.writer, "wrote"));
            }
            let mine = by.mark();
            mark.reader = match mark.reader {
                0 => mine,
                other if other & !STRONG == mine & !STRONG => other & mine,
                other => MANY | other & mine & STRONG,
            };
        }
        to.copy_from_slice(&allocation.data[at..at + to.len()]);
        Ok(())
    }

    /// Writes bytes for a thread; `by` describes the access of its block.
    pub(crate) fn store(
        &mut self,
        by: BlockAccess,
        address: u64,
        from: &[u8],
    ) -> std::result::Result<(), Fault> {
        let Some((allocation, at)) = self.find(address, from.len()) else {
            return Err(outside(address, from.len()));
        };
        allocation.touched = true;
        for (offset, mark) in allocation.marks[at..at + from.len()].iter_mut().enumerate() {
            let address = address + offset as u64;
            if by.conflicts(mark.writer) {
                return Err(race("writes", address, mark.writer, "wrote"));
            }
            if by.conflicts(mark.reader) {
                return Err(race("writes", address, mark.reader, "read"));
            }
            mark.written = true;
            mark.writer = match mark.writer {
                0 => by.mark(),
                other if other & !STRONG == by.block + 1 => other & by.mark(),
                // Another block wrote without a conflict, so all these writes are atomic.
                _ => MANY | STRONG,
            };
        }
        allocation.data[at..at + from.len()].copy_from_slice(from);
        Ok(())
    }
}

fn outside(address: u64, bytes: usize) -> Fault {
    Fault::OutOfBounds {
        space: Space::Global,
        address,
        bytes,
    }
}

fn race(access: &'static str, address: u64, mark: u32, other_access: &'static str) -> Fault {
    Fault::BlockRace {
        access,
        address,
        other: match mark & !STRONG {
            MANY => "several blocks".to_owned(),
            block => format!("block {}", block - 1),
        },
        other_access,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_reads_only_allocated_and_written_bytes() {
        let mut memory = Memory::default();
        let address = memory.allocate(8);
        assert_eq!(address % 256, 0);
        memory.write(address, &[1, 2, 3, 4]).unwrap();
        let mut four = [0; 4];
        memory.read(address, &mut four).unwrap();
        assert_eq!(four, [1, 2, 3, 4]);
        let unwritten = memory.read(address + 2, &mut four);
        assert!(matches!(
            unwritten,
            Err(Error::HostUnwritten { offset: 2, .. })
        ));
        assert!(memory.write(address + 5, &four).is_err());
        memory.free(address).unwrap();
        assert!(memory.free(address).is_err());
        assert!(memory.read(address, &mut four).is_err());
    }

    #[test]
    fn blocks_may_share_bytes_by_atomic_accesses_only() {
        let access = |block, strong| BlockAccess { block, strong };
        let mut memory = Memory::default();
        let address = memory.allocate(4);
        memory.store(access(0, true), address, &[0; 4]).unwrap();
        memory.store(access(1, true), address, &[1; 4]).unwrap();
        memory.store(access(0, true), address, &[1; 4]).unwrap();
        assert!(memory.load(access(0, false), address, &mut [0; 4]).is_err());
        memory.begin_launch();
        memory.load(access(0, false), address, &mut [0; 4]).unwrap();
        memory.load(access(1, false), address, &mut [0; 4]).unwrap();
        assert!(memory.store(access(1, false), address, &[0; 1]).is_err());
    }
}
