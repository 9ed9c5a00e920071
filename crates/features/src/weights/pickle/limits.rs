//! Walks the opcodes of a pickle before candle reads it, and counts what reading will take: candle
//! copies whatever a pickle keeps or takes out again, believes how long a text says it is, and
//! nests objects as deeply as the pickle says.

use std::collections::HashMap;

/// Bytes that all objects, and copies of them, may take: that of a state dict of 100,000 tensors.
const MOST_BYTES: usize = 256 << 20;

/// How deeply objects may stand within each other; a state dict needs seven levels.
const DEEPEST: usize = 100;

/// Bytes of an object in candle, without its texts and parts.
const OBJECT: usize = 80;

type Outcome<T> = Result<T, String>;

/// What an object takes, with all of its parts.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    bytes: usize,
    depth: usize,
}

impl Size {
    fn of_text(length: usize) -> Self {
        Self {
            bytes: OBJECT + length,
            depth: 1,
        }
    }

    /// An object of parts.
    fn around(parts: &[Self]) -> Self {
        let whole = Self::of_text(0);
        parts.iter().fold(whole, |whole, part| whole.with(*part))
    }

    /// The same with one more part.
    fn with(self, part: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(part.bytes),
            depth: self.depth.max(part.depth + 1),
        }
    }
}

struct Walk<'a> {
    rest: &'a [u8],
    stack: Vec<Size>,
    /// Places in the stack where marks are.
    marks: Vec<usize>,
    kept: HashMap<u32, Size>,
    /// Of all that was made so far.
    bytes: usize,
}

/// Whether candle can read a pickle within the limits. What is no pickle at all is left to candle.
pub(super) fn check(pickle: &[u8]) -> Outcome<()> {
    let mut walk = Walk {
        rest: pickle,
        stack: Vec::new(),
        marks: Vec::new(),
        kept: HashMap::new(),
        bytes: 0,
    };
    while let Some(opcode) = walk.byte() {
        if !walk.step(opcode)? {
            break;
        }
    }
    Ok(())
}

