//! How does a text become a module: tokens, opcodes, operands, variables, functions?

pub(crate) mod header;
pub(crate) mod opcode;
pub(crate) mod operand;
mod scan;
pub(crate) mod scope;
pub(crate) mod token;
pub(crate) mod variable;

use crate::decode::Body;
use crate::error::Result;
use crate::instruction::Instruction;
use crate::module::{GlobalVariable, Kernel};

/// What the text says.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) code: Vec<Instruction>,
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) globals: Vec<GlobalVariable>,
    pub(crate) constants: Vec<u8>,
}

/// Reads the whole text: first what is declared, then functions, then kernels.
pub(crate) fn module(text: &str) -> Result<Parsed> {
    let lines: Vec<&str> = text.lines().collect();
    let tokens = token::tokens(text)?;
    let mut program = scan::scan(&tokens, lines)?;
    for definition in std::mem::take(&mut program.functions_defined) {
        Body::function(&mut program, &definition)?;
    }
    let mut kernels = Vec::new();
    for definition in std::mem::take(&mut program.kernels_defined) {
        kernels.push(Body::kernel(&mut program, &definition)?);
    }
    program.link_calls()?;
    Ok(Parsed {
        code: program.code,
        kernels,
        globals: program.globals,
        constants: program.constants,
    })
}
