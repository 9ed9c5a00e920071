//! Asynchronous copies (`cp.async`). A copy is completed as late as allowed: when the thread that
//! issued it waits for its group.

use std::collections::VecDeque;

use super::Step;
use super::access::{check_alignment, within};
use super::block::Block;
use super::lanes::lanes;
use super::warp::Warp;
use crate::error::Fault;
use crate::instruction::Address;
use crate::types::Space;

/// The pending copies of one thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copies {
    /// Copies that belong to no group yet.
    uncommitted: Vec<PendingCopy>,
    /// Committed groups, the oldest first.
    groups: VecDeque<Vec<PendingCopy>>,
}

/// A copy of 16 bytes to a shared address.
#[derive(Clone, Copy, Debug)]
struct PendingCopy {
    to: u64,
    bytes: [u8; 16],
}

impl Block<'_> {
    /// Executes `cp.async`: begins an asynchronous copy in each active lane.
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
            let pending = self
                .begin_copy(warp, lane, to, from)
                .map_err(|fault| fault.in_lane(lane))?;
            let copies = &mut self.copies[warp.thread(lane) as usize];
            copies.uncommitted.push(pending);
        }
        Ok(())
    }

    fn begin_copy(
        &mut self,
        warp: &Warp,
        lane: usize,
        to: u64,
        from: u64,
    ) -> Result<PendingCopy, Fault> {
        let mut bytes = [0; 16];
        check_alignment(Space::Shared, to, bytes.len())?;
        check_alignment(Space::Global, from, bytes.len())?;
        self.memory.load(self.access(false), from, &mut bytes)?;
        let by = self.thread_access(warp, lane, false);
        self.shared.begin_copy(by, to, bytes.len())?;
        Ok(PendingCopy { to, bytes })
    }

    /// Executes `cp.async.commit_group`: collects the copies that belong to no group yet in a new
    /// group.
    pub(super) fn commit_copies(&mut self, warp: &Warp, active: u32) {
        for lane in lanes(active) {
            let copies = &mut self.copies[warp.thread(lane) as usize];
            let group = std::mem::take(&mut copies.uncommitted);
            copies.groups.push_back(group);
        }
    }

    /// Executes `cp.async.wait_group`: completes all groups but the newest `left`.
    pub(super) fn wait_for_copies(&mut self, warp: &Warp, active: u32, left: usize) -> Step<()> {
        for lane in lanes(active) {
            let by = self.thread_access(warp, lane, false);
            let groups = &mut self.copies[warp.thread(lane) as usize].groups;
            let completed = groups.len().saturating_sub(left);
            for copy in groups.drain(..completed).flatten() {
                self.shared
                    .complete_copy(by, copy.to, &copy.bytes)
                    .map_err(|fault| fault.in_lane(lane))?;
            }
        }
        Ok(())
    }
}
