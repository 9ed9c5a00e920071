//! A warp: chooses the lanes that run next, and executes their instructions on registers.
//!
//! The lanes with the lowest program counter run first, so that lanes that diverged reconverge where
//! their paths do.

use super::block::Block;
use super::lanes::{lanes, mask};
use super::{Grid, Step};
use crate::error::Fault;
use crate::instruction::{
    BLOCK, BLOCKS, DYNAMIC_SHARED, Guard, Op, PARAMETERS, Register, Source, THREAD, THREADS,
};
use crate::launch::bits;

/// 32 lanes, each with a program counter.
#[derive(Debug)]
pub(crate) struct Warp {
    pub(crate) index: u32,
    pub(crate) registers: Vec<[u64; 32]>,
    pub(crate) counters: [u32; 32],
    /// Lanes that have not ended.
    pub(crate) alive: u32,
    /// Lanes that wait at a collective instruction.
    pub(crate) waiting: u32,
    /// For each waiting lane, the member mask of the collective instruction.
    pub(crate) members: [u32; 32],
    /// Lanes that wait at the barrier of the block.
    pub(crate) at_barrier: u32,
    /// Number of barriers of the warp so far.
    pub(crate) epoch: u32,
    /// Number of instructions executed.
    instructions: u64,
}

/// A warp that executes more instructions is taken to run forever.
const LIMIT: u64 = 1 << 25;

/// Lanes that run together.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// The program counter of these lanes.
    counter: u32,
    lanes: u32,
    /// The lanes for which the guard of the instruction holds.
    active: u32,
}

/// How a group continues after an instruction.
enum Next {
    /// With the following instruction.
    Following,
    /// With the instruction of this index, for all lanes of the group.
    Jump(u32),
    /// The program counters of the lanes have been set, and a group must be chosen again.
    Choose,
}

impl Warp {
    pub(crate) fn new(index: u32, grid: &Grid<'_>) -> Self {
        let launch = grid.launch;
        let mut registers = vec![[0; 32]; grid.kernel.registers as usize];
        registers[THREAD] = std::array::from_fn(|lane| u64::from(32 * index) + lane as u64);
        registers[THREADS] = [launch.threads.into(); 32];
        registers[BLOCKS] = [launch.blocks.into(); 32];
        registers[DYNAMIC_SHARED] = [grid.kernel.dynamic_start as u64; 32];
        for (register, argument) in registers[PARAMETERS..].iter_mut().zip(launch.arguments) {
            *register = [bits(argument).0; 32];
        }
        Self {
            index,
            registers,
            counters: [0; 32],
            alive: 0,
            waiting: 0,
            members: [0; 32],
            at_barrier: 0,
            epoch: 0,
            instructions: 0,
        }
    }

    /// Moves every lane to the entry of the kernel, for a new block. Registers other than the block
    /// index keep their contents.
    pub(crate) fn begin(&mut self, grid: &Grid<'_>, block: u32) {
        let threads = grid.launch.threads - 32 * self.index;
        self.registers[BLOCK] = [block.into(); 32];
        self.alive = mask(|lane| (lane as u32) < threads);
        self.counters = [grid.kernel.entry; 32];
        (self.waiting, self.at_barrier) = (0, 0);
        (self.epoch, self.instructions) = (0, 0);
    }

    /// Index of a lane's thread in the block.
    pub(crate) fn thread(&self, lane: usize) -> u32 {
        32 * self.index + lane as u32
    }

    pub(crate) fn is_done(&self) -> bool {
        self.alive == 0
    }

    /// Groups the lanes of a mask by program counter; gives counter and mask of each, the lowest
    /// counter first.
    pub(crate) fn groups(&self, mut rest: u32) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        while let Some(lowest) = lanes(rest).map(|lane| self.counters[lane]).min() {
            let group = rest & mask(|lane| self.counters[lane] == lowest);
            found.push((lowest, group));
            rest &= !group;
        }
        found
    }

    /// Runs until every lane waits or has ended; returns whether any instruction ran.
    pub(crate) fn run(&mut self, block: &mut Block<'_>) -> Step<bool> {
        let mut progress = false;
        loop {
            let ready = self.alive & !self.waiting & !self.at_barrier;
            if ready != 0 {
                self.run_lowest(block, ready)?;
            } else if !self.retry_collectives(block)? {
                return Ok(progress);
            }
            progress = true;
        }
    }

    /// Runs the lanes with the lowest counter until they diverge, wait, or reach the counter of other
    /// lanes.
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
        let lanes = ready & mask(|lane| self.counters[lane] == counter);
        let grid = block.grid;
        while counter < others {
            let instruction = &grid.module.code[counter as usize];
            self.instructions += 1;
            let active = lanes & self.guarded(instruction.guard);
            let group = Group {
                counter,
                lanes,
                active,
            };
            let step = match self.instructions > LIMIT {
                true => {
                    let lane = lanes.trailing_zeros() as usize;
                    Err(Fault::Endless { limit: LIMIT }.in_lane(lane))
                }
                false => self.step(block, &instruction.op, group),
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
        self.move_to(lanes, counter);
        Ok(())
    }

    pub(super) fn move_to(&mut self, group: u32, counter: u32) {
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

    /// The value of an operand in every lane.
    pub(super) fn values(&self, source: Source) -> [u64; 32] {
        match source {
            Source::Register(register) => self.registers[register as usize],
            Source::Value(value) => [value; 32],
        }
    }

    /// Sets a register of the lanes of a mask.
    pub(super) fn set(&mut self, to: Register, active: u32, value: impl Fn(usize) -> u64) {
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

    /// Executes one instruction for a group.
    fn step(&mut self, block: &mut Block<'_>, op: &Op, group: Group) -> Step<Next> {
        let active = group.active;
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
            Op::Load { access, to } => block.load(self, active, access, *to)?,
            Op::Store { access, from } => block.store(self, active, access, *from)?,
            Op::Atomic { .. } => block.atomic(self, active, op)?,
            &Op::CopyAsync { to, from } => block.copy(self, active, to, from)?,
            Op::CopyCommit => block.commit_copies(self, active),
            &Op::CopyWait(left) => block.wait_for_copies(self, active, left)?,
            _ => return self.control_flow(block, op, group),
        }
        Ok(Next::Following)
    }

    /// Executes an instruction after which lanes may diverge, wait or end.
    fn control_flow(&mut self, block: &mut Block<'_>, op: &Op, group: Group) -> Step<Next> {
        let Group {
            counter,
            lanes,
            active,
        } = group;
        match op {
            _ if active == 0 => return Ok(Next::Following),
            Op::Branch(target) if active == lanes => return Ok(Next::Jump(*target)),
            _ => {}
        }
        self.move_to(lanes & !active, counter + 1);
        self.move_to(active, counter);
        match op {
            Op::Branch(target) => self.move_to(active, *target),
            Op::Exit => self.alive &= !active,
            Op::Barrier => self.wait_at_barrier(block, active)?,
            Op::Collective { members, .. } => self.reach_collective(block, *members, active)?,
            // Only `trap` is left; `step` handles all other instructions.
            _ => return Err(Fault::Trap.in_lane(active.trailing_zeros() as usize)),
        }
        Ok(Next::Choose)
    }
}
