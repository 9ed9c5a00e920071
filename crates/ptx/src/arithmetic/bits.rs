//! What do the instructions compute that move and count bits?

use crate::instruction::Function;
use crate::types::Type;

/// `popc`, `clz`, `brev`, `bfind`, `fns`, `bfe`, `bfi`, `prmt`, `lop3`, `shf`, `dp4a`.
pub(crate) fn choose(name: &str, part: Option<&str>, kind: Type) -> Option<Function> {
    let wide = kind.bytes() == 8;
    Some(match (name, part) {
        ("popc", None) if wide => Function::One(|a| u64::from(a.count_ones())),
        ("popc", None) => Function::One(|a| u64::from((a as u32).count_ones())),
        ("clz", None) if wide => Function::One(|a| u64::from(a.leading_zeros())),
        ("clz", None) => Function::One(|a| u64::from((a as u32).leading_zeros())),
        ("brev", None) if wide => Function::One(u64::reverse_bits),
        ("brev", None) => Function::One(|a| u64::from((a as u32).reverse_bits())),
        ("bfind", None) => Function::One(match kind {
            Type::U32 => |a| highest(u64::from(a as u32)),
            Type::S32 => |a| highest(u64::from((a as u32) ^ ((a as i32 >> 31) as u32))),
            Type::U64 => highest,
            Type::S64 => |a| highest(a ^ ((a as i64 >> 63) as u64)),
            _ => return None,
        }),
        // The distance from the top in place of the bit's number; all ones stay.
        ("bfind", Some("shiftamt")) => Function::One(match kind {
            Type::U32 => |a| from_top(highest(u64::from(a as u32)), 31),
            Type::S32 => |a| {
                let flipped = (a as u32) ^ ((a as i32 >> 31) as u32);
                from_top(highest(u64::from(flipped)), 31)
            },
            Type::U64 => |a| from_top(highest(a), 63),
            Type::S64 => |a| from_top(highest(a ^ ((a as i64 >> 63) as u64)), 63),
            _ => return None,
        }),
        ("fns", None) => Function::Three(nth_set),
        ("bfe", None) => Function::Three(match kind {
            Type::U32 => |a, at, length| extract(u64::from(a as u32), at, length),
            Type::U64 => extract,
            Type::S32 => |a, at, length| extract_signed(a as i32 as u64, at, length, 31),
            Type::S64 => |a, at, length| extract_signed(a, at, length, 63),
            _ => return None,
        }),
        ("bfi", None) => Function::Four(insert),
        ("lop3", None) => Function::Four(any_of_three),
        ("prmt", None) => Function::Three(permute),
        ("shf", Some("l.wrap")) => Function::Three(|a, b, c| funnel_left(a, b, c & 31)),
        ("shf", Some("l.clamp")) => Function::Three(|a, b, c| funnel_left(a, b, shift(c))),
        ("shf", Some("r.wrap")) => Function::Three(|a, b, c| funnel_right(a, b, c & 31)),
        ("shf", Some("r.clamp")) => Function::Three(|a, b, c| funnel_right(a, b, shift(c))),
        ("dp4a", Some("u32.u32")) => {
            Function::Three(|a, b, c| dot(c, bytes(a).map(i64::from), bytes(b).map(i64::from)))
        }
        ("dp4a", Some("s32.s32")) => {
            Function::Three(|a, b, c| dot(c, bytes(a).map(signed), bytes(b).map(signed)))
        }
        ("dp4a", Some("u32.s32")) => {
            Function::Three(|a, b, c| dot(c, bytes(a).map(i64::from), bytes(b).map(signed)))
        }
        ("dp4a", Some("s32.u32")) => {
            Function::Three(|a, b, c| dot(c, bytes(a).map(signed), bytes(b).map(i64::from)))
        }
        _ => return None,
    })
}

