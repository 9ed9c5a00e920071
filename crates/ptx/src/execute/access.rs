//! Loads, stores and atomics on global and shared memory.

use super::Step;
use super::block::Block;
use super::lanes::lanes;
use super::warp::Warp;
use crate::error::Fault;
use crate::instruction::{Access, Op, Register, Source};
use crate::types::Space;

/// An access of one lane to memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneAccess {
    pub(super) lane: usize,
    pub(super) space: Space,
    pub(super) address: u64,
    /// Whether the access is atomic.
    pub(super) strong: bool,
}

impl LaneAccess {
    fn new(access: &Access, lane: usize, base: u64) -> Self {
        Self {
            lane,
            space: access.space,
            address: within(access.space, base.wrapping_add(access.address.offset)),
            strong: false,
        }
    }
}

/// The part of an address that counts in a kind of memory: addresses in shared memory have 32 bits.
pub(super) fn within(space: Space, address: u64) -> u64 {
    match space {
        Space::Global => address,
        Space::Shared => address & 0xffff_ffff,
    }
}

pub(super) fn check_alignment(space: Space, address: u64, bytes: usize) -> Result<(), Fault> {
    match address.is_multiple_of(bytes as u64) {
        true => Ok(()),
        false => Err(Fault::Misaligned {
            space,
            address,
            bytes,
        }),
    }
}

impl Block<'_> {
    pub(super) fn load(
        &mut self,
        warp: &mut Warp,
        active: u32,
        access: &Access,
        to: Register,
    ) -> Step<()> {
        let base = warp.values(access.address.base);
        for lane in lanes(active) {
            let touch = LaneAccess::new(access, lane, base[lane]);
            let mut bytes = [0; 8];
            self.read(warp, touch, &mut bytes[..access.bytes])
                .map_err(|fault| fault.in_lane(lane))?;
            warp.registers[to as usize][lane] = u64::from_le_bytes(bytes);
        }
        Ok(())
    }

    pub(super) fn store(
        &mut self,
        warp: &Warp,
        active: u32,
        access: &Access,
        from: Source,
    ) -> Step<()> {
        let base = warp.values(access.address.base);
        let values = warp.values(from);
        for lane in lanes(active) {
            let touch = LaneAccess::new(access, lane, base[lane]);
            self.write(warp, touch, &values[lane].to_le_bytes()[..access.bytes])
                .map_err(|fault| fault.in_lane(lane))?;
        }
        Ok(())
    }

    /// Performs the atomics of the lanes one after the other, the lowest lane first.
    pub(super) fn atomic(&mut self, warp: &mut Warp, active: u32, op: &Op) -> Step<()> {
        let &Op::Atomic {
            access,
            function,
            to,
            from,
        } = op
        else {
            return Ok(());
        };
        let base = warp.values(access.address.base);
        let values = warp.values(from);
        for lane in lanes(active) {
            let touch = LaneAccess {
                strong: true,
                ..LaneAccess::new(&access, lane, base[lane])
            };
            let mut bytes = [0; 8];
            self.read(warp, touch, &mut bytes[..access.bytes])
                .map_err(|fault| fault.in_lane(lane))?;
            let old = u64::from_le_bytes(bytes);
            let new = function(old, values[lane]).to_le_bytes();
            self.write(warp, touch, &new[..access.bytes])
                .map_err(|fault| fault.in_lane(lane))?;
            warp.registers[to as usize][lane] = old;
        }
        Ok(())
    }

    /// Reads memory for one thread, after checking the access.
    pub(super) fn read(
        &mut self,
        warp: &Warp,
        touch: LaneAccess,
        to: &mut [u8],
    ) -> Result<(), Fault> {
        let LaneAccess { lane, address, .. } = touch;
        check_alignment(touch.space, address, to.len())?;
        match touch.space {
            Space::Global => self.memory.load(self.access(touch.strong), address, to),
            Space::Shared => {
                let by = self.thread_access(warp, lane, touch.strong);
                self.shared.load(by, address, to)
            }
        }
    }

    /// Writes memory for one thread, after checking the access.
    fn write(&mut self, warp: &Warp, touch: LaneAccess, from: &[u8]) -> Result<(), Fault> {
        let LaneAccess { lane, address, .. } = touch;
        check_alignment(touch.space, address, from.len())?;
        match touch.space {
            Space::Global => self.memory.store(self.access(touch.strong), address, from),
            Space::Shared => {
                let by = self.thread_access(warp, lane, touch.strong);
                self.shared.store(by, address, from)
            }
        }
    }
}
