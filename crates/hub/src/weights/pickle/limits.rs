//! Limits on the memory and the nesting of a pickle, checked by walking its opcodes before candle
//! reads it. Candle copies objects into and out of the memo, allocates texts of any length that the
//! pickle states, and nests objects without a limit.

use std::collections::HashMap;

/// The most bytes of all objects and their copies: enough for a state dict of 40,000 tensors.
const MAXIMUM_BYTES: usize = 256 << 20;

/// The most levels of objects within objects; a state dict has seven.
const MAXIMUM_DEPTH: usize = 100;

/// Bytes of an object in candle without its text and its parts.
const OBJECT: usize = 80;

type Outcome<T> = Result<T, String>;

/// The memory and the nesting of an object with all of its parts.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    bytes: usize,
    depth: usize,
}

impl Size {
    fn text(length: usize) -> Self {
        Self {
            bytes: OBJECT + length,
            depth: 1,
        }
    }

    /// An object that contains parts.
    fn containing(parts: &[Entry]) -> Self {
        let whole = Self::text(0);
        parts
            .iter()
            .fold(whole, |whole, part| whole.with(part.size()))
    }

    /// This object with one more part.
    fn with(self, part: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(part.bytes),
            depth: self.depth.max(part.depth + 1),
        }
    }
}

/// An entry of the stack or of the memo. Marks count too, because candle copies them like objects.
#[derive(Debug, Clone, Copy)]
enum Entry {
    Mark,
    Object(Size),
}

impl Entry {
    fn size(self) -> Size {
        match self {
            Self::Mark => Size::text(0),
            Self::Object(size) => size,
        }
    }
}

struct OpcodeWalk<'a> {
    rest: &'a [u8],
    stack: Vec<Entry>,
    memo: HashMap<usize, Entry>,
    /// Bytes of all objects so far.
    bytes: usize,
}

/// Checks that candle can read a pickle within the limits. Bytes that are no pickle pass: candle
/// refuses them.
pub(super) fn check(pickle: &[u8]) -> Outcome<()> {
    let mut walk = OpcodeWalk {
        rest: pickle,
        stack: Vec::new(),
        memo: HashMap::new(),
        bytes: 0,
    };
    while let Some(opcode) = walk.byte() {
        if !walk.step(opcode)? {
            break;
        }
    }
    Ok(())
}

