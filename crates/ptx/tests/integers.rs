//! Tests that instructions on integers, bits and predicates give the results of Rust's operations.

use crate::device::{run, run32};

const NARROW: [u32; 8] = [0, 1, 7, 31, 40, i32::MAX as u32, i32::MIN as u32, u32::MAX];

const WIDE: [u64; 8] = [
    0,
    1,
    7,
    63,
    70,
    i64::MAX as u64,
    i64::MIN as u64,
    0xdead_beef_0123_4567,
];

#[test]
fn integers_of_32_bits_agree_with_those_of_rust() {
    type Case = (&'static str, fn(u32, u32) -> u32);
    let cases: [Case; 17] = [
        ("add.s32", u32::wrapping_add),
        ("sub.s32", u32::wrapping_sub),
        ("mul.lo.s32", u32::wrapping_mul),
        ("and.b32", |a, b| a & b),
        ("or.b32", |a, b| a | b),
        ("xor.b32", |a, b| a ^ b),
        ("min.u32", u32::min),
        ("max.u32", u32::max),
        ("min.s32", |a, b| (a as i32).min(b as i32) as u32),
        ("max.s32", |a, b| (a as i32).max(b as i32) as u32),
        ("shl.b32", |a, b| a.checked_shl(b).unwrap_or(0)),
        ("shr.u32", |a, b| a.checked_shr(b).unwrap_or(0)),
        ("shr.s32", |a, b| (a as i32 >> b.min(31)) as u32),
        // Division by zero gives all ones, its remainder the dividend.
        ("div.u32", |a, b| a.checked_div(b).unwrap_or(u32::MAX)),
        ("rem.u32", |a, b| a.checked_rem(b).unwrap_or(a)),
        ("div.s32", |a, b| match b {
            0 => u32::MAX,
            _ => (a as i32).wrapping_div(b as i32) as u32,
        }),
        ("rem.s32", |a, b| match b {
            0 => a,
            _ => (a as i32).wrapping_rem(b as i32) as u32,
        }),
    ];
    for (name, expected) in cases {
        for a in NARROW {
            for b in NARROW {
                let found = run32(&format!("{name} r3, r0, r1;"), [a, b, 0]);
                assert_eq!(found, expected(a, b), "{name} {a} {b}");
            }
        }
    }
    assert_eq!(
        run32("mad.lo.s32 r3, r0, r1, r2;", [5, u32::MAX, 3]),
        -2_i32 as u32
    );
    assert_eq!(run32("not.b32 r3, r0;", [0xffff_0000, 0, 0]), 0xffff);
}

#[test]
fn integers_of_64_bits_agree_with_those_of_rust() {
    type Case = (&'static str, fn(u64, u64) -> u64);
    let cases: [Case; 12] = [
        ("add.s64 o, a, b", u64::wrapping_add),
        ("sub.s64 o, a, b", u64::wrapping_sub),
        ("mul.lo.s64 o, a, b", u64::wrapping_mul),
        ("and.b64 o, a, b", |a, b| a & b),
        ("shl.b64 o, a, r1", |a, b| {
            a.checked_shl(b as u32).unwrap_or(0)
        }),
        ("shr.u64 o, a, r1", |a, b| {
            a.checked_shr(b as u32).unwrap_or(0)
        }),
        ("shr.s64 o, a, r1", |a, b| {
            (a as i64 >> (b as u32).min(63)) as u64
        }),
        ("div.u64 o, a, b", |a, b| {
            a.checked_div(b).unwrap_or(u64::MAX)
        }),
        ("rem.u64 o, a, b", |a, b| a.checked_rem(b).unwrap_or(a)),
        ("mul.wide.u32 o, r0, r1", |a, b| {
            u64::from(a as u32) * u64::from(b as u32)
        }),
        ("mul.wide.s32 o, r0, r1", |a, b| {
            (i64::from(a as i32) * i64::from(b as i32)) as u64
        }),
        ("cvt.u64.u32 o, r0", |a, _| u64::from(a as u32)),
    ];
    for (lines, expected) in cases {
        for a in WIDE {
            for b in WIDE {
                let found = run(&format!("{lines};"), [a, b, 0]);
                assert_eq!(found, expected(a, b), "{lines} of {a} {b}");
            }
        }
    }
}

#[test]
fn integers_compare_with_and_without_sign() {
    let compare = |comparison: &str, a: u32, b: u32| {
        let lines = format!("setp.{comparison} p0, r0, r1; selp.u32 r3, 1, 0, p0;");
        run32(&lines, [a, b, 0])
    };
    let (one, minus) = (1, u32::MAX);
    for (comparison, unsigned, signed, equal) in [
        ("eq", 0, 0, 1),
        ("ne", 1, 1, 0),
        ("lt", 1, 0, 0),
        ("le", 1, 0, 1),
        ("gt", 0, 1, 0),
        ("ge", 0, 1, 1),
    ] {
        assert_eq!(
            compare(&format!("{comparison}.u32"), one, minus),
            unsigned,
            "{comparison}"
        );
        assert_eq!(
            compare(&format!("{comparison}.s32"), one, minus),
            signed,
            "{comparison}"
        );
        assert_eq!(
            compare(&format!("{comparison}.s32"), minus, minus),
            equal,
            "{comparison}"
        );
    }
    let wide = "setp.lt.u64 p0, a, b; selp.b64 o, a, b, p0;";
    assert_eq!(run(wide, [1 << 40, 1 << 41, 0]), 1 << 40);
}

#[test]
fn predicates_are_combined() {
    let lines = |combine: &str| {
        format!("setp.ne.s32 p0, r0, 0; setp.ne.s32 p1, r1, 0; {combine} selp.u32 r3, 1, 0, p2;")
    };
    let table = |combine: &str| {
        let lines = lines(combine);
        [[0, 0], [0, 1], [1, 0], [1, 1]].map(|[a, b]| run32(&lines, [a, b, 0]))
    };
    assert_eq!(table("and.pred p2, p0, p1;"), [0, 0, 0, 1]);
    assert_eq!(table("or.pred p2, p0, p1;"), [0, 1, 1, 1]);
    assert_eq!(table("not.pred p2, p0;"), [1, 1, 0, 0]);
    assert_eq!(table("mov.pred p2, p1;"), [0, 1, 0, 1]);
}

#[test]
fn a_field_of_bits_is_inserted() {
    let insert = "bfi.b32 r3, r0, r1, 8, 4;";
    assert_eq!(run32(insert, [0xff, 0, 0]), 0xf00);
    assert_eq!(run32(insert, [0, 0xffff_ffff, 0]), 0xffff_f0ff);
    assert_eq!(
        run32("bfi.b32 r3, r0, r1, 28, 8;", [0xab, 1, 0]),
        0xb000_0001
    );
    assert_eq!(run32("bfi.b32 r3, r0, r1, 32, 8;", [0xab, 1, 0]), 1);
}
