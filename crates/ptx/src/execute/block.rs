//! What the threads of a block share: memory, copies under way, and a barrier.

use super::copy::Copies;
use super::lanes::lanes;
use super::warp::Warp;
use super::{Grid, Step};
use crate::error::Fault;
use crate::memory::{BlockAccess, Memory};
use crate::shared::{Shared, ThreadAccess};

/// One block of the grid while it runs.
#[derive(Debug)]
pub(crate) struct Block<'g> {
    pub(crate) grid: &'g Grid<'g>,
    pub(crate) memory: &'g mut Memory,
    pub(crate) index: u32,
    pub(crate) shared: Shared,
    /// Of each thread.
    pub(crate) copies: Vec<Copies>,
    /// Barriers of the block so far, and one.
    epoch: u32,
}

impl<'g> Block<'g> {
    pub(crate) fn new(grid: &'g Grid<'g>, memory: &'g mut Memory) -> Self {
        let end = grid.kernel.dynamic_start + grid.launch.shared_bytes as usize;
        Self {
            grid,
            memory,
            index: 0,
            shared: Shared::new(end),
            copies: vec![Copies::default(); grid.launch.threads as usize],
            epoch: 1,
        }
    }

    /// Makes everything as for a new block.
    pub(crate) fn begin(&mut self, index: u32) {
        self.index = index;
        self.shared.clear();
        self.copies.fill(Copies::default());
        self.epoch = 1;
    }

    /// The block as it touches global memory.
    pub(crate) fn access(&self, strong: bool) -> BlockAccess {
        BlockAccess {
            block: self.index,
            strong,
        }
    }

    /// A thread as it touches shared memory now.
    pub(crate) fn thread_access(&self, warp: &Warp, lane: usize, strong: bool) -> ThreadAccess {
        ThreadAccess {
            thread: warp.thread(lane),
            block_epoch: self.epoch,
            warp_epoch: warp.epoch,
            strong,
        }
    }

    /// Lets the threads go on that stopped at the barrier, if all that have not ended did; whether
    /// there were some.
    pub(super) fn open_barrier(&mut self, warps: &mut [Warp]) -> bool {
        let all_stopped = warps.iter().all(|warp| warp.stopped == warp.alive);
        if !all_stopped || warps.iter().all(Warp::is_done) {
            return false;
        }
        for warp in warps {
            for lane in lanes(warp.stopped) {
                warp.counters[lane] += 1;
            }
            warp.stopped = 0;
        }
        self.epoch += 1;
        true
    }
}

impl Warp {
    /// Lanes come to the barrier of the block, which is for all lanes of a warp: they must not
    /// wait at different places of the code.
    pub(super) fn stop(&mut self, block: &Block<'_>, active: u32) -> Step<()> {
        let lane = active.trailing_zeros() as usize;
        let elsewhere = |&other: &usize| self.counters[other] != self.counters[lane];
        if let Some(other) = lanes(self.stopped).find(elsewhere) {
            let other_line = block.grid.module.code[self.counters[other] as usize].line;
            return Err(Fault::DivergentBarrier { other_line }.of(lane));
        }
        self.stopped |= active;
        Ok(())
    }
}
