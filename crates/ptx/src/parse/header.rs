//! What does a function or kernel say before its body?

use super::scope::{Program, Signature, Slot, aligned};
use super::token::Cursor;
use super::variable::{Declaration, declaration};
use crate::error::Result;

/// A function or kernel with a body, which is read later.
#[derive(Clone, Debug)]
pub(crate) struct Definition<'t> {
    pub(crate) name: &'t str,
    pub(crate) parameters: Vec<Declaration<'t>>,
    pub(crate) results: Vec<Declaration<'t>>,
    /// At the opening brace.
    pub(crate) body: Cursor<'t>,
}

/// Directives between header and body, and how many numbers each takes at most is left open.
const TUNING: &[&str] = &[
    ".maxntid",
    ".reqntid",
    ".minnctapersm",
    ".maxnctapersm",
    ".maxnreg",
    ".noreturn",
    ".pragma",
    ".abi_preserve",
    ".abi_preserve_control",
];

/// Behind `.func` or `.entry`; `None` for a declaration without a body.
pub(super) fn header<'t>(
    cursor: &mut Cursor<'t>,
    program: &mut Program<'t>,
) -> Result<(Definition<'t>, bool)> {
    let results = match cursor.peek() {
        "(" => parameters(cursor)?,
        _ => Vec::new(),
    };
    let name = cursor.take()?;
    let parameters = match cursor.peek() {
        "(" => parameters(cursor)?,
        _ => Vec::new(),
    };
    tuning(cursor, program)?;
    let definition = Definition {
        name,
        parameters,
        results,
        body: *cursor,
    };
    let has_body = !cursor.accept(";");
    if has_body {
        cursor.skip_braces()?;
    }
    Ok((definition, has_body))
}

fn tuning(cursor: &mut Cursor<'_>, program: &Program<'_>) -> Result<()> {
    while cursor.peek().starts_with('.') {
        let line = cursor.line();
        let directive = cursor.take()?;
        if !TUNING.contains(&directive) {
            return Err(program.unsupported(line, format!("`{directive}` of a kernel")));
        }
        let pragma = directive == ".pragma";
        while !matches!(cursor.peek(), "{" | ";") && !cursor.peek().starts_with('.') {
            cursor.take()?;
        }
        if pragma {
            cursor.expect(";")?;
        }
    }
    Ok(())
}

fn parameters<'t>(cursor: &mut Cursor<'t>) -> Result<Vec<Declaration<'t>>> {
    cursor.expect("(")?;
    let mut found = Vec::new();
    while !cursor.accept(")") {
        cursor.expect(".param")?;
        found.push(declaration(cursor)?);
        if !cursor.accept(",") && cursor.peek() != ")" {
            return Err(cursor.expected("`,` or `)`"));
        }
    }
    Ok(found)
}

/// Gives each declaration its place from `end` on, and moves `end`.
pub(crate) fn slots(declarations: &[Declaration<'_>], end: &mut usize) -> Vec<Slot> {
    declarations
        .iter()
        .map(|declaration| {
            let offset = aligned(*end, declaration.align);
            *end = offset + declaration.bytes;
            Slot {
                offset,
                bytes: declaration.bytes,
            }
        })
        .collect()
}

/// Notes where a function takes and leaves values, once, at its first declaration.
pub(super) fn sign(definition: &Definition<'_>, program: &mut Program<'_>) {
    if program.signatures.contains_key(definition.name) {
        return;
    }
    let end = &mut program.frame.parameter_bytes;
    let signature = Signature {
        parameters: slots(&definition.parameters, end),
        results: slots(&definition.results, end),
        back: program.frame.registers,
        entry: None,
    };
    program.frame.registers += 1;
    program
        .signatures
        .insert(definition.name.to_owned(), signature);
}
