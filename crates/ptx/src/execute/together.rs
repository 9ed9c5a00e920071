//! What lanes do together, once all members have come.

use super::Step;
use super::block::Block;
use super::lanes::{lanes, mask};
use super::warp::Warp;
use crate::error::Fault;
use crate::instruction::{Action, Op, Shuffle, Source};

impl Warp {
    /// Lanes come to an instruction of several lanes, and wait until all members are there.
    pub(super) fn meet(&mut self, block: &mut Block<'_>, members: Source, active: u32) -> Step<()> {
        let members = self.values(members);
        for lane in lanes(active) {
            let mask = members[lane] as u32;
            if mask >> lane & 1 == 0 {
                let fault = Fault::OutsideMask {
                    lane: lane as u32,
                    mask,
                };
                return Err(fault.of(lane));
            }
            self.members[lane] = mask;
        }
        self.waiting |= active;
        self.resolve(block, active)?;
        Ok(())
    }

    /// Looks again at those who wait, for lanes may have ended; whether some went on.
    pub(super) fn meet_again(&mut self, block: &mut Block<'_>) -> Step<bool> {
        let mut went_on = false;
        for (_, group) in self.groups(self.waiting) {
            went_on |= self.resolve(block, group)?;
        }
        Ok(went_on)
    }

    /// Lets those lanes of a group go on whose members are all there; they share a counter.
    fn resolve(&mut self, block: &mut Block<'_>, mut group: u32) -> Step<bool> {
        let mut went_on = false;
        while group != 0 {
            let lane = group.trailing_zeros() as usize;
            let (members, counter) = (self.members[lane], self.counters[lane]);
            let alike = |other: usize| {
                self.waiting >> other & 1 == 1
                    && self.counters[other] == counter
                    && self.members[other] == members
            };
            let there = mask(alike) & members;
            group &= !there;
            if there == members & self.alive {
                let grid = block.grid;
                if let Op::Together { action, .. } = &grid.module.code[counter as usize].op {
                    self.act(block, action, there)?;
                }
                self.waiting &= !there;
                self.move_to(there, counter + 1);
                went_on = true;
            }
        }
        Ok(went_on)
    }

    fn act(&mut self, block: &mut Block<'_>, action: &Action, there: u32) -> Step<()> {
        match action {
            Action::Barrier => self.epoch += u32::from(there == self.alive),
            Action::Shuffle(shuffle) => self.shuffle(shuffle, there)?,
            &Action::Reduce { function, to, from } => {
                let from = self.values(from);
                let all = lanes(there).map(|lane| from[lane]).reduce(function);
                self.set(to, there, |_| all.unwrap_or_default());
            }
            Action::LoadMatrix { address, to } => block.load_matrix(self, there, *address, to)?,
            Action::Multiply(product) => self.multiply(product, there)?,
        }
        Ok(())
    }

    fn shuffle(&mut self, shuffle: &Shuffle, there: u32) -> Step<()> {
        let [from, by, clamp] =
            [shuffle.from, shuffle.lane, shuffle.clamp].map(|source| self.values(source));
        let (mut values, mut inside) = ([0; 32], [0; 32]);
        for lane in lanes(there) {
            let (source, in_range) = partner(lane as u32, by[lane], clamp[lane]);
            if there >> source & 1 == 0 {
                let fault = Fault::SilentLane {
                    lane: source,
                    mask: there,
                };
                return Err(fault.of(lane));
            }
            values[lane] = from[source as usize];
            inside[lane] = u64::from(in_range);
        }
        self.set(shuffle.to, there, |lane| values[lane]);
        if let Some(predicate) = shuffle.predicate {
            self.set(predicate, there, |lane| inside[lane]);
        }
        Ok(())
    }
}

/// The lane that another one reads, and whether it is the one asked for rather than itself.
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
