//! Which words and signs is a text of PTX made of?

use crate::error::{Error, Result};

/// A word or sign, and its line, counted from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'t> {
    pub(crate) text: &'t str,
    pub(crate) line: u32,
}

fn belongs_to_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'%' | b'.')
}

/// End of the word that starts at `start`; `::` belongs to it (`shared::cta`).
fn word_end(bytes: &[u8], start: usize) -> usize {
    let mut end = start;
    while end < bytes.len() {
        if belongs_to_word(bytes[end]) {
            end += 1;
        } else if bytes[end..].starts_with(b"::") {
            end += 2;
        } else {
            break;
        }
    }
    end
}

/// End of the comment or string that starts here, `None` if none starts.
fn skipped_end(text: &str, start: usize) -> Option<usize> {
    let rest = &text[start..];
    let (opening, closing) = [("//", "\n"), ("/*", "*/"), ("\"", "\"")]
        .into_iter()
        .find(|(opening, _)| rest.starts_with(opening))?;
    let after = start + opening.len();
    Some(match text[after..].find(closing) {
        // The end of the line is left to be counted.
        Some(length) if closing == "\n" => after + length,
        Some(length) => after + length + closing.len(),
        None => text.len(),
    })
}

/// Splits the text; comments are left out.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token<'_>>> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        let byte = bytes[at];
        let end = match skipped_end(text, at) {
            Some(end) => end,
            None if belongs_to_word(byte) => word_end(bytes, at),
            None => at + 1,
        };
        if !byte.is_ascii() {
            return Err(Error::Syntax {
                line,
                expected: "PTX, which is ASCII".to_owned(),
                found: text[at..].chars().take(1).collect(),
            });
        }
        let comment = byte == b'/' && end > at + 1;
        if !byte.is_ascii_whitespace() && !comment {
            found.push(Token {
                text: &text[at..end],
                line,
            });
        }
        line += bytes[at..end].iter().filter(|&&byte| byte == b'\n').count() as u32;
        at = end;
    }
    Ok(found)
}

/// A place in the tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'t> {
    tokens: &'t [Token<'t>],
    at: usize,
}

impl<'t> Cursor<'t> {
    pub(crate) fn new(tokens: &'t [Token<'t>]) -> Self {
        Self { tokens, at: 0 }
    }

    /// The next word or sign; empty at the end.
    pub(crate) fn peek(&self) -> &'t str {
        self.peek_after(0)
    }

    /// The one that comes `distance` later.
    pub(crate) fn peek_after(&self, distance: usize) -> &'t str {
        self.tokens
            .get(self.at + distance)
            .map_or("", |token| token.text)
    }

    pub(crate) fn line(&self) -> u32 {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens
            .get(self.at.min(last))
            .map_or(1, |token| token.line)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    pub(crate) fn take(&mut self) -> Result<&'t str> {
        if self.is_done() {
            return Err(self.expected("more"));
        }
        self.at += 1;
        Ok(self.tokens[self.at - 1].text)
    }

    /// Goes past `text` if it comes next.
    pub(crate) fn accept(&mut self, text: &str) -> bool {
        let found = self.peek() == text;
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, text: &str) -> Result<()> {
        match self.accept(text) {
            true => Ok(()),
            false => Err(self.expected(&format!("`{text}`"))),
        }
    }

    /// Goes past everything up to and with `text`.
    pub(crate) fn skip_past(&mut self, text: &str) -> Result<()> {
        while self.take()? != text {}
        Ok(())
    }

    /// Goes past a `{ … }` that comes next, with all braces inside.
    pub(crate) fn skip_braces(&mut self) -> Result<()> {
        self.expect("{")?;
        let mut depth = 1;
        while depth > 0 {
            match self.take()? {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn expected(&self, what: &str) -> Error {
        Error::Syntax {
            line: self.line(),
            expected: what.to_owned(),
            found: match self.is_done() {
                true => "the end".to_owned(),
                false => self.peek().to_owned(),
            },
        }
    }
}
