//! Parses the body of a kernel: declarations, labels and instructions.

use std::collections::HashMap;

use super::operand::separated;
use super::token::Cursor;
use super::{Parameter, Text, Variables, size};
use crate::error::{Error, Result};
use crate::instruction::{Guard, Instruction, Op, PARAMETERS, Register, SPECIAL, Source};
use crate::types::Type;

/// The state of parsing a body.
pub(super) struct Body<'m, 't> {
    module: &'m mut Text<'t>,
    /// Registers and shared variables.
    variables: Variables,
    /// Register and size in bytes of each parameter.
    pub(super) parameters: HashMap<&'t str, (Register, usize)>,
    labels: HashMap<&'t str, u32>,
    jumps: Vec<Jump<'t>>,
    guard: Option<Guard>,
    line: u32,
    registers: u32,
    /// The first register that instructions may write.
    first: Register,
}

/// A branch whose target is not known yet.
struct Jump<'t> {
    /// Index of the branch in the code.
    at: usize,
    line: u32,
    label: &'t str,
}

impl<'m, 't> Body<'m, 't> {
    pub(super) fn new(module: &'m mut Text<'t>, parameters: &[Parameter<'t>]) -> Self {
        let mut variables = module.variables.clone();
        for (register, name) in SPECIAL.into_iter().enumerate() {
            let register = Source::Register(register as Register);
            variables.names.insert(name.to_owned(), register);
        }
        let first = (PARAMETERS + parameters.len()) as Register;
        let parameters = (PARAMETERS as Register..)
            .zip(parameters)
            .map(|(register, parameter)| (parameter.name, (register, parameter.bytes)));
        Self {
            module,
            variables,
            parameters: parameters.collect(),
            labels: HashMap::new(),
            jumps: Vec::new(),
            guard: None,
            line: 0,
            registers: first,
            first,
        }
    }

    /// Parses from the opening brace to the closing one; returns the number of registers and the
    /// variables of the kernel.
    pub(super) fn read(mut self, cursor: &mut Cursor<'t>) -> Result<(u32, Variables)> {
        cursor.expect("{")?;
        while !cursor.accept("}") {
            self.line = cursor.line();
            match cursor.peek() {
                text if text.starts_with('.') => self.directive(cursor)?,
                label if cursor.peek_after(1) == ":" => {
                    self.labels.insert(label, self.module.code.len() as u32);
                    cursor.take()?;
                    cursor.expect(":")?;
                }
                _ => self.guarded(cursor)?,
            }
        }
        self.guard = None;
        self.emit(Op::Exit);
        self.link_jumps()?;
        Ok((self.registers, self.variables))
    }

    pub(super) fn unsupported(&self, reason: impl Into<String>) -> Error {
        self.module.unsupported(self.line, reason)
    }

    fn emit(&mut self, op: Op) {
        self.module.code.push(Instruction {
            guard: self.guard,
            line: self.line,
            op,
        });
    }

    /// Parses an instruction with its guard: `@!%p1 bra $L1;`
    fn guarded(&mut self, cursor: &mut Cursor<'t>) -> Result<()> {
        self.guard = None;
        if cursor.accept("@") {
            let wanted = u64::from(!cursor.accept("!"));
            let register = self.own_register(cursor.take()?)?;
            self.guard = Some(Guard { register, wanted });
        }
        let opcode = cursor.take()?;
        let operands = separated(cursor, ";")?;
        let op = self.instruction(opcode, &operands)?;
        self.emit(op);
        Ok(())
    }

    fn directive(&mut self, cursor: &mut Cursor<'t>) -> Result<()> {
        match cursor.take()? {
            ".reg" => self.declare_registers(cursor),
            ".shared" => self.variables.declare(cursor),
            // A hint to the compiler that makes cubins of PTX.
            ".pragma" => {
                cursor.take()?;
                cursor.expect(";")
            }
            directive => Err(self.unsupported(format!("`{directive}` in a kernel"))),
        }
    }

    /// Parses the rest of a declaration after `.reg`: `.b32 %r<12>, x;`
    fn declare_registers(&mut self, cursor: &mut Cursor<'t>) -> Result<()> {
        let text = cursor.take()?;
        if text.strip_prefix('.').and_then(Type::parse).is_none() {
            return Err(self.unsupported(format!("registers of type `{text}`")));
        }
        loop {
            let name = cursor.take()?;
            if cursor.accept("<") {
                for index in 0..size(cursor)? {
                    self.declare_register(format!("{name}{index}"));
                }
                cursor.expect(">")?;
            } else {
                self.declare_register(name.to_owned());
            }
            if !cursor.accept(",") {
                return cursor.expect(";");
            }
        }
    }

    fn declare_register(&mut self, name: String) {
        let register = Source::Register(self.registers);
        self.variables.names.insert(name, register);
        self.registers += 1;
    }

    /// The register or address of a name.
    pub(super) fn named(&self, name: &str) -> Result<Source> {
        let found = self.variables.names.get(name).copied();
        found.ok_or_else(|| self.unsupported(format!("unknown name `{name}`")))
    }

    /// A register that instructions may write.
    pub(super) fn own_register(&self, name: &str) -> Result<Register> {
        match self.named(name)? {
            Source::Register(register) if register >= self.first => Ok(register),
            _ => Err(self.unsupported(format!("`{name}` is not a register of the kernel"))),
        }
    }

    /// A branch; its target is set by `link_jumps`, when all labels are known.
    pub(super) fn branch(&mut self, label: &'t str) -> Op {
        self.jumps.push(Jump {
            at: self.module.code.len(),
            line: self.line,
            label,
        });
        Op::Branch(0)
    }

    fn link_jumps(&mut self) -> Result<()> {
        for Jump { at, line, label } in std::mem::take(&mut self.jumps) {
            let Some(&target) = self.labels.get(label) else {
                return Err(self.module.unsupported(line, format!("no label `{label}`")));
            };
            self.module.code[at].op = Op::Branch(target);
        }
        Ok(())
    }
}
