//! The asynchronous copies that a thread has under way, and when they arrive: as late as allowed,
//! when the same thread waits for their group.

use std::collections::VecDeque;

use super::Step;
use super::access::{check_alignment, within};
use super::block::Block;
use super::lanes::lanes;
use super::warp::Warp;
use crate::error::Fault;
use crate::instruction::Address;
use crate::types::Space;

/// Copies of one thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copies {
    /// Not committed yet.
    open: Vec<Flight>,
    groups: VecDeque<Vec<Flight>>,
}

/// 16 bytes on their way to shared memory.
#[derive(Clone, Copy, Debug)]
struct Flight {
    to: u64,
    bytes: [u8; 16],
}

impl Block<'_> {
    /// `cp.async`
    pub(super) fn copy(
        &mut self,
        warp: &Warp,
        active: u32,
        to: Address,
        from: Address,
    ) -> Step<()> {
        let targets = warp.values(to.base);
        let sources = warp.values(from.base);
        for lane in lanes(active) {
            let to = within(Space::Shared, targets[lane].wrapping_add(to.offset));
            let from = sources[lane].wrapping_add(from.offset);
            let flight = self
                .depart(warp, lane, to, from)
                .map_err(|fault| fault.of(lane))?;
            self.copies[warp.thread(lane) as usize].open.push(flight);
        }
        Ok(())
    }

    fn depart(&mut self, warp: &Warp, lane: usize, to: u64, from: u64) -> Result<Flight, Fault> {
        let mut bytes = [0; 16];
        check_alignment(Space::Shared, to, bytes.len())?;
        check_alignment(Space::Global, from, bytes.len())?;
        self.memory.load(self.access(false), from, &mut bytes)?;
        let who = self.thread_access(warp, lane, false);
        self.shared.depart(who, to, bytes.len())?;
        Ok(Flight { to, bytes })
    }

    /// `cp.async.commit_group`
    pub(super) fn commit_copies(&mut self, warp: &Warp, active: u32) {
        for lane in lanes(active) {
            let copies = &mut self.copies[warp.thread(lane) as usize];
            let group = std::mem::take(&mut copies.open);
            copies.groups.push_back(group);
        }
    }

    /// `cp.async.wait_group`
    pub(super) fn wait_for_copies(&mut self, warp: &Warp, active: u32, left: usize) -> Step<()> {
        for lane in lanes(active) {
            let who = self.thread_access(warp, lane, false);
            let groups = &mut self.copies[warp.thread(lane) as usize].groups;
            let landing = groups.len().saturating_sub(left);
            for flight in groups.drain(..landing).flatten() {
                self.shared
                    .arrive(who, flight.to, &flight.bytes)
                    .map_err(|fault| fault.of(lane))?;
            }
        }
        Ok(())
    }
}
