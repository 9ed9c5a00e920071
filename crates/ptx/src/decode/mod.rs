//! Which steps does the body of a function consist of?

mod arithmetic;
mod compare;
mod control;
mod convert;
mod matrix;
mod memory;
mod moves;
mod operands;
mod statement;
mod warp;

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::instruction::{Function, Guard, Instruction, Op, Register, Source};
use crate::launch::Parameter;
use crate::module::{Frame, Kernel};
use crate::parse::header::{Definition, slots};
use crate::parse::opcode::Opcode;
use crate::parse::operand::Operand;
use crate::parse::scope::{Program, Scope, Symbol};
use crate::types::Space;

/// A body while it is read.
pub(crate) struct Body<'p, 't> {
    program: &'p mut Program<'t>,
    /// Of the function; `None` in a kernel.
    name: Option<&'t str>,
    frame: Frame,
    scopes: Vec<Scope<'t>>,
    current: usize,
    guard: Option<Guard>,
    line: u32,
    /// Where the function keeps its return address; `None` in a kernel.
    back: Option<Register>,
    /// The carry flag, once an instruction uses it.
    carry: Option<Register>,
    jumps: Vec<Jump<'t>>,
    /// Bytes of the `.param` variables, by place.
    sizes: HashMap<usize, usize>,
    temporaries: Vec<Register>,
    temporaries_used: usize,
}

/// A branch whose labels are not placed yet.
struct Jump<'t> {
    at: usize,
    scope: usize,
    line: u32,
    labels: Vec<&'t str>,
}

impl<'p, 't> Body<'p, 't> {
    fn new(program: &'p mut Program<'t>, name: Option<&'t str>, back: Option<Register>) -> Self {
        Self {
            frame: program.frame,
            program,
            name,
            scopes: vec![Scope::default()],
            current: 0,
            guard: None,
            line: 0,
            back,
            carry: None,
            jumps: Vec::new(),
            sizes: HashMap::new(),
            temporaries: Vec::new(),
            temporaries_used: 0,
        }
    }

    /// Decodes a function that kernels call.
    pub(crate) fn function(program: &'p mut Program<'t>, found: &Definition<'t>) -> Result<()> {
        let entry = program.code.len() as u32;
        let Some(signature) = program.signatures.get_mut(found.name) else {
            return Ok(());
        };
        signature.entry = Some(entry);
        let signature = signature.clone();
        let mut body = Body::new(program, Some(found.name), Some(signature.back));
        let declared = found.parameters.iter().chain(&found.results);
        let places = signature.parameters.iter().chain(&signature.results);
        for (declaration, slot) in declared.zip(places) {
            let symbol = Symbol::Memory {
                space: Space::Parameter,
                address: slot.offset,
            };
            body.scopes[0]
                .symbols
                .insert(declaration.name.to_owned(), symbol);
        }
        body.statements(found.body)?;
        // Functions never run at the same time in one thread, but each keeps its own storage.
        body.program.frame = body.frame;
        Ok(())
    }

    /// Decodes an entry.
    pub(crate) fn kernel(program: &'p mut Program<'t>, found: &Definition<'t>) -> Result<Kernel> {
        let entry = program.code.len() as u32;
        let mut body = Body::new(program, None, None);
        let parameters = slots(&found.parameters, &mut 0);
        for (declaration, slot) in found.parameters.iter().zip(&parameters) {
            let symbol = Symbol::Memory {
                space: Space::Argument,
                address: slot.offset,
            };
            body.scopes[0]
                .symbols
                .insert(declaration.name.to_owned(), symbol);
        }
        body.statements(found.body)?;
        Ok(Kernel {
            name: found.name.to_owned(),
            entry,
            parameters: parameters
                .iter()
                .map(|slot| Parameter {
                    offset: slot.offset,
                    bytes: slot.bytes,
                })
                .collect(),
            frame: body.frame,
        })
    }

    fn unsupported(&self, reason: impl Into<String>) -> Error {
        self.program.unsupported(self.line, reason)
    }

