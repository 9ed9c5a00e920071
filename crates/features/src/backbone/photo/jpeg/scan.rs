//! One scan of a JPEG: which blocks it codes in which order, and how the codes of a block are
//! passed over.

use std::ops::RangeInclusive;

use super::bits::{Bits, Stop, Table};
use super::{COEFFICIENTS, Component, Frame, Tables};

/// A scan, and how far it has been followed.
pub(super) struct Scan<'a> {
    members: Vec<Member<'a>>,
    coding: Coding,
    /// The coefficients that are coded.
    band: RangeInclusive<usize>,
    /// The lowest bit of them that is known afterwards.
    low_bit: u8,
    /// Units in a row and in a column; a unit is a block, or some of each component.
    across: usize,
    down: usize,
    /// Rows of pixels of a unit.
    unit_height: usize,
    /// Units that were followed.
    done: usize,
    /// How many of the next blocks have no more new coefficients.
    ended_blocks: u32,
}

/// A component in a scan.
struct Member<'a> {
    component: usize,
    dc: Option<&'a Table>,
    ac: Option<&'a Table>,
    /// Blocks of a unit.
    across: usize,
    down: usize,
}

/// What of a block is coded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Sequential,
    FirstDc,
    NextDc,
    FirstAc,
    NextAc,
}

impl<'a> Scan<'a> {
    /// `None` where the header contradicts the frame.
    pub(super) fn read(header: &[u8], frame: &mut Frame, tables: &'a Tables) -> Option<Self> {
        let (&count, rest) = header.split_first()?;
        let (selectors, rest) = rest.split_at_checked(2 * usize::from(count))?;
        let &[first, last, bits] = rest.first_chunk()?;
        let band = usize::from(first)..=usize::from(last);
        let (coding, band) = match (frame.progressive, first, bits >> 4) {
            (false, ..) => (Coding::Sequential, 0..=COEFFICIENTS - 1),
            (true, 0, 0) => (Coding::FirstDc, 0..=0),
            (true, 0, _) => (Coding::NextDc, 0..=0),
            (true, _, 0) => (Coding::FirstAc, band),
            (true, ..) => (Coding::NextAc, band),
        };
        let members = members(selectors, frame, tables)?;
        let only = match members.as_slice() {
            [] => return None,
            [only] => Some(&mut frame.components[only.component]),
            _ => None,
        };
        let across = frame.width.div_ceil(8 * frame.horizontal);
        let mut scan = Self {
            coding,
            band,
            low_bit: if frame.progressive { bits & 15 } else { 0 },
            across,
            down: frame.height.div_ceil(8 * frame.vertical),
            unit_height: 8 * frame.vertical,
            done: 0,
            ended_blocks: 0,
            members,
        };
        if let Some(only) = &only {
            scan.across = (frame.width * only.horizontal).div_ceil(8 * frame.horizontal);
            scan.down = (frame.height * only.vertical).div_ceil(8 * frame.vertical);
            scan.unit_height = 8 * frame.vertical / only.vertical;
        }
        if first > 0 && frame.progressive {
            let only = only.filter(|only| only.is_begun() && first <= last)?;
            only.nonzero.resize(only.across * only.down, 0);
        }
        (*scan.band.end() < COEFFICIENTS).then_some(scan)
    }

    /// Follows every block of the scan.
    pub(super) fn follow(
        &mut self,
        frame: &mut Frame,
        restart_interval: usize,
        bits: &mut Bits<'_>,
    ) -> Result<(), Stop> {
        while self.done < self.across * self.down {
            // Never with an interval of zero.
            if self.done > 0 && self.done.is_multiple_of(restart_interval) {
                self.ended_blocks = 0;
                bits.restart()?;
            }
            self.unit(frame, bits)?;
            self.done += 1;
        }
        for member in &self.members {
            let known = &mut frame.components[member.component].known;
            known[self.band.clone()].fill(self.low_bit);
        }
        Ok(())
    }

    /// Whole rows of pixels that were followed.
    pub(super) fn rows(&self, frame: &Frame) -> usize {
        (self.done / self.across * self.unit_height).min(frame.height)
    }

