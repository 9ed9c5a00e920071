//! What do loads, stores and atomics touch, in which kind of memory?

use super::block::Block;
use super::lanes::lanes;
use super::warp::Warp;
use super::{LaneFault, Step};
use crate::arithmetic::convert;
use crate::error::Fault;
use crate::instruction::{Access, Op, ParameterCopy, Register, Source};
use crate::memory::BlockAccess;
use crate::types::{Space, Type};

/// The address in a space: all but global ones have 32 bits.
pub(crate) fn within(space: Space, address: u64) -> u64 {
    match space {
        Space::Global | Space::Generic => address,
        _ => address & 0xffff_ffff,
    }
}

pub(crate) fn check_alignment(space: Space, address: u64, bytes: usize) -> Result<(), Fault> {
    match address.is_multiple_of(bytes as u64) {
        true => Ok(()),
        false => Err(Fault::Misaligned {
            space,
            address,
            bytes,
        }),
    }
}

/// Where bytes lie in a storage without marks.
fn range(
    space: Space,
    address: u64,
    bytes: usize,
    size: usize,
) -> Result<std::ops::Range<usize>, Fault> {
    let end = address as usize + bytes;
    match end <= size {
        true => Ok(address as usize..end),
        false => Err(Fault::OutOfBounds {
            space,
            address,
            bytes,
        }),
    }
}

fn number(bytes: &[u8]) -> u64 {
    let mut all = [0; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(all)
}

fn extended(value: u64, access: &Access) -> u64 {
    let kind = match (access.signed, access.bytes) {
        (true, 1) => Type::S8,
        (true, 2) => Type::S16,
        (true, 4) => Type::S32,
        _ => return value,
    };
    convert::extension(kind).map_or(value, |extension| extension(value))
}

/// The space of an access, and its address there.
fn located(access: &Access, base: u64) -> (Space, u64) {
    let address = base.wrapping_add(access.address.offset);
    match access.space {
        Space::Generic => Space::of(address),
        space => (space, within(space, address)),
    }
}

impl Block<'_> {
    pub(super) fn load(
        &mut self,
        warp: &mut Warp,
        active: u32,
        access: &Access,
        to: &[Register],
    ) -> Step<()> {
        let base = warp.values(access.address.base);
        let mut bytes = [0; 16];
        let bytes = &mut bytes[..access.bytes * to.len()];
        for lane in lanes(active) {
            let place = located(access, base[lane]);
            self.read(warp, (lane, access.strong), place, bytes)
                .map_err(|fault| LaneFault { lane, fault })?;
            for (register, part) in to.iter().zip(bytes.chunks(access.bytes)) {
                warp.registers[*register as usize][lane] = extended(number(part), access);
            }
        }
        Ok(())
    }

    pub(super) fn store(
        &mut self,
        warp: &Warp,
        active: u32,
        access: &Access,
        from: &[Source],
    ) -> Step<()> {
        let base = warp.values(access.address.base);
        let mut values = [[0; 32]; 4];
        for (values, source) in values.iter_mut().zip(from) {
            *values = warp.values(*source);
        }
        let mut bytes = [0; 16];
        let bytes = &mut bytes[..access.bytes * from.len()];
        for lane in lanes(active) {
            for (values, part) in values.iter().zip(bytes.chunks_mut(access.bytes)) {
                part.copy_from_slice(&values[lane].to_le_bytes()[..access.bytes]);
            }
            let place = located(access, base[lane]);
            self.write(warp, (lane, access.strong), place, bytes)
                .map_err(|fault| LaneFault { lane, fault })?;
        }
        Ok(())
    }

    /// Lanes one after the other, from the lowest.
    pub(super) fn atomic(&mut self, warp: &mut Warp, active: u32, op: &Op) -> Step<()> {
        let Op::Atomic {
            access,
            function,
            to,
            from,
        } = op
        else {
            return Ok(());
        };
        let base = warp.values(access.address.base);
        let [a, b] = from.map(|source| warp.values(source));
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..access.bytes];
        for lane in lanes(active) {
            let place = located(access, base[lane]);
            let fault = |fault| LaneFault { lane, fault };
            self.read(warp, (lane, true), place, bytes).map_err(fault)?;
            let old = extended(number(bytes), access);
            let new = function(old, a[lane], b[lane]);
            bytes.copy_from_slice(&new.to_le_bytes()[..access.bytes]);
            self.write(warp, (lane, true), place, bytes)
                .map_err(fault)?;
            if let Some(to) = to {
                warp.registers[*to as usize][lane] = old;
            }
        }
        Ok(())
    }

    /// One thread reads.
    pub(super) fn read(
        &mut self,
        warp: &Warp,
        (lane, strong): (usize, bool),
        (space, address): (Space, u64),
        to: &mut [u8],
    ) -> Result<(), Fault> {
        check_alignment(space, address, to.len())?;
        let source: &[u8] = match space {
            Space::Global | Space::Generic => {
                let block = self.linear();
                return self.memory.load(BlockAccess { block, strong }, address, to);
            }
            Space::Shared => {
                let access = self.access(warp, lane, strong);
                return self.shared.load(access, address, to);
            }
            Space::Local => own(
                &mut self.local,
                warp,
                lane,
                self.grid.kernel.frame.local_bytes,
            ),
            Space::Parameter => {
                let bytes = self.grid.kernel.frame.parameter_bytes;
                own(&mut self.parameters, warp, lane, bytes)
            }
            Space::Constant => &self.grid.module.constants,
            Space::Argument => &self.grid.arguments,
        };
        let range = range(space, address, to.len(), source.len())?;
        to.copy_from_slice(&source[range]);
        Ok(())
    }

    /// One thread writes.
    fn write(
        &mut self,
        warp: &Warp,
        (lane, strong): (usize, bool),
        (space, address): (Space, u64),
        from: &[u8],
    ) -> Result<(), Fault> {
        check_alignment(space, address, from.len())?;
        let frame = self.grid.kernel.frame;
        let target = match space {
            Space::Shared => {
                let access = self.access(warp, lane, strong);
                return self.shared.store(access, address, from);
            }
            Space::Local => own(&mut self.local, warp, lane, frame.local_bytes),
            Space::Parameter => own(&mut self.parameters, warp, lane, frame.parameter_bytes),
            Space::Constant | Space::Argument => {
                return Err(Fault::ReadOnly { space, address });
            }
            Space::Global | Space::Generic => {
                let block = self.linear();
                return self
                    .memory
                    .store(BlockAccess { block, strong }, address, from);
            }
        };
        let range = range(space, address, from.len(), target.len())?;
        target[range].copy_from_slice(from);
        Ok(())
    }

    /// Arguments or results of a call, for every lane.
    pub(super) fn copy_parameters(&mut self, warp: &Warp, active: u32, copies: &[ParameterCopy]) {
        let bytes = self.grid.kernel.frame.parameter_bytes;
        for lane in lanes(active) {
            let own = own(&mut self.parameters, warp, lane, bytes);
            for copy in copies {
                own.copy_within(copy.from..copy.from + copy.bytes, copy.to);
            }
        }
    }
}

/// The part of a storage that is one thread's.
fn own<'s>(storage: &'s mut [u8], warp: &Warp, lane: usize, bytes: usize) -> &'s mut [u8] {
    let start = warp.thread(lane) as usize * bytes;
    &mut storage[start..start + bytes]
}
