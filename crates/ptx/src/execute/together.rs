//! Collective instructions of a warp (barriers, shuffles, reductions, matrix instructions): they run
//! once all lanes of their member mask have reached them.

use super::Step;
use super::block::Block;
use super::lanes::{lanes, mask};
use super::warp::Warp;
use crate::error::Fault;
use crate::instruction::{Action, Op, Shuffle, Source};

impl Warp {
    /// Makes lanes wait at a collective instruction, and runs it if all its members have reached it.
    pub(super) fn reach_collective(
        &mut self,
        block: &mut Block<'_>,
        members: Source,
        active: u32,
    ) -> Step<()> {
        let members = self.values(members);
        for lane in lanes(active) {
            let mask = members[lane] as u32;
            if mask >> lane & 1 == 0 {
                let fault = Fault::OutsideMask {
                    lane: lane as u32,
                    mask,
                };
                return Err(fault.in_lane(lane));
            }
            self.members[lane] = mask;
        }
        self.waiting |= active;
        self.run_complete(block, active)?;
        Ok(())
    }

    /// Runs collective instructions that have become complete because other lanes ended; returns
    /// whether it ran any.
    pub(super) fn retry_collectives(&mut self, block: &mut Block<'_>) -> Step<bool> {
        let mut ran = false;
        for (_, group) in self.groups(self.waiting) {
            ran |= self.run_complete(block, group)?;
        }
        Ok(ran)
    }

    /// Runs the collective instruction of the lanes in a group, which share a program counter, for
    /// every member mask whose lanes all wait there or have ended; returns whether it ran any.
    fn run_complete(&mut self, block: &mut Block<'_>, mut group: u32) -> Step<bool> {
        let mut ran = false;
        while group != 0 {
            let lane = group.trailing_zeros() as usize;
            let (members, counter) = (self.members[lane], self.counters[lane]);
            let waits_with_it = |other: usize| {
                self.waiting >> other & 1 == 1
                    && self.counters[other] == counter
                    && self.members[other] == members
            };
            let present = mask(waits_with_it) & members;
            group &= !present;
            if present == members & self.alive {
                let grid = block.grid;
                if let Op::Collective { action, .. } = &grid.module.code[counter as usize].op {
                    self.perform(block, action, present)?;
                }
                self.waiting &= !present;
                self.move_to(present, counter + 1);
                ran = true;
            }
        }
        Ok(ran)
    }

    fn perform(&mut self, block: &mut Block<'_>, action: &Action, present: u32) -> Step<()> {
        match action {
            Action::Barrier => self.epoch += u32::from(present == self.alive),
            Action::Shuffle(shuffle) => self.shuffle(shuffle, present)?,
            &Action::Reduce { function, to, from } => {
                let from = self.values(from);
                let all = lanes(present).map(|lane| from[lane]).reduce(function);
                self.set(to, present, |_| all.unwrap_or_default());
            }
            Action::LoadMatrix { address, to } => block.load_matrix(self, present, *address, to)?,
            Action::Multiply(product) => self.multiply(product, present)?,
        }
        Ok(())
    }

    fn shuffle(&mut self, shuffle: &Shuffle, present: u32) -> Step<()> {
        let [from, by, clamp] =
            [shuffle.from, shuffle.lane, shuffle.clamp].map(|source| self.values(source));
        let (mut values, mut inside) = ([0; 32], [0; 32]);
        for lane in lanes(present) {
            let (source, in_range) = partner(lane as u32, by[lane], clamp[lane]);
            if present >> source & 1 == 0 {
                let fault = Fault::InactiveLane {
                    lane: source,
                    mask: present,
                };
                return Err(fault.in_lane(lane));
            }
            values[lane] = from[source as usize];
            inside[lane] = u64::from(in_range);
        }
        self.set(shuffle.to, present, |lane| values[lane]);
        if let Some(predicate) = shuffle.predicate {
            self.set(predicate, present, |lane| inside[lane]);
        }
        Ok(())
    }
}

/// The lane that `lane` reads, and whether that is in range; a lane whose partner is out of range
/// reads itself.
///
/// # Source
/// PTX ISA, `shfl.sync`, mode `.bfly`.
fn partner(lane: u32, by: u64, clamp: u64) -> (u32, bool) {
    let segment = (clamp >> 8) as u32 & 31;
    let last = lane & segment | clamp as u32 & 31 & !segment;
    let partner = lane ^ by as u32 & 31;
    match partner <= last {
        true => (partner, true),
        false => (lane, false),
    }
}
