//! Damages the bytes of a file: flips bits, changes numbers and words, removes, repeats and inserts
//! parts.
#![allow(
    clippy::ptr_arg,
    reason = "all mutations have the same signature, and some change the length"
)]

use std::ops::Range;

use rand::Rng;
use rand::seq::IndexedRandom;
use uard_core::random::Stream;

/// Largest size of a damaged file, in bytes. Reading a larger one could take more than 10 s without
/// any error in the reader.
pub const LONGEST: usize = 1 << 17;

/// Largest number of mutations of one file.
const MOST_DAMAGES: usize = 6;

/// Values with which sizes, counts and offsets wrap, overflow or need terabytes.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1_000_000_000_000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

/// Texts that replace a number or a word of a text file.
const WORDS: [&str; 28] = [
    "0",
    "-1",
    "1",
    "65536",
    "2147483648",
    "4294967296",
    "1000000000000",
    "9223372036854775808",
    "18446744073709551616",
    "1e308",
    "-1e400",
    "1e-320",
    "0.5",
    "nan",
    "NaN",
    "inf",
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
    "[[[[[[[[",
    "\u{1b}[31mred",
    "\u{202e}",
    "../..",
    "/",
    "\t",
    "\r\n",
];

/// A mutation of bytes; the last argument is another file of the same kind.
type Damage = fn(&mut Stream, &mut Vec<u8>, &[u8]);

const DAMAGES: [Damage; 14] = [
    flip_a_bit,
    set_a_byte,
    write_a_number,
    write_a_number,
    truncate,
    remove_a_part,
    repeat_a_part,
    insert_random_bytes,
    take_from_another,
    change_digits,
    replace_a_word,
    replace_a_word,
    repeat_a_line,
    insert_a_word,
];

/// A copy with one to [`MOST_DAMAGES`] mutations, no longer than [`LONGEST`].
pub fn damaged(stream: &mut Stream, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..MOST_DAMAGES {
        if let Some(damage) = DAMAGES.choose(stream) {
            damage(stream, &mut bytes, other);
        }
        bytes.truncate(LONGEST);
        if stream.random_bool(0.5) {
            break;
        }
    }
    bytes
}

fn flip_a_bit(stream: &mut Stream, bytes: &mut Vec<u8>, _other: &[u8]) {
    if let Some(byte) = one_of(stream, bytes) {
        *byte ^= 1 << stream.random_range(0..8);
    }
}

fn set_a_byte(stream: &mut Stream, bytes: &mut Vec<u8>, _other: &[u8]) {
    if let Some(byte) = one_of(stream, bytes) {
        *byte = stream.random();
    }
}

/// Overwrites bytes with one of [`NUMBERS`], in either byte order.
fn write_a_number(stream: &mut Stream, bytes: &mut Vec<u8>, _other: &[u8]) {
    let width = *[1, 2, 4, 8].choose(stream).unwrap_or(&1);
    if bytes.len() < width {
        return;
    }
    let number = *NUMBERS.choose(stream).unwrap_or(&0);
    let start = position(stream, bytes.len() - width + 1);
    let slot = &mut bytes[start..start + width];
    if stream.random() {
        slot.copy_from_slice(&number.to_le_bytes()[..width]);
    } else {
        slot.copy_from_slice(&number.to_be_bytes()[8 - width..]);
    }
}

fn truncate(stream: &mut Stream, bytes: &mut Vec<u8>, _other: &[u8]) {
    let end = position(stream, bytes.len().max(1));
    bytes.truncate(end);
}

fn remove_a_part(stream: &mut Stream, bytes: &mut Vec<u8>, _other: &[u8]) {
    let part = part(stream, bytes.len());
    bytes.drain(part);
}

fn repeat_a_part(stream: &mut Stream, bytes: &mut Vec<u8>, _other: &[u8]) {
    let part = part(stream, bytes.len());
    let times = 1 << stream.random_range(0..8);
    let copies = bytes[part.clone()].repeat(times);
    bytes.splice(part.end..part.end, copies);
}

fn insert_random_bytes(stream: &mut Stream, bytes: &mut Vec<u8>, _other: &[u8]) {
    let mut inserted = vec![0; stream.random_range(1..=64)];
    stream.fill(&mut inserted[..]);
    let at = position(stream, bytes.len() + 1);
    bytes.splice(at..at, inserted);
}

