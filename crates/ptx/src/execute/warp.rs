//! Which lanes of a warp run next, and what does a step do to their registers?
//!
//! Those with the lowest program counter: lanes that parted meet again where their ways do. Now and
//! then the others, for which these may wait.

use super::block::Block;
use super::lanes::{lanes, mask};
use super::{Grid, LaneFault, Step};
use crate::error::Fault;
use crate::instruction::{Guard, Op, Register, Source};

/// 32 lanes, each with a program counter.
#[derive(Debug)]
pub(crate) struct Warp {
    pub(crate) index: u32,
    pub(crate) registers: Vec<[u64; 32]>,
    pub(crate) counters: [u32; 32],
    /// Lanes that have not ended.
    pub(crate) alive: u32,
    /// Lanes that wait for others of the warp, and for which.
    pub(crate) waiting: u32,
    pub(crate) members: [u32; 32],
    /// Lanes that wait at a barrier of the block, and at which.
    pub(crate) stopped: u32,
    pub(crate) barriers: [u8; 32],
    /// Barriers of the warp so far.
    pub(crate) epoch: u32,
    pub(crate) instructions: u64,
}

/// After so many instructions a warp is taken to run forever.
const LIMIT: u64 = 1 << 25;

/// After so many, the lanes with the lowest counter let others go on, which they may wait for.
const TURN: u64 = 1 << 12;
/// After so many turns, a warp lets the others go on.
const TURNS: u64 = 16;

/// Lanes that run together: what remains of their step.
pub(crate) enum Next {
    /// The instruction after this one.
    Following,
    /// This instruction, for all.
    Jump(u32),
    /// The counters are set; choose again.
    Choose,
}

impl Warp {
    pub(crate) fn new(index: u32, grid: &Grid<'_>) -> Self {
        Self {
            index,
            registers: vec![[0; 32]; grid.kernel.frame.registers as usize],
            counters: [0; 32],
            alive: 0,
            waiting: 0,
            members: [0; 32],
            stopped: 0,
            barriers: [0; 32],
            epoch: 0,
            instructions: 0,
        }
    }

    /// Every lane stands at the entry of a new block; registers hold whatever they held.
    pub(crate) fn begin(&mut self, grid: &Grid<'_>) {
        let threads = grid.launch.threads() - 32 * self.index;
        self.alive = mask(|lane| (lane as u32) < threads);
        self.counters = [grid.kernel.entry; 32];
        (self.waiting, self.stopped) = (0, 0);
        (self.epoch, self.instructions) = (0, 0);
    }

    /// Linear index of a lane's thread.
    pub(crate) fn thread(&self, lane: usize) -> u32 {
        32 * self.index + lane as u32
    }

    pub(crate) fn is_done(&self) -> bool {
        self.alive == 0
    }

