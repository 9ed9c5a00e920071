//! Which asynchronous copies has a thread under way, and when do they arrive?
//!
//! As late as allowed: when the same thread waits for their group.

use std::collections::VecDeque;

use super::block::Block;
use super::lanes::lanes;
use super::storage::{check_alignment, within};
use super::warp::Warp;
use super::{LaneFault, Step};
use crate::error::Fault;
use crate::instruction::{Access, Address, Source};
use crate::memory::BlockAccess;
use crate::types::Space;

/// Copies of one thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copies {
    /// Not committed yet.
    open: Vec<Flight>,
    groups: VecDeque<Vec<Flight>>,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    to: u64,
    bytes: [u8; 16],
    length: usize,
}

impl Block<'_> {
    /// `cp.async`
    pub(super) fn copy(
        &mut self,
        warp: &Warp,
        active: u32,
        (to, from, size): (Address, &Access, Source),
    ) -> Step<()> {
        let targets = warp.values(to.base);
        let sources = warp.values(from.address.base);
        let sizes = warp.values(size);
        for lane in lanes(active) {
            let to = within(Space::Shared, targets[lane].wrapping_add(to.offset));
            let source = sources[lane].wrapping_add(from.address.offset);
            let length = from.bytes;
            let size = (sizes[lane] as u32 as usize).min(length);
            let flight = self.depart(warp, lane, (to, source, size, length));
            let flight = flight.map_err(|fault| LaneFault { lane, fault })?;
            self.copies[warp.thread(lane) as usize].open.push(flight);
        }
        Ok(())
    }

    fn depart(
        &mut self,
        warp: &Warp,
        lane: usize,
        (to, from, size, length): (u64, u64, usize, usize),
    ) -> Result<Flight, Fault> {
        check_alignment(Space::Shared, to, length)?;
        check_alignment(Space::Global, from, length)?;
        let mut bytes = [0; 16];
        let who = BlockAccess {
            block: self.linear(),
            strong: false,
        };
        if size > 0 {
            self.memory.load(who, from, &mut bytes[..size])?;
        }
        let access = self.access(warp, lane, false);
        self.shared.depart(access, to, length)?;
        Ok(Flight { to, bytes, length })
    }

    /// `cp.async.commit_group`
    pub(super) fn commit_copies(&mut self, warp: &Warp, active: u32) {
        for lane in lanes(active) {
            let copies = &mut self.copies[warp.thread(lane) as usize];
            let group = std::mem::take(&mut copies.open);
            copies.groups.push_back(group);
        }
    }

    /// `cp.async.wait_group`, `cp.async.wait_all`
    pub(super) fn wait_for_copies(
        &mut self,
        warp: &Warp,
        active: u32,
        left: Option<u64>,
    ) -> Step<()> {
        for lane in lanes(active) {
            let access = self.access(warp, lane, false);
            let copies = &mut self.copies[warp.thread(lane) as usize];
            let landing = copies
                .groups
                .len()
                .saturating_sub(left.unwrap_or(0) as usize);
            let mut landed: Vec<Flight> = copies.groups.drain(..landing).flatten().collect();
            if left.is_none() {
                landed.append(&mut copies.open);
            }
            for flight in landed {
                self.shared
                    .arrive(access, flight.to, &flight.bytes[..flight.length])
                    .map_err(|fault| LaneFault { lane, fault })?;
            }
        }
        Ok(())
    }
}
