//! Splits PTX into words and signs.

use crate::error::{Error, Result};

/// A word or sign with its line, counted from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'t> {
    pub(crate) text: &'t str,
    pub(crate) line: u32,
}

fn belongs_to_word(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || matches!(sign, '_' | '$' | '%' | '.')
}

/// End of the comment, string, word or sign that begins at `start`.
fn token_end(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    let length = if rest.starts_with("//") {
        None
    } else if let Some(string) = rest.strip_prefix('"') {
        string.find('"').map(|length| length + 2)
    } else if rest.starts_with(belongs_to_word) {
        rest.find(|sign| !belongs_to_word(sign))
    } else {
        Some(1)
    };
    start + length.unwrap_or(rest.len())
}

/// Splits a text into tokens without its comments.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token<'_>>> {
    let mut found = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        if let Some(strange) = text.chars().find(|sign| !sign.is_ascii()) {
            return Err(Error::Syntax {
                line,
                expected: "PTX, which is ASCII".to_owned(),
                found: strange.to_string(),
            });
        }
        let mut at = 0;
        while at < text.len() {
            let start = at;
            at = token_end(text, start);
            let text = &text[start..at];
            if !text.starts_with("//") && !text.starts_with(|sign: char| sign.is_ascii_whitespace())
            {
                found.push(Token { text, line });
            }
        }
    }
    Ok(found)
}

/// A position in the tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'t> {
    tokens: &'t [Token<'t>],
    at: usize,
}

impl<'t> Cursor<'t> {
    pub(crate) fn new(tokens: &'t [Token<'t>]) -> Self {
        Self { tokens, at: 0 }
    }

    /// The next word or sign; an empty text at the end.
    pub(crate) fn peek(&self) -> &'t str {
        self.peek_after(0)
    }

    /// The word or sign `distance` tokens later.
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

    /// Takes the next token if it is `text`; returns whether it was.
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
