//! Parses PTX: splits it into tokens, then reads declarations and kernels.

mod body;
mod instruction;
mod operand;
mod token;

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::instruction::{DYNAMIC_SHARED, Instruction, Register, Source};
use crate::module::{Kernel, Module, SHARED_START};
use crate::types::Type;

use body::Body;
use token::Cursor;

/// The shared variables declared so far.
#[derive(Clone, Debug)]
struct Variables {
    /// Address of each static variable; for dynamic shared memory the register of its address, which
    /// a launch sets.
    names: HashMap<String, Source>,
    /// End of the static shared memory.
    end: usize,
    /// Alignment of the dynamic shared memory.
    dynamic_align: usize,
}

/// The state of parsing a module.
struct Text<'t> {
    lines: Vec<&'t str>,
    code: Vec<Instruction>,
    kernels: Vec<Kernel>,
    variables: Variables,
}

/// Directives that tell the compiler about the launch; they have no effect here.
const TUNING: [&str; 4] = [".maxntid", ".reqntid", ".minnctapersm", ".maxnreg"];

/// Parses a module.
pub(crate) fn module(text: &str) -> Result<Module> {
    let tokens = token::tokens(text)?;
    let mut cursor = Cursor::new(&tokens);
    let mut module = Text {
        lines: text.lines().map(str::trim).collect(),
        code: Vec::new(),
        kernels: Vec::new(),
        variables: Variables {
            names: HashMap::new(),
            end: SHARED_START,
            dynamic_align: 16,
        },
    };
    while !cursor.is_done() {
        module.item(&mut cursor)?;
    }
    Ok(Module {
        code: module.code,
        kernels: module.kernels,
        lines: module.lines.into_iter().map(str::to_owned).collect(),
    })
}

impl<'t> Text<'t> {
    fn unsupported(&self, line: u32, reason: impl Into<String>) -> Error {
        let text = self.lines.get(line as usize - 1).copied();
        Error::Unsupported {
            line,
            instruction: text.unwrap_or_default().to_owned(),
            reason: reason.into(),
        }
    }

    fn item(&mut self, cursor: &mut Cursor<'t>) -> Result<()> {
        let line = cursor.line();
        match cursor.take()? {
            ".version" | ".target" | ".address_size" => cursor.take().map(|_| ()),
            ".visible" | ".extern" => Ok(()),
            ".shared" => self.variables.declare(cursor),
            ".entry" => self.kernel(cursor),
            directive => Err(self.unsupported(line, format!("`{directive}` of a module"))),
        }
    }

    /// Parses a kernel, after `.entry`.
    fn kernel(&mut self, cursor: &mut Cursor<'t>) -> Result<()> {
        let name = cursor.take()?;
        let parameters = parameters(cursor)?;
        while cursor.peek().starts_with('.') {
            let line = cursor.line();
            let directive = cursor.take()?;
            if !TUNING.contains(&directive) {
                return Err(self.unsupported(line, format!("`{directive}` of a kernel")));
            }
            while !matches!(cursor.peek(), "{" | "") && !cursor.peek().starts_with('.') {
                cursor.take()?;
            }
        }
        let entry = self.code.len() as u32;
        let bytes = parameters.iter().map(|parameter| parameter.bytes).collect();
        let (registers, variables) = Body::new(self, &parameters).read(cursor)?;
        self.kernels.push(Kernel {
            name: name.to_owned(),
            entry,
            parameters: bytes,
            registers,
            shared_end: variables.end,
            dynamic_start: variables.end.next_multiple_of(variables.dynamic_align),
        });
        Ok(())
    }
}

/// A parameter of a kernel.
struct Parameter<'t> {
    name: &'t str,
    bytes: usize,
}

/// Parses the parameters of a kernel: `(.param .u64 a, .param .f32 b)`
fn parameters<'t>(cursor: &mut Cursor<'t>) -> Result<Vec<Parameter<'t>>> {
    cursor.expect("(")?;
    let mut found = Vec::new();
    while !cursor.accept(")") {
        cursor.expect(".param")?;
        let kind = cursor.peek().strip_prefix('.').and_then(Type::parse);
        let Some(bytes) = kind.and_then(Type::bytes) else {
            return Err(cursor.expected("a type of 4 or 8 bytes"));
        };
        cursor.take()?;
        let name = cursor.take()?;
        found.push(Parameter { name, bytes });
        if !cursor.accept(",") && cursor.peek() != ")" {
            return Err(cursor.expected("`,` or `)`"));
        }
    }
    Ok(found)
}

impl Variables {
    /// Parses the rest of a declaration after `.shared`: `.align 4 .b8 name[12];`, or `name[]` for
    /// dynamic shared memory, whose size the launch gives.
    fn declare(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        cursor.expect(".align")?;
        let align = size(cursor)?.max(1);
        cursor.expect(".b8")?;
        let name = cursor.take()?.to_owned();
        cursor.expect("[")?;
        let source = match cursor.peek() {
            "]" => {
                self.dynamic_align = self.dynamic_align.max(align);
                Source::Register(DYNAMIC_SHARED as Register)
            }
            _ => {
                let address = self.end.next_multiple_of(align);
                self.end = address + size(cursor)?;
                Source::Value(address as u64)
            }
        };
        self.names.insert(name, source);
        cursor.expect("]")?;
        cursor.expect(";")
    }
}

fn size(cursor: &mut Cursor<'_>) -> Result<usize> {
    let value = operand::number(cursor.peek()).and_then(|value| usize::try_from(value).ok());
    let Some(value) = value else {
        return Err(cursor.expected("a size"));
    };
    cursor.take()?;
    Ok(value)
}
