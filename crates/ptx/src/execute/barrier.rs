//! When does a barrier of the block open?

use super::block::Block;
use super::lanes::lanes;
use super::warp::Warp;
use super::{LaneFault, Step};
use crate::error::Fault;
use crate::instruction::{BarrierKind, BarrierVote, Op};

/// Who came to a barrier so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Barrier {
    arrived: u32,
    /// Threads that it waits for; `None`: all that have not ended.
    expected: Option<u32>,
    /// Predicates that hold.
    yes: u32,
    votes: u32,
}

impl Warp {
    /// Lanes come to a barrier.
    pub(super) fn stop(&mut self, block: &mut Block<'_>, op: &Op, active: u32) -> Step<()> {
        let &Op::Barrier {
            id,
            count,
            kind,
            aligned,
        } = op
        else {
            return Ok(());
        };
        let ids = self.values(id);
        let counts = count.map(|count| self.values(count));
        if aligned {
            self.check_same_barrier(block, active)?;
        }
        for lane in lanes(active) {
            let id = (ids[lane] & 15) as usize;
            let barrier = &mut block.barriers[id];
            barrier.arrived += 1;
            barrier.expected = counts.map(|counts| counts[lane] as u32);
            if let BarrierKind::Reduce { predicate, .. } = kind {
                barrier.yes += (self.values(predicate)[lane] & 1) as u32;
                barrier.votes += 1;
            }
            self.barriers[lane] = id as u8;
        }
        match kind {
            BarrierKind::Arrive => {
                let next = self.counters[active.trailing_zeros() as usize] + 1;
                self.move_to(active, next);
            }
            _ => self.stopped |= active,
        }
        Ok(())
    }

    /// `bar.sync` is for all lanes of a warp: they must not wait at different ones.
    fn check_same_barrier(&self, block: &Block<'_>, active: u32) -> Step<()> {
        let lane = active.trailing_zeros() as usize;
        let other = lanes(self.stopped).find(|&other| self.counters[other] != self.counters[lane]);
        match other {
            None => Ok(()),
            Some(other) => {
                let other_line = block.grid.module.code[self.counters[other] as usize].line;
                let fault = Fault::DivergentBarrier { other_line };
                Err(LaneFault { lane, fault })
            }
        }
    }

    /// Lanes go on behind the barrier they waited at.
    fn go_on(&mut self, block: &Block<'_>, id: usize, barrier: Barrier) {
        let code = &block.grid.module.code;
        for lane in lanes(self.stopped) {
            if usize::from(self.barriers[lane]) != id {
                continue;
            }
            let op = &code[self.counters[lane] as usize].op;
            if let Op::Barrier {
                kind: BarrierKind::Reduce { vote, to, .. },
                ..
            } = op
            {
                self.registers[*to as usize][lane] = match vote {
                    BarrierVote::Count => u64::from(barrier.yes),
                    BarrierVote::And => u64::from(barrier.yes == barrier.votes),
                    BarrierVote::Or => u64::from(barrier.yes > 0),
                };
            }
            self.stopped &= !(1 << lane);
            self.counters[lane] += 1;
        }
    }
}

impl Block<'_> {
    /// Opens the barriers to which everyone came; whether there was one.
    pub(super) fn open_barriers(&mut self, warps: &mut [Warp]) -> bool {
        let alive: u32 = warps.iter().map(|warp| warp.alive.count_ones()).sum();
        let mut opened = false;
        for id in 0..self.barriers.len() {
            let barrier = self.barriers[id];
            let expected = barrier.expected.unwrap_or(alive);
            if barrier.arrived == 0 || barrier.arrived < expected {
                continue;
            }
            for warp in &mut *warps {
                warp.go_on(self, id, barrier);
            }
            self.barriers[id] = Barrier::default();
            self.epoch += 1;
            opened = true;
        }
        opened
    }
}