impl OpcodeWalk<'_> {
    /// Follows one opcode (named as in Python's `pickletools`) as candle does. False at the end of
    /// the pickle, and where candle returns an error.
    fn step(&mut self, opcode: u8) -> Outcome<bool> {
        match opcode {
            0x80 => {
                self.take(1);
                Ok(true)
            }
            b'K' => self.number(1),
            b'M' => self.number(2),
            b'J' => self.number(4),
            b'G' => self.number(8),
            0x8a => {
                let length = self.unsigned(1);
                self.number(length)
            }
            b'c' => {
                let length = self.line() + self.line();
                self.push(Entry::Object(Size::text(length)))
            }
            b'X' => self.text(),
            // For `d` candle pushes an empty dictionary, and leaves the mark on the stack.
            b'N' | 0x88 | 0x89 | b'}' | b')' | b']' | b'd' => {
                self.push(Entry::Object(Size::text(0)))
            }
            b'(' => self.push(Entry::Mark),
            b't' => {
                let parts = self.after_mark();
                self.wrap(parts)
            }
            b'Q' | 0x85 => {
                let parts = self.last(1);
                self.wrap(parts)
            }
            0x86 | b'R' | b'b' | 0x81 => {
                let parts = self.last(2);
                self.wrap(parts)
            }
            0x87 => {
                let parts = self.last(3);
                self.wrap(parts)
            }
            b'a' => {
                let parts = self.last(1);
                self.append(parts)
            }
            b's' => {
                let parts = self.last(2);
                self.append(parts)
            }
            b'e' | b'u' => {
                let parts = self.after_mark();
                self.append(parts)
            }
            b'h' => self.get_memo(1),
            b'j' => self.get_memo(4),
            b'q' => self.put_memo(1),
            b'r' => self.put_memo(4),
            // The end, or an opcode that candle does not read.
            _ => Ok(false),
        }
    }

    fn take(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).first().copied()
    }

    /// Reads an unsigned number of one to four bytes, little endian.
    fn unsigned(&mut self, bytes: usize) -> usize {
        let bytes = self.take(bytes).iter().rev();
        bytes.fold(0, |number, &byte| number << 8 | usize::from(byte))
    }

    /// Passes over a line, and returns its length.
    fn line(&mut self) -> usize {
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        let length = end.unwrap_or(self.rest.len());
        self.take(length + 1);
        length
    }

    fn number(&mut self, bytes: usize) -> Outcome<bool> {
        self.take(bytes);
        self.push(Entry::Object(Size::text(0)))
    }

    fn text(&mut self) -> Outcome<bool> {
        let length = self.unsigned(4);
        if length > self.rest.len() {
            return Err(format!(
                "a text of its pickle has {length} bytes, of which {} are there",
                self.rest.len()
            ));
        }
        self.take(length);
        self.push(Entry::Object(Size::text(length)))
    }

    fn push(&mut self, entry: Entry) -> Outcome<bool> {
        self.count(entry.size())?;
        self.stack.push(entry);
        Ok(true)
    }

    fn count(&mut self, size: Size) -> Outcome<()> {
        self.bytes = self.bytes.saturating_add(size.bytes);
        if self.bytes > MAXIMUM_BYTES {
            return Err(format!(
                "reading its pickle takes more than the limit of {} MiB",
                MAXIMUM_BYTES >> 20
            ));
        }
        if size.depth > MAXIMUM_DEPTH {
            return Err(format!(
                "objects of its pickle nest more than {MAXIMUM_DEPTH} deep"
            ));
        }
        Ok(())
    }

    /// Pops the entries after the last mark, and the mark; `None` if there is no mark.
    fn after_mark(&mut self) -> Option<Vec<Entry>> {
        let is_mark = |entry: &Entry| matches!(entry, Entry::Mark);
        let mark = self.stack.iter().rposition(is_mark)?;
        let parts = self.stack.split_off(mark + 1);
        self.stack.pop();
        Some(parts)
    }

    /// Pops the last `count` entries; `None` if there are fewer.
    fn last(&mut self, count: usize) -> Option<Vec<Entry>> {
        let start = self.stack.len().checked_sub(count)?;
        Some(self.stack.split_off(start))
    }

    /// Pushes an object that contains parts, whose bytes were counted before.
    fn wrap(&mut self, parts: Option<Vec<Entry>>) -> Outcome<bool> {
        let Some(parts) = parts else {
            return Ok(false);
        };
        let whole = Size::containing(&parts);
        self.count(Size {
            bytes: OBJECT,
            depth: whole.depth,
        })?;
        self.stack.push(Entry::Object(whole));
        Ok(true)
    }

    /// Moves parts into the last object of the stack.
    fn append(&mut self, parts: Option<Vec<Entry>>) -> Outcome<bool> {
        let (Some(parts), Some(Entry::Object(last))) = (parts, self.stack.last_mut()) else {
            return Ok(false);
        };
        *last = parts
            .iter()
            .fold(*last, |whole, part| whole.with(part.size()));
        let depth = last.depth;
        self.count(Size { bytes: 0, depth })?;
        Ok(true)
    }

    /// Pushes a copy of an entry of the memo, whose index has `bytes` bytes.
    fn get_memo(&mut self, bytes: usize) -> Outcome<bool> {
        let at = self.unsigned(bytes);
        match self.memo.get(&at) {
            Some(entry) => self.push(*entry),
            None => Ok(false),
        }
    }

    /// Puts a copy of the last entry into the memo, at an index of `bytes` bytes.
    fn put_memo(&mut self, bytes: usize) -> Outcome<bool> {
        let at = self.unsigned(bytes);
        let Some(&last) = self.stack.last() else {
            return Ok(false);
        };
        self.count(last.size())?;
        self.memo.insert(at, last);
        Ok(true)
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
    fn a_list_that_doubles_again_and_again_is_refused() {
        // Each round takes a list out of the memo twice, and puts a list of both into it.
        let step = b"(h\0h\0tq\0";
        refused(&[b"]q\0", &step.repeat(40)[..]].concat(), "256 MiB");
        assert_eq!(
            check(&[b"]q\0", &step.repeat(3)[..], b"."].concat()),
            Ok(())
        );
    }

    #[test]
    fn opcodes_are_followed_as_candle_reads_them() {
        // For `d` candle pushes an empty dictionary and pops no mark: the list doubles in each round.
        let round = b"]h\0ah\0a(dtaq\0".repeat(40);
        refused(&[b"]q\0", &round[..]].concat(), "256 MiB");
        // Marks take memory.
        refused(&b"(".repeat(10_000_000), "256 MiB");
    }

    #[test]
    fn a_long_list_that_is_put_into_the_memo_again_and_again_is_refused() {
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
    fn objects_nested_too_deeply_are_refused() {
        refused(&[b"N", &b"\x85".repeat(1_000_000)[..]].concat(), "100 deep");
        // Through the memo: each list holds a copy of the one before.
        let levels = b"]h\0aq\0".repeat(10_000);
        refused(&[b"]q\0", &levels[..]].concat(), "100 deep");
    }

    #[test]
    fn every_prefix_of_a_pickle_is_walked_without_a_panic() {
        let pickle = b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((K\x01tQK\0J\0\0\0\0\x85K\x01\x85\x89}tRs.";
        for length in 0..pickle.len() {
            let _either = check(&pickle[..length]);
        }
        assert_eq!(check(pickle), Ok(()));
    }
}