/// The number of the highest set bit, all ones if there is none.
fn highest(a: u64) -> u64 {
    match a {
        0 => u64::from(u32::MAX),
        _ => u64::from(63 - a.leading_zeros()),
    }
}

fn from_top(highest: u64, top: u64) -> u64 {
    match highest == u64::from(u32::MAX) {
        true => highest,
        false => top - highest,
    }
}

/// `fns.b32`: the place of the n-th set bit from `base`, upwards or downwards.
fn nth_set(mask: u64, base: u64, n: u64) -> u64 {
    let (mask, n) = (mask as u32, n as i32);
    let set = |place: &u32| mask >> place & 1 == 1;
    let base = (base & 31) as u32;
    let found = match n {
        0 => Some(base).filter(set),
        1.. => (base..32).filter(set).nth(n as usize - 1),
        _ => (0..=base)
            .rev()
            .filter(set)
            .nth(n.unsigned_abs() as usize - 1),
    };
    u64::from(found.unwrap_or(u32::MAX))
}

fn low_bits(length: u64) -> u64 {
    match length {
        64.. => u64::MAX,
        _ => (1 << length) - 1,
    }
}

fn extract(a: u64, at: u64, length: u64) -> u64 {
    let (at, length) = (at & 0xff, length & 0xff);
    match at {
        64.. => 0,
        _ => a >> at & low_bits(length),
    }
}

/// `a` is extended by its sign; `top` is the number of its sign bit.
fn extract_signed(a: u64, at: u64, length: u64, top: u64) -> u64 {
    let (at, length) = (at & 0xff, length & 0xff);
    if length == 0 {
        return 0;
    }
    let sign = a >> (at + length - 1).min(top) & 1;
    // Bits above the number's top are its sign, as are those above the field.
    let field = (a as i64 >> at.min(63)) as u64 & low_bits(length);
    match sign {
        1 => field | !low_bits(length),
        _ => field,
    }
}

/// `bfi`: the low `length` bits of `a` in place of those of `b` from `at`.
fn insert(a: u64, b: u64, at: u64, length: u64) -> u64 {
    let (at, length) = (at & 0xff, length & 0xff);
    if at > 63 {
        return b;
    }
    let mask = low_bits(length) << at;
    b & !mask | a << at & mask
}

fn any_of_three(a: u64, b: u64, c: u64, table: u64) -> u64 {
    (0..8)
        .filter(|row| table >> row & 1 == 1)
        .fold(0, |all, row| {
            let pick = |value: u64, bit: u64| if row & bit == 0 { !value } else { value };
            all | pick(a, 4) & pick(b, 2) & pick(c, 1)
        })
}

/// `prmt.b32`: four bytes of eight; with the selector's highest bit, the byte's sign instead.
fn permute(a: u64, b: u64, selector: u64) -> u64 {
    let both = u64::from(a as u32) | b << 32;
    (0..4).fold(0, |all, place| {
        let choice = selector >> (4 * place);
        let byte = both >> (8 * (choice & 7)) & 0xff;
        let byte = match choice & 8 {
            0 => byte,
            _ => 0xff * (byte >> 7),
        };
        all | byte << (8 * place)
    })
}

fn shift(c: u64) -> u64 {
    u64::from(c as u32).min(32)
}

fn funnel_left(a: u64, b: u64, by: u64) -> u64 {
    let both = u64::from(a as u32) | b << 32;
    both << by >> 32
}

fn funnel_right(a: u64, b: u64, by: u64) -> u64 {
    let both = u64::from(a as u32) | b << 32;
    both >> by & 0xffff_ffff
}

fn bytes(a: u64) -> [u8; 4] {
    (a as u32).to_le_bytes()
}

fn signed(byte: u8) -> i64 {
    i64::from(byte as i8)
}

fn dot(start: u64, left: [i64; 4], right: [i64; 4]) -> u64 {
    let sum: i64 = left.iter().zip(right).map(|(a, b)| a * b).sum();
    start.wrapping_add(sum as u64)
}
