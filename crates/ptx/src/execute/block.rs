//! What do the threads of a block share, and what storage has each for itself?

use super::Grid;
use super::barrier::Barrier;
use super::copy::Copies;
use super::warp::Warp;
use crate::instruction::Special;
use crate::memory::Memory;
use crate::shared::{Shared, ThreadAccess};

/// One block of the grid while it runs.
#[derive(Debug)]
pub(crate) struct Block<'g> {
    pub(crate) grid: &'g Grid<'g>,
    pub(crate) memory: &'g mut Memory,
    pub(crate) index: [u32; 3],
    pub(crate) shared: Shared,
    /// Local memory of all threads, one after the other.
    pub(crate) local: Vec<u8>,
    /// Parameters of calls, likewise.
    pub(crate) parameters: Vec<u8>,
    pub(crate) copies: Vec<Copies>,
    pub(crate) barriers: [Barrier; 16],
    /// Barriers of the block so far, and one.
    pub(crate) epoch: u32,
}

impl<'g> Block<'g> {
    pub(crate) fn new(grid: &'g Grid<'g>, memory: &'g mut Memory) -> Self {
        let threads = grid.launch.threads() as usize;
        let frame = grid.kernel.frame;
        let end = grid.dynamic_start() + grid.launch.shared_bytes as usize;
        Self {
            grid,
            memory,
            index: [0; 3],
            shared: Shared::new(end),
            local: vec![0xa5; threads * frame.local_bytes],
            parameters: vec![0xa5; threads * frame.parameter_bytes],
            copies: vec![Copies::default(); threads],
            barriers: [Barrier::default(); 16],
            epoch: 1,
        }
    }

    /// Makes everything as for a new block.
    pub(crate) fn begin(&mut self, index: [u32; 3]) {
        self.index = index;
        self.shared.clear();
        self.local.fill(0xa5);
        self.copies.fill(Copies::default());
        self.barriers = [Barrier::default(); 16];
        self.epoch = 1;
    }

    /// The block's linear index.
    pub(crate) fn linear(&self) -> u32 {
        let [x, y, z] = self.index;
        let [wide, high, _] = self.grid.launch.grid;
        (z * high + y) * wide + x
    }

    /// A thread as it touches shared memory now.
    pub(crate) fn access(&self, warp: &Warp, lane: usize, strong: bool) -> ThreadAccess {
        ThreadAccess {
            thread: warp.thread(lane),
            block_epoch: self.epoch,
            warp_epoch: warp.epoch,
            strong,
        }
    }

    /// What a special register holds.
    pub(crate) fn special(&self, special: Special, warp: &Warp, lane: usize) -> u64 {
        let launch = self.grid.launch;
        let frame = self.grid.kernel.frame;
        match special {
            Special::Thread(axis) => self.grid.thread(warp.thread(lane))[axis].into(),
            Special::Threads(axis) => launch.block[axis].into(),
            Special::Block(axis) => self.index[axis].into(),
            Special::Blocks(axis) => launch.grid[axis].into(),
            Special::Lane => lane as u64,
            Special::Warp => warp.index.into(),
            Special::Warps => launch.threads().div_ceil(32).into(),
            Special::LaneMask(mask) => mask(lane as u32).into(),
            Special::Variable(variable) => self.grid.globals[variable],
            Special::DynamicShared => self.grid.dynamic_start() as u64,
            Special::DynamicSharedBytes => launch.shared_bytes.into(),
            Special::SharedBytes => frame.shared_end as u64 + u64::from(launch.shared_bytes),
            Special::Clock => warp.instructions,
            Special::Zero => 0,
        }
    }
}

impl Grid<'_> {
    /// Where dynamic shared memory begins: behind the static one.
    pub(crate) fn dynamic_start(&self) -> usize {
        let frame = self.kernel.frame;
        frame.shared_end.next_multiple_of(frame.shared_align)
    }
}
