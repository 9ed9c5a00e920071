//! Runs the blocks of a grid one after the other, and the warps of a block in turn.

mod access;
mod block;
mod copy;
mod lanes;
mod matrix;
mod together;
mod warp;

use block::Block;
use warp::Warp;

use crate::error::{Error, Fault, FaultLocation, Result};
use crate::launch::Launch;
use crate::memory::Memory;
use crate::module::{Kernel, Module};

/// A kernel with its module and the options of its launch.
#[derive(Debug)]
pub(crate) struct Grid<'g> {
    pub(crate) module: &'g Module,
    pub(crate) kernel: &'g Kernel,
    pub(crate) launch: &'g Launch<'g>,
}

/// The result of a step of a warp.
pub(crate) type Step<T> = std::result::Result<T, LaneFault>;

/// A fault and the lane that is at fault.
#[derive(Debug)]
pub(crate) struct LaneFault {
    pub(crate) lane: usize,
    pub(crate) fault: Fault,
}

impl Fault {
    /// Adds the lane to this fault.
    pub(crate) fn in_lane(self, lane: usize) -> LaneFault {
        LaneFault { lane, fault: self }
    }
}

impl Grid<'_> {
    /// Runs every block, in the order of their indices.
    pub(crate) fn run(&self, memory: &mut Memory) -> Result<()> {
        let mut block = Block::new(self, memory);
        let warps = self.launch.threads.div_ceil(32);
        let mut warps: Vec<Warp> = (0..warps).map(|index| Warp::new(index, self)).collect();
        for index in 0..self.launch.blocks {
            block.begin(index);
            self.run_block(&mut block, &mut warps)?;
        }
        Ok(())
    }

    /// Runs each warp until all its lanes wait or have ended, then the next one, until all have
    /// ended.
    fn run_block(&self, block: &mut Block<'_>, warps: &mut [Warp]) -> Result<()> {
        for warp in &mut *warps {
            warp.begin(self, block.index);
        }
        loop {
            let mut progress = false;
            for warp in &mut *warps {
                progress |= warp
                    .run(block)
                    .map_err(|fault| self.error(block, warp, fault))?;
            }
            progress |= block.release_barrier(warps);
            if warps.iter().all(Warp::is_done) {
                return Ok(());
            }
            if !progress {
                return Err(self.deadlock(block, warps));
            }
        }
    }

    fn error(&self, block: &Block<'_>, warp: &Warp, LaneFault { lane, fault }: LaneFault) -> Error {
        let line = self.module.code[warp.counters[lane] as usize].line;
        let location = FaultLocation {
            kernel: self.kernel.name.clone(),
            line,
            instruction: self.text(line),
            block: block.index,
            thread: warp.thread(lane),
        };
        Error::Fault {
            location: Box::new(location),
            fault,
        }
    }

    /// The text of a line of the PTX.
    fn text(&self, line: u32) -> String {
        let lines = &self.module.lines;
        lines.get(line as usize - 1).cloned().unwrap_or_default()
    }

    fn deadlock(&self, block: &Block<'_>, warps: &[Warp]) -> Error {
        let mut waiting = Vec::new();
        let mut first = None;
        for warp in warps {
            for (counter, lanes) in warp.groups(warp.alive) {
                let line = self.module.code[counter as usize].line;
                first = first.or(Some((warp, lanes.trailing_zeros() as usize)));
                let (index, text) = (warp.index, self.text(line));
                waiting.push(format!(
                    "lanes {lanes:#010x} of warp {index} wait at line {line} `{text}`"
                ));
            }
        }
        let fault = Fault::Deadlock {
            waiting: waiting.join("; "),
        };
        let (warp, lane) = first.unwrap_or((&warps[0], 0));
        self.error(block, warp, fault.in_lane(lane))
    }
}
