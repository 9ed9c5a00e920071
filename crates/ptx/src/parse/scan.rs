//! What does a module declare at its top?

use super::header::{header, sign};
use super::scope::{Program, Symbol, aligned};
use super::token::{Cursor, Token};
use super::variable::{Declaration, declaration};
use crate::error::Result;
use crate::module::GlobalVariable;
use crate::types::Space;

/// Reads variables and headers; bodies are left for later.
pub(super) fn scan<'t>(tokens: &'t [Token<'t>], lines: Vec<&'t str>) -> Result<Program<'t>> {
    let mut program = Program {
        lines,
        ..Program::default()
    };
    let mut cursor = Cursor::new(tokens);
    while !cursor.is_done() {
        item(&mut cursor, &mut program)?;
    }
    Ok(program)
}

fn item<'t>(cursor: &mut Cursor<'t>, program: &mut Program<'t>) -> Result<()> {
    let line = cursor.line();
    match cursor.take()? {
        ".version" | ".address_size" => {
            cursor.take()?;
        }
        ".target" => {
            cursor.take()?;
            while cursor.accept(",") {
                cursor.take()?;
            }
        }
        ".visible" | ".weak" | ".extern" | ".common" => {}
        ".file" => skip_file(cursor)?,
        ".pragma" => cursor.skip_past(";")?,
        ".section" => {
            cursor.take()?;
            cursor.skip_braces()?;
        }
        ".entry" => {
            let (definition, has_body) = header(cursor, program)?;
            if has_body {
                program.kernels_defined.push(definition);
            }
        }
        ".func" => {
            let (definition, has_body) = header(cursor, program)?;
            sign(&definition, program);
            if has_body {
                program.functions_defined.push(definition);
            }
        }
        ".global" => variables(cursor, program, Space::Global)?,
        ".const" => variables(cursor, program, Space::Constant)?,
        ".shared" => variables(cursor, program, Space::Shared)?,
        directive => {
            return Err(program.unsupported(line, format!("`{directive}` of a module")));
        }
    }
    Ok(())
}

/// `.file 1 "name", 123, 456`
fn skip_file(cursor: &mut Cursor<'_>) -> Result<()> {
    cursor.take()?;
    cursor.take()?;
    while cursor.accept(",") {
        cursor.take()?;
    }
    Ok(())
}

fn variables<'t>(cursor: &mut Cursor<'t>, program: &mut Program<'t>, space: Space) -> Result<()> {
    loop {
        let found = declaration(cursor)?;
        let symbol = place(&found, program, space);
        program.symbols.insert(found.name.to_owned(), symbol);
        if !cursor.accept(",") {
            return cursor.expect(";");
        }
    }
}

/// Gives a variable of the module its place.
pub(crate) fn place(found: &Declaration<'_>, program: &mut Program<'_>, space: Space) -> Symbol {
    let mut content = found.content.clone();
    content.resize(found.bytes.max(content.len()), 0);
    match space {
        Space::Global => {
            program.globals.push(GlobalVariable { content });
            Symbol::Global(program.globals.len() - 1)
        }
        Space::Constant => {
            let address = aligned(program.constants.len(), found.align);
            program.constants.resize(address, 0);
            program.constants.extend(content);
            Symbol::Memory { space, address }
        }
        _ if found.open => {
            program.frame.shared_align = program.frame.shared_align.max(found.align);
            Symbol::DynamicShared
        }
        _ => {
            let address = aligned(program.frame.shared_end, found.align);
            program.frame.shared_end = address + found.bytes;
            Symbol::Memory { space, address }
        }
    }
}