impl Walk<'_> {
    /// One opcode of pickletools; false at the end, and where candle ends with an error.
    fn step(&mut self, opcode: u8) -> Outcome<bool> {
        match opcode {
            0x80 => drop(self.take(1)),
            b'K' => self.number(1)?,
            b'M' => self.number(2)?,
            b'J' => self.number(4)?,
            b'G' => self.number(8)?,
            0x8a => {
                let length = self.byte().unwrap_or(0);
                self.number(usize::from(length))?;
            }
            b'c' => {
                let length = self.line() + self.line();
                self.push(Size::of_text(length))?;
            }
            b'X' => {
                let length = self.unsigned() as usize;
                if length > self.rest.len() {
                    return Err(format!(
                        "a text of its pickle has {length} bytes, of which {} are there",
                        self.rest.len()
                    ));
                }
                self.rest = &self.rest[length..];
                self.push(Size::of_text(length))?;
            }
            b'N' | 0x88 | 0x89 | b'}' | b')' | b']' => self.push(Size::of_text(0))?,
            b'(' => self.marks.push(self.stack.len()),
            b't' | b'd' => {
                let start = self.marks.pop().unwrap_or(0);
                self.wrap(start)?;
            }
            b'Q' | 0x85 => self.wrap_last(1)?,
            0x86 | b'R' | b'b' | 0x81 => self.wrap_last(2)?,
            0x87 => self.wrap_last(3)?,
            b'a' => self.append(self.stack.len().saturating_sub(1))?,
            b's' => self.append(self.stack.len().saturating_sub(2))?,
            b'e' | b'u' => {
                let start = self.marks.pop().unwrap_or(0);
                self.append(start)?;
            }
            b'h' => {
                let at = self.byte().unwrap_or(0);
                self.get(u32::from(at))?;
            }
            b'j' => {
                let at = self.unsigned();
                self.get(at)?;
            }
            b'q' => {
                let at = self.byte().unwrap_or(0);
                self.keep(u32::from(at))?;
            }
            b'r' => {
                let at = self.unsigned();
                self.keep(at)?;
            }
            // The end, or what candle does not know.
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).first().copied()
    }

    fn unsigned(&mut self) -> u32 {
        self.take(4)
            .first_chunk()
            .map_or(0, |four| u32::from_le_bytes(*four))
    }

    /// Passes over a line, and returns its length.
    fn line(&mut self) -> usize {
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        let length = end.unwrap_or(self.rest.len());
        self.take(length + 1);
        length
    }

    fn number(&mut self, bytes: usize) -> Outcome<()> {
        self.take(bytes);
        self.push(Size::of_text(0))
    }

    fn push(&mut self, size: Size) -> Outcome<()> {
        self.count(size)?;
        self.stack.push(size);
        Ok(())
    }

    fn count(&mut self, size: Size) -> Outcome<()> {
        self.bytes = self.bytes.saturating_add(size.bytes);
        if self.bytes > MOST_BYTES {
            return Err(format!(
                "reading its pickle takes more than the limit of {} MiB",
                MOST_BYTES >> 20
            ));
        }
        if size.depth > DEEPEST {
            return Err(format!(
                "objects of its pickle nest more than {DEEPEST} deep"
            ));
        }
        Ok(())
    }

    /// Puts all from a place of the stack on into one object.
    fn wrap(&mut self, start: usize) -> Outcome<()> {
        let parts = self.stack.split_off(start.min(self.stack.len()));
        let whole = Size::around(&parts);
        // The parts move into it and are counted already.
        self.count(Size {
            bytes: OBJECT,
            depth: whole.depth,
        })?;
        self.stack.push(whole);
        Ok(())
    }

    fn wrap_last(&mut self, count: usize) -> Outcome<()> {
        self.wrap(self.stack.len().saturating_sub(count))
    }

    /// Moves all from a place of the stack on into the object before it.
    fn append(&mut self, start: usize) -> Outcome<()> {
        let parts = self.stack.split_off(start.min(self.stack.len()));
        if let Some(last) = self.stack.last_mut() {
            *last = parts.iter().fold(*last, |whole, part| whole.with(*part));
        }
        let depth = self.stack.last().map_or(0, |last| last.depth);
        self.count(Size { bytes: 0, depth })
    }

    /// Pushes a copy of what was kept.
    fn get(&mut self, at: u32) -> Outcome<()> {
        let kept = self.kept.get(&at).copied().unwrap_or_default();
        self.push(kept)
    }

    /// Keeps a copy of the last object.
    fn keep(&mut self, at: u32) -> Outcome<()> {
        let last = self.stack.last().copied().unwrap_or_default();
        self.kept.insert(at, last);
        self.count(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(pickle: &[u8], part: &str) {
        let message = check(pickle).expect_err("above the limits");
        assert!(message.contains(part), "{message}");
    }

    #[test]
    fn what_a_pickle_doubles_again_and_again_is_refused() {
        // A list that is kept, taken out twice and made into the next one.
        let step = b"(h\0h\0tq\0";
        refused(&[b"]q\0", &step.repeat(40)[..]].concat(), "256 MiB");
        assert_eq!(
            check(&[b"]q\0", &step.repeat(3)[..], b"."].concat()),
            Ok(())
        );
    }

    #[test]
    fn a_long_list_that_is_kept_again_and_again_is_refused() {
        let list = [b"](", &b"N".repeat(10_000)[..], b"e"].concat();
        refused(&[list, b"q\0".repeat(1_000)].concat(), "256 MiB");
    }

    #[test]
    fn a_text_longer_than_its_file_is_refused() {
        refused(
            b"\x80\x02X\xff\xff\xff\xffabc",
            "4294967295 bytes, of which 3",
        );
    }

    #[test]
    fn objects_within_objects_are_refused_before_the_stack_is_full() {
        refused(&[b"N", &b"\x85".repeat(1_000_000)[..]].concat(), "100 deep");
        // Through a list that is kept: each level holds the copy of the one before.
        refused(&b"]h\0aq\0".repeat(10_000), "100 deep");
    }

    #[test]
    fn every_prefix_and_nothing_at_all_are_walked_through() {
        let pickle = b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((K\x01tQK\0J\0\0\0\0\x85K\x01\x85\x89}tRs.";
        for length in 0..pickle.len() {
            let _either = check(&pickle[..length]);
        }
        assert_eq!(check(pickle), Ok(()));
    }
}
