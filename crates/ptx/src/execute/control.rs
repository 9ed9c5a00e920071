//! Where do lanes go that branch, call, return, end, or wait?

use super::block::Block;
use super::lanes::lanes;
use super::warp::{Next, Warp};
use super::{LaneFault, Step};
use crate::error::Fault;
use crate::instruction::{Op, Source};

impl Warp {
    /// An instruction after which lanes may part.
    pub(super) fn turn(
        &mut self,
        block: &mut Block<'_>,
        op: &Op,
        (counter, group, active): (u32, u32, u32),
    ) -> Step<Next> {
        if active == 0 {
            return Ok(Next::Following);
        }
        match op {
            Op::Branch(target) if active == group => return Ok(Next::Jump(*target)),
            Op::Exit if active == group => {
                self.alive &= !active;
                return Ok(Next::Choose);
            }
            _ => {}
        }
        self.move_to(group & !active, counter + 1);
        self.move_to(active, counter);
        match op {
            Op::Branch(target) => self.move_to(active, *target),
            Op::BranchIndexed { index, targets } => self.branch_indexed(*index, targets, active)?,
            Op::Call {
                target,
                copies,
                back,
            } => {
                block.copy_parameters(self, active, copies);
                self.set(*back, active, |_| u64::from(counter + 1));
                self.move_to(active, *target);
            }
            Op::Return(back) => {
                for lane in lanes(active) {
                    self.counters[lane] = self.registers[*back as usize][lane] as u32;
                }
            }
            Op::Exit => self.alive &= !active,
            Op::Trap => {
                let lane = active.trailing_zeros() as usize;
                let fault = Fault::Trap;
                return Err(LaneFault { lane, fault });
            }
            Op::Barrier { .. } => self.stop(block, op, active)?,
            _ => self.meet(block, op, active)?,
        }
        Ok(Next::Choose)
    }

    fn branch_indexed(&mut self, index: Source, targets: &[u32], active: u32) -> Step<()> {
        let index = self.values(index);
        for lane in lanes(active) {
            let index = index[lane] as u32;
            let Some(&target) = targets.get(index as usize) else {
                let length = targets.len();
                let fault = Fault::BranchIndex { index, length };
                return Err(LaneFault { lane, fault });
            };
            self.counters[lane] = target;
        }
        Ok(())
    }
}