    fn emit(&mut self, op: Op) {
        self.program.code.push(Instruction {
            guard: self.guard,
            line: self.line,
            op,
        });
    }

    /// A register of its own.
    fn fresh(&mut self) -> Register {
        self.frame.registers += 1;
        self.frame.registers - 1
    }

    /// A register until the end of this instruction.
    fn temporary(&mut self) -> Register {
        if self.temporaries_used == self.temporaries.len() {
            let register = self.fresh();
            self.temporaries.push(register);
        }
        self.temporaries_used += 1;
        self.temporaries[self.temporaries_used - 1]
    }

    /// The step that puts a function of operands into a register.
    fn apply(&mut self, function: Function, to: Register, from: &[Source]) -> Result<()> {
        let op = match (function, from) {
            (Function::One(function), &[from]) => Op::One { function, to, from },
            (Function::Two(function), &[a, b]) => Op::Two {
                function,
                to,
                from: [a, b],
            },
            (Function::Three(function), &[a, b, c]) => Op::Three {
                function,
                to,
                from: [a, b, c],
            },
            (Function::Four(function), &[a, b, c, d]) => Op::Four {
                function,
                to,
                from: [a, b, c, d],
            },
            _ => return Err(self.unsupported("the number of operands")),
        };
        self.emit(op);
        Ok(())
    }

    /// The same into a register of its own.
    fn computed(&mut self, function: Function, from: &[Source]) -> Result<Source> {
        let to = self.temporary();
        self.apply(function, to, from)?;
        Ok(Source::Register(to))
    }

    /// Lets later steps of this instruction overwrite the register of its guard.
    fn keep_guard(&mut self) -> Result<()> {
        let Some(guard) = self.guard else {
            return Ok(());
        };
        let register = self.temporary();
        self.guard = None;
        let from = [Source::Register(guard.register)];
        self.apply(Function::One(|a| a), register, &from)?;
        self.guard = Some(Guard { register, ..guard });
        Ok(())
    }

    /// One instruction, by its name.
    fn instruction(&mut self, opcode: Opcode<'t>, operands: &[Operand<'t>]) -> Result<()> {
        self.temporaries_used = 0;
        match opcode.name {
            "mov" => self.mov(opcode, operands),
            "setp" => self.setp(opcode, operands),
            "set" => self.set(opcode, operands),
            "selp" => self.selp(opcode, operands),
            "slct" => self.slct(opcode, operands),
            "testp" => self.testp(opcode, operands),
            "cvt" => self.cvt(opcode, operands),
            "ld" | "ldu" => self.load(opcode, operands),
            "st" => self.store(opcode, operands),
            "atom" => self.atomic(opcode, operands),
            "red" => self.reduction(opcode, operands),
            "cp" => self.copy_async(opcode, operands),
            "cvta" => self.cvta(opcode, operands),
            "isspacep" => self.isspacep(opcode, operands),
            "ldmatrix" => self.load_matrix(opcode, operands),
            "mma" => self.multiply_matrix(opcode, operands),
            "bar" | "barrier" => self.barrier(opcode, operands),
            "shfl" => self.shuffle(opcode, operands),
            "vote" => self.vote(opcode, operands),
            "match" => self.matching(opcode, operands),
            "redux" => self.redux(opcode, operands),
            "activemask" => self.active_mask(opcode, operands),
            "bra" | "brx" | "call" | "ret" | "exit" | "trap" => self.control(opcode, operands),
            // Blocks and warps run in turns: memory is always in order.
            "membar" | "fence" | "nanosleep" | "prefetch" | "prefetchu" => {
                self.emit(Op::Nothing);
                Ok(())
            }
            _ => self.arithmetic(opcode, operands),
        }
    }

    /// Refuses modifiers that were not understood.
    fn finished(&self, opcode: &Opcode<'_>) -> Result<()> {
        match opcode.rest() {
            [] => Ok(()),
            rest => Err(self.unsupported(format!("unknown `.{}`", rest.join(".")))),
        }
    }
}
