//! What do lanes do together, once all members have come?

use super::block::Block;
use super::lanes::{lanes, mask};
use super::warp::Warp;
use super::{LaneFault, Step};
use crate::error::Fault;
use crate::instruction::{Op, Shuffle, ShuffleKind, Source, VoteKind};

impl Warp {
    /// Lanes come to an instruction of several lanes, and wait until all members are there.
    pub(super) fn meet(&mut self, block: &mut Block<'_>, op: &Op, active: u32) -> Step<()> {
        let members = match op {
            Op::WarpBarrier { mask }
            | Op::Vote { mask, .. }
            | Op::Match { mask, .. }
            | Op::Reduce { mask, .. } => *mask,
            Op::Shuffle(shuffle) => shuffle.mask,
            _ => Source::Value(u64::from(u32::MAX)),
        };
        let members = self.values(members);
        for lane in lanes(active) {
            let mask = members[lane] as u32;
            if mask >> lane & 1 == 0 {
                let fault = Fault::OutsideMask {
                    lane: lane as u32,
                    mask,
                };
                return Err(LaneFault { lane, fault });
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
                let op = &grid.module.code[counter as usize].op;
                self.act(block, op, there)?;
                self.waiting &= !there;
                self.move_to(there, counter + 1);
                went_on = true;
            }
        }
        Ok(went_on)
    }

    fn act(&mut self, block: &mut Block<'_>, op: &Op, there: u32) -> Step<()> {
        match op {
            Op::WarpBarrier { .. } => self.epoch += u32::from(there == self.alive),
            Op::Shuffle(shuffle) => self.shuffle(shuffle, there)?,
            &Op::Vote {
                kind,
                to,
                predicate,
                ..
            } => {
                let predicate = self.values(predicate);
                let yes = there & mask(|lane| predicate[lane] & 1 == 1);
                let result = match kind {
                    VoteKind::All => u32::from(yes == there),
                    VoteKind::Any => u32::from(yes != 0),
                    VoteKind::Uniform => u32::from(yes == there || yes == 0),
                    VoteKind::Ballot => yes,
                };
                self.set(to, there, |_| u64::from(result));
            }
            &Op::Reduce {
                function, to, from, ..
            } => {
                let from = self.values(from);
                let all = lanes(there).map(|lane| from[lane]).reduce(function);
                self.set(to, there, |_| all.unwrap_or_default());
            }
            Op::Match { .. } => self.matching(op, there),
            Op::LoadMatrix { .. } => block.load_matrix(self, op, there)?,
            Op::MultiplyMatrix(product) => self.multiply(product, there)?,
            _ => {}
        }
        Ok(())
    }

    fn matching(&mut self, op: &Op, there: u32) {
        let &Op::Match {
            all,
            bytes,
            to,
            predicate,
            from,
            ..
        } = op
        else {
            return;
        };
        let bits = u64::MAX >> (64 - 8 * bytes);
        let from = self.values(from).map(|value| value & bits);
        let same = |lane: usize| there & mask(|other| from[other] == from[lane]);
        match all {
            true => {
                let equal = same(there.trailing_zeros() as usize) == there;
                self.set(to, there, |_| u64::from(if equal { there } else { 0 }));
                if let Some(predicate) = predicate {
                    self.set(predicate, there, |_| u64::from(equal));
                }
            }
            false => self.set(to, there, |lane| u64::from(same(lane))),
        }
    }

    fn shuffle(&mut self, shuffle: &Shuffle, there: u32) -> Step<()> {
        let [from, by, clamp] =
            [shuffle.from, shuffle.lane, shuffle.clamp].map(|source| self.values(source));
        let (mut values, mut inside) = ([0; 32], [0; 32]);
        for lane in lanes(there) {
            let (source, in_range) =
                shuffle_source(shuffle.kind, lane as u32, by[lane], clamp[lane]);
            if there >> source & 1 == 0 {
                let fault = Fault::SilentLane {
                    lane: source,
                    mask: there,
                };
                return Err(LaneFault { lane, fault });
            }
            values[lane] = from[source as usize] & 0xffff_ffff;
            inside[lane] = u64::from(in_range);
        }
        self.set(shuffle.to, there, |lane| values[lane]);
        if let Some(predicate) = shuffle.predicate {
            self.set(predicate, there, |lane| inside[lane]);
        }
        Ok(())
    }
}

/// The lane a shuffle reads, and whether it is the one asked for rather than the lane itself.
///
/// # Source
/// PTX ISA, `shfl.sync`.
fn shuffle_source(kind: ShuffleKind, lane: u32, by: u64, clamp: u64) -> (u32, bool) {
    let (by, segment) = (by as u32 & 31, (clamp >> 8) as u32 & 31);
    let clamp = clamp as u32 & 31;
    let first = lane & segment;
    let last = first | clamp & !segment;
    let (source, inside) = match kind {
        ShuffleKind::Up => (
            lane.wrapping_sub(by),
            lane as i32 - by as i32 >= last as i32,
        ),
        ShuffleKind::Down => (lane + by, lane + by <= last),
        ShuffleKind::Butterfly => (lane ^ by, lane ^ by <= last),
        ShuffleKind::Index => {
            let source = first | by & !segment;
            (source, source <= last)
        }
    };
    match inside {
        true => (source, true),
        false => (lane, false),
    }
}