    /// Lanes by program counter, lowest first.
    pub(crate) fn groups(&self, mut of: u32) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        while of != 0 {
            let Some(lowest) = lanes(of).map(|lane| self.counters[lane]).min() else {
                break;
            };
            let group = of & mask(|lane| self.counters[lane] == lowest);
            found.push((lowest, group));
            of &= !group;
        }
        found
    }

    /// Runs until every lane ended or waits, or for a few turns; whether anything happened.
    pub(crate) fn run(&mut self, block: &mut Block<'_>) -> Step<bool> {
        let start = self.instructions;
        let (mut turn, mut progress) = (1, false);
        while self.instructions < start + TURNS * TURN {
            let ready = self.alive & !self.waiting & !self.stopped;
            if ready == 0 && !self.meet_again(block)? {
                return Ok(progress);
            }
            progress = true;
            if ready == 0 {
                continue;
            }
            let mut next = ready;
            if self.instructions >= start + turn * TURN {
                let groups = self.groups(ready);
                next = groups[turn as usize % groups.len()].1;
                turn += 1;
            }
            self.run_lowest(block, next)?;
        }
        Ok(true)
    }

    /// Runs the lanes with the lowest counter until they part, wait, come to others, or their
    /// turn ends.
    fn run_lowest(&mut self, block: &mut Block<'_>, ready: u32) -> Step<()> {
        let (mut counter, mut others) = (u32::MAX, u32::MAX);
        for lane in lanes(ready) {
            let own = self.counters[lane];
            if own < counter {
                (counter, others) = (own, counter);
            } else if own > counter {
                others = others.min(own);
            }
        }
        let group = ready & mask(|lane| self.counters[lane] == counter);
        let grid = block.grid;
        let end = self.instructions + TURN;
        while counter < others && self.instructions < end {
            let instruction = &grid.module.code[counter as usize];
            self.instructions += 1;
            let active = group & self.guarded(instruction.guard);
            let step = match self.instructions > LIMIT {
                true => Err(LaneFault {
                    lane: group.trailing_zeros() as usize,
                    fault: Fault::Endless { limit: LIMIT },
                }),
                false => self.step(block, &instruction.op, (counter, group, active)),
            };
            match step {
                Ok(Next::Following) => counter += 1,
                Ok(Next::Jump(to)) => counter = to,
                Ok(Next::Choose) => return Ok(()),
                Err(fault) => {
                    self.counters[fault.lane] = counter;
                    return Err(fault);
                }
            }
        }
        self.move_to(group, counter);
        Ok(())
    }

    pub(crate) fn move_to(&mut self, group: u32, counter: u32) {
        for lane in lanes(group) {
            self.counters[lane] = counter;
        }
    }

    fn guarded(&self, guard: Option<Guard>) -> u32 {
        match guard {
            None => u32::MAX,
            Some(Guard { register, wanted }) => {
                let predicate = &self.registers[register as usize];
                mask(|lane| predicate[lane] & 1 == wanted)
            }
        }
    }

    /// The operand of every lane.
    pub(crate) fn values(&self, source: Source) -> [u64; 32] {
        match source {
            Source::Register(register) => self.registers[register as usize],
            Source::Value(value) => [value; 32],
        }
    }

    /// Sets a register of the lanes of a mask.
    pub(crate) fn set(&mut self, to: Register, active: u32, value: impl Fn(usize) -> u64) {
        let register = &mut self.registers[to as usize];
        if active == u32::MAX {
            for (lane, slot) in register.iter_mut().enumerate() {
                *slot = value(lane);
            }
        } else {
            for lane in lanes(active) {
                register[lane] = value(lane);
            }
        }
    }

    /// One instruction for the lanes of `group`, whose guard holds for those of `active`.
    fn step(
        &mut self,
        block: &mut Block<'_>,
        op: &Op,
        (counter, group, active): (u32, u32, u32),
    ) -> Step<Next> {
        match op {
            &Op::One { function, to, from } => {
                let a = self.values(from);
                self.set(to, active, |lane| function(a[lane]));
            }
            &Op::Two { function, to, from } => {
                let [a, b] = from.map(|source| self.values(source));
                self.set(to, active, |lane| function(a[lane], b[lane]));
            }
            &Op::Three { function, to, from } => {
                let [a, b, c] = from.map(|source| self.values(source));
                self.set(to, active, |lane| function(a[lane], b[lane], c[lane]));
            }
            &Op::Four { function, to, from } => {
                let [a, b, c, d] = from.map(|source| self.values(source));
                self.set(to, active, |lane| {
                    function(a[lane], b[lane], c[lane], d[lane])
                });
            }
            &Op::Special { special, to } => {
                for lane in lanes(active) {
                    let value = block.special(special, self, lane);
                    self.registers[to as usize][lane] = value;
                }
            }
            Op::Load { access, to } => block.load(self, active, access, to)?,
            Op::Store { access, from } => block.store(self, active, access, from)?,
            Op::Atomic { .. } => block.atomic(self, active, op)?,
            Op::CopyAsync { to, from, size } => {
                block.copy(self, active, (*to, from, *size))?;
            }
            Op::CopyCommit => block.commit_copies(self, active),
            &Op::CopyWait(left) => block.wait_for_copies(self, active, left)?,
            Op::CopyParameters(copies) => block.copy_parameters(self, active, copies),
            Op::ActiveMask { to } => self.set(*to, active, |_| u64::from(active)),
            Op::Nothing => {}
            _ => return self.turn(block, op, (counter, group, active)),
        }
        Ok(Next::Following)
    }
}
