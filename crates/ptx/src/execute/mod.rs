//! How do the blocks of a grid run, and how do the warps of a block take turns?

mod barrier;
mod block;
mod control;
mod copy;
mod lanes;
mod matrix;
mod storage;
mod together;
mod warp;

use block::Block;
use warp::Warp;

use crate::error::{Error, Fault, Place, Result};
use crate::launch::Launch;
use crate::memory::Memory;
use crate::module::{Kernel, Module};

/// A launch of a kernel.
#[derive(Debug)]
pub(crate) struct Grid<'g> {
    pub(crate) module: &'g Module,
    pub(crate) kernel: &'g Kernel,
    pub(crate) launch: &'g Launch,
    pub(crate) arguments: Vec<u8>,
    /// Addresses of the module's variables.
    pub(crate) globals: Vec<u64>,
}

/// What a lane did, as `Err`.
pub(crate) type Step<T> = std::result::Result<T, LaneFault>;

/// A fault and the lane at fault.
#[derive(Debug)]
pub(crate) struct LaneFault {
    pub(crate) lane: usize,
    pub(crate) fault: Fault,
}

impl Grid<'_> {
    /// Every block, in order of index.
    pub(crate) fn run(&self, memory: &mut Memory) -> Result<()> {
        let mut block = Block::new(self, memory);
        let warps = self.launch.threads().div_ceil(32);
        let mut warps: Vec<Warp> = (0..warps).map(|index| Warp::new(index, self)).collect();
        let [wide, high, deep] = self.launch.grid;
        for z in 0..deep {
            for y in 0..high {
                for x in 0..wide {
                    block.begin([x, y, z]);
                    self.run_block(&mut block, &mut warps)?;
                }
            }
        }
        Ok(())
    }

    /// Each warp runs until it waits or ends; then the next.
    fn run_block(&self, block: &mut Block<'_>, warps: &mut [Warp]) -> Result<()> {
        for warp in &mut *warps {
            warp.begin(self);
        }
        loop {
            let mut progress = false;
            for warp in &mut *warps {
                progress |= warp
                    .run(block)
                    .map_err(|fault| self.error(block, warp, fault))?;
            }
            progress |= block.open_barriers(warps);
            if warps.iter().all(Warp::is_done) {
                return Ok(());
            }
            if !progress {
                return Err(self.deadlock(block, warps));
            }
        }
    }

    fn error(&self, block: &Block<'_>, warp: &Warp, LaneFault { lane, fault }: LaneFault) -> Error {
        let instruction = &self.module.code[warp.counters[lane] as usize];
        let place = Place {
            kernel: self.kernel.name.clone(),
            line: instruction.line,
            instruction: self.text(instruction.line),
            block: block.index,
            thread: self.thread(warp.thread(lane)),
        };
        Error::Fault {
            place: Box::new(place),
            fault,
        }
    }

    fn text(&self, line: u32) -> String {
        let lines = &self.module.lines;
        lines.get(line as usize - 1).cloned().unwrap_or_default()
    }

    /// The index of the thread of a linear index.
    pub(crate) fn thread(&self, linear: u32) -> [u32; 3] {
        let [wide, high, _] = self.launch.block;
        [linear % wide, linear / wide % high, linear / wide / high]
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
        self.error(block, warp, LaneFault { lane, fault })
    }
}
