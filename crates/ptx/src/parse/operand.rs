//! What can an operand look like?

use super::token::Cursor;
use crate::error::Result;
use crate::types::Type;

/// A literal number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Integer(u64),
    /// Bits of `0f3F800000`.
    Single(u32),
    /// Value of `0d3FF0000000000000` or `1.0`.
    Double(f64),
}

impl Number {
    /// The number's bits as an operand of `kind`.
    pub(crate) fn bits(self, kind: Type) -> u64 {
        match (self, kind) {
            (Self::Integer(value), _) => value,
            (Self::Single(bits), _) => u64::from(bits),
            (Self::Double(value), Type::F32) => u64::from((value as f32).to_bits()),
            (Self::Double(value), _) => value.to_bits(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(digits) = strip_prefix_any(text, ["0f", "0F"]) {
            return u32::from_str_radix(digits, 16).ok().map(Self::Single);
        }
        if let Some(digits) = strip_prefix_any(text, ["0d", "0D"]) {
            let bits = u64::from_str_radix(digits, 16).ok()?;
            return Some(Self::Double(f64::from_bits(bits)));
        }
        if text.contains('.') {
            return text.parse().ok().map(Self::Double);
        }
        integer(text).map(Self::Integer)
    }

    fn negated(self) -> Self {
        match self {
            Self::Integer(value) => Self::Integer(value.wrapping_neg()),
            Self::Single(bits) => Self::Single(bits ^ 0x8000_0000),
            Self::Double(value) => Self::Double(-value),
        }
    }
}

fn strip_prefix_any<'t>(text: &'t str, prefixes: [&str; 2]) -> Option<&'t str> {
    prefixes.iter().find_map(|prefix| text.strip_prefix(prefix))
}

/// `12`, `12U`, `0x1f`, `0b101`, `017`.
pub(crate) fn integer(text: &str) -> Option<u64> {
    let text = text.strip_suffix('U').unwrap_or(text);
    if let Some(digits) = strip_prefix_any(text, ["0x", "0X"]) {
        return u64::from_str_radix(digits, 16).ok();
    }
    if let Some(digits) = strip_prefix_any(text, ["0b", "0B"]) {
        return u64::from_str_radix(digits, 2).ok();
    }
    match text.strip_prefix('0') {
        Some(digits) if !digits.is_empty() => u64::from_str_radix(digits, 8).ok(),
        _ => text.parse().ok(),
    }
}

/// An operand as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand<'t> {
    Name(&'t str),
    /// `!%p1`
    Not(&'t str),
    /// `-%r1` does not exist; `-1` is a number.
    Number(Number),
    /// `{%r1, %r2}`
    Vector(Vec<Operand<'t>>),
    /// `[%rd1+16]`
    Address(Box<Operand<'t>>, u64),
    /// `%p1|%p2`
    Pair(&'t str, &'t str),
    /// `(param0, param1)`
    List(Vec<Operand<'t>>),
}

/// One operand.
pub(crate) fn operand<'t>(cursor: &mut Cursor<'t>) -> Result<Operand<'t>> {
    Ok(match cursor.peek() {
        "{" => Operand::Vector(list(cursor, "{", "}")?),
        "(" => Operand::List(list(cursor, "(", ")")?),
        "[" => address(cursor)?,
        "!" => {
            cursor.expect("!")?;
            Operand::Not(cursor.take()?)
        }
        "-" => {
            cursor.expect("-")?;
            let at_number = *cursor;
            match Number::parse(cursor.take()?) {
                Some(number) => Operand::Number(number.negated()),
                None => return Err(at_number.expected("a number")),
            }
        }
        text if text.starts_with(|first: char| first.is_ascii_digit()) => {
            let Some(number) = Number::parse(text) else {
                return Err(cursor.expected("a number"));
            };
            cursor.take()?;
            Operand::Number(number)
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

fn list<'t>(cursor: &mut Cursor<'t>, opening: &str, closing: &str) -> Result<Vec<Operand<'t>>> {
    cursor.expect(opening)?;
    let mut items = Vec::new();
    while !cursor.accept(closing) {
        items.push(operand(cursor)?);
        if !cursor.accept(",") && cursor.peek() != closing {
            return Err(cursor.expected(closing));
        }
    }
    Ok(items)
}

fn address<'t>(cursor: &mut Cursor<'t>) -> Result<Operand<'t>> {
    cursor.expect("[")?;
    let base = operand(cursor)?;
    let negative = match cursor.peek() {
        "+" => {
            cursor.expect("+")?;
            cursor.accept("-")
        }
        _ => cursor.accept("-"),
    };
    let offset = match cursor.peek() {
        "]" => 0,
        text => {
            let Some(value) = integer(text) else {
                return Err(cursor.expected("an offset"));
            };
            cursor.take()?;
            match negative {
                true => value.wrapping_neg(),
                false => value,
            }
        }
    };
    cursor.expect("]")?;
    Ok(Operand::Address(Box::new(base), offset))
}

/// All operands up to the semicolon.
pub(crate) fn operands<'t>(cursor: &mut Cursor<'t>) -> Result<Vec<Operand<'t>>> {
    let mut found = Vec::new();
    while !cursor.accept(";") {
        found.push(operand(cursor)?);
        if !cursor.accept(",") && cursor.peek() != ";" {
            return Err(cursor.expected("`,` or `;`"));
        }
    }
    Ok(found)
}
