//! The state that the threads of a block share: shared memory, pending copies and the barrier.

use super::copy::Copies;
use super::lanes::lanes;
use super::warp::Warp;
use super::{Grid, Step};
use crate::error::Fault;
use crate::memory::{BlockAccess, Memory};
use crate::shared::{SharedMemory, ThreadAccess};

/// One block of the grid while it runs.
#[derive(Debug)]
pub(crate) struct Block<'g> {
    pub(crate) grid: &'g Grid<'g>,
    pub(crate) memory: &'g mut Memory,
    pub(crate) index: u32,
    pub(crate) shared: SharedMemory,
    /// The pending copies of each thread.
    pub(crate) copies: Vec<Copies>,
    /// Number of barriers of the block so far, plus one.
    epoch: u32,
}

impl<'g> Block<'g> {
    pub(crate) fn new(grid: &'g Grid<'g>, memory: &'g mut Memory) -> Self {
        let end = grid.kernel.dynamic_start + grid.launch.shared_bytes as usize;
        Self {
            grid,
            memory,
            index: 0,
            shared: SharedMemory::new(end),
            copies: vec![Copies::default(); grid.launch.threads as usize],
            epoch: 1,
        }
    }

    /// Resets the state for the block with this index.
    pub(crate) fn begin(&mut self, index: u32) {
        self.index = index;
        self.shared.clear();
        self.copies.fill(Copies::default());
        self.epoch = 1;
    }

    /// Describes an access of this block to global memory, for the search for races.
    pub(crate) fn access(&self, strong: bool) -> BlockAccess {
        BlockAccess {
            block: self.index,
            strong,
        }
    }

    /// Describes an access of a thread to shared memory, with the numbers of barriers so far.
    pub(crate) fn thread_access(&self, warp: &Warp, lane: usize, strong: bool) -> ThreadAccess {
        ThreadAccess {
            thread: warp.thread(lane),
            block_epoch: self.epoch,
            warp_epoch: warp.epoch,
            strong,
        }
    }

    /// Releases the threads that wait at the barrier, if all threads that have not ended wait there;
    /// returns whether it released any.
    pub(super) fn release_barrier(&mut self, warps: &mut [Warp]) -> bool {
        let all_wait = warps.iter().all(|warp| warp.at_barrier == warp.alive);
        if !all_wait || warps.iter().all(Warp::is_done) {
            return false;
        }
        for warp in warps {
            for lane in lanes(warp.at_barrier) {
                warp.counters[lane] += 1;
            }
            warp.at_barrier = 0;
        }
        self.epoch += 1;
        true
    }
}

impl Warp {
    /// Makes lanes wait at the barrier of the block. All lanes of a warp must wait at the same
    /// instruction.
    pub(super) fn wait_at_barrier(&mut self, block: &Block<'_>, active: u32) -> Step<()> {
        let lane = active.trailing_zeros() as usize;
        let elsewhere = |&other: &usize| self.counters[other] != self.counters[lane];
        if let Some(other) = lanes(self.at_barrier).find(elsewhere) {
            let other_line = block.grid.module.code[self.counters[other] as usize].line;
            return Err(Fault::DivergentBarrier { other_line }.in_lane(lane));
        }
        self.at_barrier |= active;
        Ok(())
    }
}
