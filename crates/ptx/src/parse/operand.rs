//! Parses the operands of an instruction.

use super::token::Cursor;
use crate::error::Result;

/// A parsed operand.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand<'t> {
    Name(&'t str),
    /// The bits of a number such as `12`, `-1`, `0f3F800000` or `0d3FF0000000000000`.
    Number(u64),
    /// Several operands: `{%r1, %r2}`.
    Vector(Vec<Operand<'t>>),
    /// An address with its offset: `[%rd1+16]`.
    Address(Box<Operand<'t>>, u64),
    /// Two registers that are both written: `%r1|%p1`.
    Pair(&'t str, &'t str),
}

/// The bits of a literal without its sign.
pub(super) fn number(text: &str) -> Option<u64> {
    let hexadecimal = |prefix| {
        let digits = text.strip_prefix(prefix)?;
        Some(u64::from_str_radix(digits, 16).ok())
    };
    hexadecimal("0f")
        .or_else(|| hexadecimal("0d"))
        .or_else(|| hexadecimal("0x"))
        .unwrap_or_else(|| text.parse().ok())
}

/// Parses one operand.
fn operand<'t>(cursor: &mut Cursor<'t>) -> Result<Operand<'t>> {
    Ok(match cursor.peek() {
        "{" => Operand::Vector(list(cursor)?),
        "[" => address(cursor)?,
        text if text == "-" || text.starts_with(|first: char| first.is_ascii_digit()) => {
            Operand::Number(signed(cursor)?)
        }
        text if is_name(text) => {
            cursor.take()?;
            match cursor.accept("|") {
                true => Operand::Pair(text, cursor.take()?),
                false => Operand::Name(text),
            }
        }
        _ => return Err(cursor.expected("an operand")),
    })
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '_' | '$' | '%'))
}

fn signed(cursor: &mut Cursor<'_>) -> Result<u64> {
    let is_negative = cursor.accept("-");
    let Some(value) = number(cursor.peek()) else {
        return Err(cursor.expected("a number"));
    };
    cursor.take()?;
    Ok(match is_negative {
        true => value.wrapping_neg(),
        false => value,
    })
}

fn list<'t>(cursor: &mut Cursor<'t>) -> Result<Vec<Operand<'t>>> {
    cursor.expect("{")?;
    separated(cursor, "}")
}

fn address<'t>(cursor: &mut Cursor<'t>) -> Result<Operand<'t>> {
    cursor.expect("[")?;
    let base = operand(cursor)?;
    let offset = match cursor.peek() {
        "]" => 0,
        _ => {
            cursor.accept("+");
            signed(cursor)?
        }
    };
    cursor.expect("]")?;
    Ok(Operand::Address(Box::new(base), offset))
}

/// Parses all operands up to `end`, and `end` itself.
pub(super) fn separated<'t>(cursor: &mut Cursor<'t>, end: &str) -> Result<Vec<Operand<'t>>> {
    let mut found = Vec::new();
    while !cursor.accept(end) {
        found.push(operand(cursor)?);
        if !cursor.accept(",") && cursor.peek() != end {
            return Err(cursor.expected(&format!("`,` or `{end}`")));
        }
    }
    Ok(found)
}
