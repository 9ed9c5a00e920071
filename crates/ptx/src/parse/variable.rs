//! Which variables and parameters are declared, how large, with which content?

use super::operand::{Number, Operand, integer, operand};
use super::token::Cursor;
use crate::error::Result;
use crate::types::Type;

/// `.align 4 .b8 name[16] = {…}`, after the state space.
#[derive(Clone, Debug)]
pub(crate) struct Declaration<'t> {
    pub(crate) name: &'t str,
    pub(crate) align: usize,
    pub(crate) bytes: usize,
    /// `name[]`: as long as the launch says.
    pub(crate) open: bool,
    /// Empty where nothing is said.
    pub(crate) content: Vec<u8>,
}

/// One declaration; the cursor stands behind the state space and ends before `,`, `;` or `)`.
pub(crate) fn declaration<'t>(cursor: &mut Cursor<'t>) -> Result<Declaration<'t>> {
    let (mut align, mut kind, mut lanes) = (1, None, 1);
    while cursor.peek().starts_with('.') {
        match cursor.take()? {
            ".align" => align = number(cursor)?,
            ".v2" => lanes = 2,
            ".v4" => lanes = 4,
            // `.ptr .global .align 16` says where a parameter points; it changes nothing.
            ".ptr" => skip_pointer(cursor)?,
            text => match Type::parse(&text[1..]) {
                Some(found) => kind = Some(found),
                None => return Err(cursor.expected(&format!("a type, not `{text}`"))),
            },
        }
    }
    let Some(kind) = kind else {
        return Err(cursor.expected("a type"));
    };
    let name = cursor.take()?;
    let (mut count, mut open) = (lanes, false);
    while cursor.accept("[") {
        match cursor.accept("]") {
            true => open = true,
            false => {
                count *= number(cursor)?;
                cursor.expect("]")?;
            }
        }
    }
    let content = match cursor.accept("=") {
        true => content(cursor, kind)?,
        false => Vec::new(),
    };
    Ok(Declaration {
        name,
        align: align.max(kind.bytes() * lanes),
        bytes: if open { 0 } else { count * kind.bytes() },
        open,
        content,
    })
}

/// Everything after `.ptr` up to the parameter's name.
fn skip_pointer(cursor: &mut Cursor<'_>) -> Result<()> {
    while cursor.peek().starts_with('.') {
        if cursor.take()? == ".align" {
            cursor.take()?;
        }
    }
    Ok(())
}

/// An integer that fits `usize`.
pub(crate) fn number(cursor: &mut Cursor<'_>) -> Result<usize> {
    let Some(value) = integer(cursor.peek()).and_then(|value| usize::try_from(value).ok()) else {
        return Err(cursor.expected("a number"));
    };
    cursor.take()?;
    Ok(value)
}

fn content(cursor: &mut Cursor<'_>, kind: Type) -> Result<Vec<u8>> {
    let start = *cursor;
    let mut bytes = Vec::new();
    if append(&operand(cursor)?, kind, &mut bytes) {
        return Ok(bytes);
    }
    Err(start.expected("numbers: addresses in initialisers are not supported"))
}

/// Whether the content consists of numbers.
fn append(item: &Operand<'_>, kind: Type, bytes: &mut Vec<u8>) -> bool {
    match item {
        Operand::Vector(items) => items.iter().all(|item| append(item, kind, bytes)),
        Operand::Number(number) => {
            let bits = match (*number, kind) {
                (Number::Integer(value), Type::F32) => u64::from((value as f32).to_bits()),
                (Number::Integer(value), Type::F64) => (value as f64).to_bits(),
                _ => number.bits(kind),
            };
            bytes.extend_from_slice(&bits.to_le_bytes()[..kind.bytes()]);
            true
        }
        _ => false,
    }
}