fn take_from_another(stream: &mut Stream, bytes: &mut Vec<u8>, other: &[u8]) {
    let taken = part(stream, other.len());
    let replaced = part(stream, bytes.len());
    bytes.splice(replaced, other[taken].iter().copied());
}

/// Replaces the digits of a number by as many others, so that the length of a header stays right.
fn change_digits(stream: &mut Stream, bytes: &mut Vec<u8>, _other: &[u8]) {
    if let Some(range) = run_of(stream, bytes, u8::is_ascii_digit) {
        for digit in &mut bytes[range] {
            *digit = b'0' + stream.random_range(0..10);
        }
    }
}

fn replace_a_word(stream: &mut Stream, bytes: &mut Vec<u8>, _other: &[u8]) {
    let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    if let Some(range) = run_of(stream, bytes, is_inside) {
        let word = WORDS.choose(stream).unwrap_or(&"");
        bytes.splice(range, word.bytes());
    }
}

fn insert_a_word(stream: &mut Stream, bytes: &mut Vec<u8>, _other: &[u8]) {
    let word = WORDS.choose(stream).unwrap_or(&"");
    let at = position(stream, bytes.len() + 1);
    bytes.splice(at..at, word.bytes());
}

/// Repeats a line, or the whole text if it has no lines, up to 1,024 times.
fn repeat_a_line(stream: &mut Stream, bytes: &mut Vec<u8>, _other: &[u8]) {
    let at = position(stream, bytes.len().max(1));
    let is_end = |&byte: &u8| byte == b'\n';
    let start = bytes[..at.min(bytes.len())].iter().rposition(is_end);
    let start = start.map_or(0, |end| end + 1);
    let length = bytes[start..].iter().position(is_end);
    let end = length.map_or(bytes.len(), |length| start + length + 1);
    let most = LONGEST / (end - start).max(1);
    let times = (1 << stream.random_range(0..11)).min(most);
    let copies = bytes[start..end].repeat(times);
    bytes.splice(end..end, copies);
}

/// A random position below `end`; in half of the cases within the first 128 bytes, where headers are.
fn position(stream: &mut Stream, end: usize) -> usize {
    let near = end.min(128);
    let end = if stream.random() { near } else { end };
    stream.random_range(0..end.max(1))
}

/// A random range below `length`, short in most cases.
fn part(stream: &mut Stream, length: usize) -> Range<usize> {
    let start = position(stream, length.max(1)).min(length);
    let longest = if stream.random_bool(0.8) { 16 } else { length };
    let most = longest.min(length - start);
    start..start + stream.random_range(0..=most)
}

fn one_of<'a>(stream: &mut Stream, bytes: &'a mut [u8]) -> Option<&'a mut u8> {
    let at = position(stream, bytes.len());
    bytes.get_mut(at)
}

/// The first run of bytes for which `is_inside` is true, searched from a random position on.
fn run_of(
    stream: &mut Stream,
    bytes: &[u8],
    is_inside: impl Fn(&u8) -> bool,
) -> Option<Range<usize>> {
    let from = position(stream, bytes.len().max(1)).min(bytes.len());
    let start = from + bytes[from..].iter().position(&is_inside)?;
    let length = bytes[start..].iter().position(|byte| !is_inside(byte));
    Some(start..length.map_or(bytes.len(), |length| start + length))
}

#[cfg(test)]
mod tests {
    use uard_core::random::Draws;

    use super::*;

    #[test]
    fn every_mutation_accepts_any_bytes_and_mostly_changes_them() {
        let text = b"{\"width\": 128, \"name\": \"a\"}\nsecond line 7\n".repeat(3);
        for (at, damage) in DAMAGES.iter().enumerate() {
            let mut changed = 0;
            for draw in 0..200 {
                let mut stream = Draws::new(1).stream("damage", &[at as u64, draw]);
                let mut bytes = text.clone();
                damage(&mut stream, &mut bytes, b"another file");
                changed += usize::from(bytes != text);
                damage(&mut stream, &mut Vec::new(), b"");
            }
            assert!(changed > 100, "damage {at} changed {changed} of 200");
        }
    }

    #[test]
    fn the_same_draw_gives_the_same_bytes() {
        let again = || damaged(&mut Draws::new(3).stream("d", &[9]), b"abc def", b"ghi");
        assert_eq!(again(), again());
    }
}