    fn unit(&mut self, frame: &mut Frame, bits: &mut Bits<'_>) -> Result<(), Stop> {
        let (column, row) = (self.done % self.across, self.done / self.across);
        for member in &self.members {
            let component = &mut frame.components[member.component];
            for block in 0..member.across * member.down {
                let column = column * member.across + block % member.across;
                let row = row * member.down + block / member.across;
                let mut unused = 0;
                let nonzero = component.nonzero.get_mut(row * component.across + column);
                let nonzero = nonzero.unwrap_or(&mut unused);
                match self.coding {
                    Coding::Sequential => member.sequential(bits)?,
                    Coding::FirstDc => member.first_dc(bits)?,
                    Coding::NextDc => {
                        bits.number(1)?;
                    }
                    Coding::FirstAc if self.ended_blocks > 0 => self.ended_blocks -= 1,
                    Coding::FirstAc => {
                        self.ended_blocks = member.first_ac(bits, &self.band, nonzero)?;
                    }
                    Coding::NextAc => {
                        let ended = self.ended_blocks;
                        self.ended_blocks = member.next_ac(bits, &self.band, nonzero, ended)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn members<'a>(selectors: &[u8], frame: &Frame, tables: &'a Tables) -> Option<Vec<Member<'a>>> {
    let is_alone = selectors.len() == 2;
    let member = |selector: &[u8]| {
        let component = frame.components.iter().position(|c| c.id == selector[0])?;
        let Component {
            horizontal,
            vertical,
            ..
        } = frame.components[component];
        let (across, down) = if is_alone {
            (1, 1)
        } else {
            (horizontal, vertical)
        };
        Some(Member {
            component,
            dc: tables.dc.get(usize::from(selector[1] >> 4))?.as_ref(),
            ac: tables.ac.get(usize::from(selector[1] & 15))?.as_ref(),
            across,
            down,
        })
    };
    selectors.chunks_exact(2).map(member).collect()
}

/// Blocks of a component. An AC code is a run of zeros, in its upper half, and the bits of what
/// follows it, in its lower; without bits it is sixteen zeros, or the end of 2^run blocks and more.
impl Member<'_> {
    fn sequential(&self, bits: &mut Bits<'_>) -> Result<(), Stop> {
        self.first_dc(bits)?;
        self.first_ac(bits, &(1..=COEFFICIENTS - 1), &mut 0)?;
        Ok(())
    }

    fn first_dc(&self, bits: &mut Bits<'_>) -> Result<(), Stop> {
        let length = bits.symbol(self.dc.ok_or(Stop::Unknown)?)?;
        bits.number(length)?;
        Ok(())
    }

    /// Returns how many of the blocks behind this one are ended with it.
    fn first_ac(
        &self,
        bits: &mut Bits<'_>,
        band: &RangeInclusive<usize>,
        nonzero: &mut u64,
    ) -> Result<u32, Stop> {
        let table = self.ac.ok_or(Stop::Unknown)?;
        let mut next = *band.start();
        while next <= *band.end() {
            let symbol = bits.symbol(table)?;
            let (run, length) = (symbol >> 4, symbol & 15);
            if length == 0 && run < 15 {
                return Ok((1 << run) - 1 + bits.number(run)?);
            }
            next += usize::from(run) + 1;
            if length > 0 {
                bits.number(length)?;
                *nonzero |= 1_u64.checked_shl(next as u32 - 1).unwrap_or(0);
            }
        }
        Ok(0)
    }

    /// Every coefficient that is not zero has one more bit among the codes; the codes are of those
    /// that become so, and their runs count what is still zero. Takes and returns how many blocks
    /// are ended.
    fn next_ac(
        &self,
        bits: &mut Bits<'_>,
        band: &RangeInclusive<usize>,
        nonzero: &mut u64,
        mut ended: u32,
    ) -> Result<u32, Stop> {
        let table = self.ac.ok_or(Stop::Unknown)?;
        let mut next = *band.start();
        while ended == 0 && next <= *band.end() {
            let symbol = bits.symbol(table)?;
            let (mut run, length) = (symbol >> 4, symbol & 15);
            if length == 0 && run < 15 {
                ended = (1 << run) + bits.number(run)?;
                break;
            }
            bits.number(length)?;
            while next <= *band.end() {
                if *nonzero >> next & 1 == 1 {
                    bits.number(1)?;
                } else if run == 0 {
                    break;
                } else {
                    run -= 1;
                }
                next += 1;
            }
            if length > 0 && next <= *band.end() {
                *nonzero |= 1 << next;
            }
            next += 1;
        }
        if ended > 0 {
            let rest = (next..=*band.end()).filter(|&at| *nonzero >> at & 1 == 1);
            for _ in rest {
                bits.number(1)?;
            }
            ended -= 1;
        }
        Ok(ended)
    }
}
