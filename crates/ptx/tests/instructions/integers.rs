//! Integers, bits, carries, and parts of registers.

use super::{run, run32};

#[test]
fn fields_of_bits() {
    let field = |line, value, at, length| run32(line, [value, at, length]);
    let unsigned = "bfe.u32 r3, r0, r1, r2;";
    let signed = "bfe.s32 r3, r0, r1, r2;";
    assert_eq!(field(unsigned, 0xdead_beef, 8, 12), 0xdbe);
    assert_eq!(field(unsigned, 0xdead_beef, 24, 20), 0xde);
    assert_eq!(field(unsigned, 0xdead_beef, 40, 4), 0);
    assert_eq!(field(signed, 0xdead_beef, 8, 8), 0xffff_ffbe);
    assert_eq!(field(signed, 0x00ad_7eef, 8, 8), 0x7e);
    assert_eq!(field(signed, 0xdead_beef, 24, 20), 0xffff_ffde);
    assert_eq!(field(signed, 0xdead_beef, 33, 2), 0xffff_ffff);
    assert_eq!(field(signed, 0xdead_beef, 3, 0), 0);
    let insert = "bfi.b32 r3, r0, r1, 8, 4;";
    assert_eq!(run32(insert, [0xff, 0, 0]), 0xf00);
    assert_eq!(run32(insert, [0, 0xffff_ffff, 0]), 0xffff_f0ff);
    assert_eq!(run("bfi.b64 o, a, b, 60, 8;", [0xab, 1, 0]), 0xb << 60 | 1);
    assert_eq!(run32("bfind.u32 r3, r0;", [0x80, 0, 0]), 7);
    assert_eq!(run32("bfind.u32 r3, r0;", [0, 0, 0]), u32::MAX);
    assert_eq!(run32("bfind.s32 r3, r0;", [0xffff_fff0, 0, 0]), 3);
    assert_eq!(run32("bfind.shiftamt.u32 r3, r0;", [0x80, 0, 0]), 24);
    assert_eq!(run32("fns.b32 r3, r0, 4, 2;", [0b1011_0100, 0, 0]), 7 - 2);
    assert_eq!(run32("fns.b32 r3, r0, 4, -2;", [0b1011_0100, 0, 0]), 2);
}

#[test]
fn bytes_and_bits_of_several_operands() {
    let permute = |selector| {
        run32(
            "prmt.b32 r3, r0, r1, r2;",
            [0x8364_2110, 0x7766_5594, selector],
        )
    };
    assert_eq!(permute(0x3210), 0x8364_2110);
    assert_eq!(permute(0x7654), 0x7766_5594);
    assert_eq!(permute(0x0b8c), 0x10ff_00ff);
    let lop3 = |table: u32| {
        run32(
            &format!("lop3.b32 r3, r0, r1, r2, {table};"),
            [0b1100, 0b1010, 0b1111],
        )
    };
    assert_eq!(lop3(0xc0), 0b1000);
    assert_eq!(lop3(0x96), 0b1100 ^ 0b1010 ^ 0b1111);
    assert_eq!(lop3(0x01), !0b1111);
    assert_eq!(
        run32("shf.l.wrap.b32 r3, r0, r1, 36;", [0xf000_0000, 0x1, 0]),
        0x1f
    );
    assert_eq!(
        run32("shf.l.clamp.b32 r3, r0, r1, 36;", [0xf000_0000, 0x1, 0]),
        0xf000_0000
    );
    assert_eq!(
        run32("shf.r.wrap.b32 r3, r0, r1, 4;", [0xf0, 0x3, 0]),
        0x3000_000f
    );
    assert_eq!(run32("shf.r.clamp.b32 r3, r0, r1, 50;", [0xf0, 0x3, 0]), 3);
    assert_eq!(
        run32(
            "dp4a.s32.s32 r3, r0, r1, 10;",
            [0xff02_0304, 0x0101_0101, 0]
        ),
        18
    );
    assert_eq!(
        run32(
            "dp4a.u32.u32 r3, r0, r1, 10;",
            [0xff02_0304, 0x0101_0101, 0]
        ),
        274
    );
    assert_eq!(run32("sad.s32 r3, r0, r1, 1;", [0xffff_fffe, 5, 0]), 8);
}

#[test]
fn carries_go_from_word_to_word() {
    let lines = "mov.b64 {r0, r1}, a; mov.b64 {r2, r4}, b;
        add.cc.u32 r0, r0, r2; addc.u32 r1, r1, r4; mov.b64 o, {r0, r1};";
    let (a, b) = (0x0123_4567_ffff_ffff, 0x1111_1111_0000_0001);
    assert_eq!(run(lines, [a, b, 0]), a + b);
    let lines = "mov.b64 {r0, r1}, a; mov.b64 {r2, r4}, b;
        sub.cc.u32 r0, r0, r2; subc.u32 r1, r1, r4; mov.b64 o, {r0, r1};";
    assert_eq!(run(lines, [b, a, 0]), b.wrapping_sub(a));
    let lines = "mad.lo.cc.u64 o, a, b, c; madc.hi.u64 o, a, b, 0;";
    let product = u128::from(a) * u128::from(b) + u128::from(u64::MAX);
    assert_eq!(run(lines, [a, b, u64::MAX]), (product >> 64) as u64);
    // After a difference the flag is set where nothing was borrowed.
    let lines = "sub.cc.u32 r4, r0, r1; addc.u32 r3, 0, 0;";
    assert_eq!([run32(lines, [5, 3, 0]), run32(lines, [3, 5, 0])], [1, 0]);
    let saturated = "add.sat.s32 r3, r0, r1;";
    assert_eq!(run32(saturated, [0x7fff_ffff, 1, 0]), 0x7fff_ffff);
}

#[test]
fn registers_are_taken_apart_and_put_together() {
    let lines = "mov.b64 {r0, r1}, a; mov.b64 o, {r1, r0};";
    assert_eq!(
        run(lines, [0x1122_3344_5566_7788, 0, 0]),
        0x5566_7788_1122_3344
    );
    let lines = "mov.b32 {h0, h1}, r0; mov.b32 r3, {h1, h0};";
    assert_eq!(run32(lines, [0x1122_3344, 0, 0]), 0x3344_1122);
    let lines = "mov.b64 {h0, h1, h2, h3}, a; mov.b64 o, {h3, h2, h1, h0};";
    assert_eq!(
        run(lines, [0x1111_2222_3333_4444, 0, 0]),
        0x4444_3333_2222_1111
    );
}
