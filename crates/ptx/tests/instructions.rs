//! Does an instruction on its own give what the PTX manual says?

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod device;

use device::Device;
use uard_ptx::Argument;

/// Registers of every type, the inputs in `a`, `b`, `c`, and the result in `o`.
const FRAME: &str = ".version 8.0 .target sm_90 .address_size 64
.visible .entry k(.param .u64 pto, .param .u64 pa, .param .u64 pb, .param .u64 pc) {
.reg .b64 to, a, b, c, o, w<4>;
.reg .b32 r<8>;
.reg .f32 f<8>;
.reg .f64 d<4>;
.reg .b16 h<4>;
.reg .pred p<4>;
ld.param.u64 to, [pto];
ld.param.u64 a, [pa];
ld.param.u64 b, [pb];
ld.param.u64 c, [pc];
mov.u64 o, 0;
cvt.u32.u64 r0, a;
cvt.u32.u64 r1, b;
cvt.u32.u64 r2, c;
mov.b32 f0, r0;
mov.b32 f1, r1;
mov.b32 f2, r2;
mov.u32 r3, 0;
";

/// What the lines leave in `o` plus what they leave in `r3`.
fn run(lines: &str, [a, b, c]: [u64; 3]) -> u64 {
    let text = format!(
        "{FRAME}{lines}\n{{ .reg .b64 t; cvt.u64.u32 t, r3; add.u64 o, o, t; }} st.global.u64 [to], o; ret; }}"
    );
    let mut device = Device::new(&text);
    let to = device.room::<u64>(1);
    let [a, b, c] = [a, b, c].map(Argument::U64);
    device.launch("k", (1, 1), &[&to, &a, &b, &c]).unwrap();
    device.read::<u64>(&to, 1)[0]
}

fn run32(lines: &str, inputs: [u64; 3]) -> u32 {
    u32::try_from(run(lines, inputs)).unwrap()
}

fn run_f32(lines: &str, inputs: [f32; 3]) -> f32 {
    let lines = format!("{lines} mov.b32 r3, f3;");
    f32::from_bits(run32(
        &lines,
        inputs.map(|input| u64::from(input.to_bits())),
    ))
}

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

#[test]
fn comparisons_of_nan_and_their_combinations() {
    let select = "selp.u32 r3, 1, 0, p0;";
    let both = |comparison: &str, a: f32, b: f32| {
        let lines = format!("setp.{comparison}.f32 p0, f0, f1; {select}");
        run32(&lines, [a.to_bits().into(), b.to_bits().into(), 0])
    };
    let names = ["eq", "ne", "lt", "le", "gt", "ge"];
    for (name, expected) in names.into_iter().zip([0, 1, 1, 1, 0, 0]) {
        assert_eq!(both(name, 1.0, 2.0), expected, "{name}");
        assert_eq!(both(&format!("{name}u"), 1.0, 2.0), expected, "{name}u");
        assert_eq!(both(name, f32::NAN, 2.0), 0, "{name}");
        assert_eq!(both(&format!("{name}u"), f32::NAN, 2.0), 1, "{name}u");
    }
    assert_eq!((both("num", 1.0, 2.0), both("nan", 1.0, f32::NAN)), (1, 1));
    let lines = "setp.lt.u32 p1, r0, 5; setp.lt.and.s32 p0|p2, r1, 0, !p1;
        selp.u32 r3, 1, 0, p0; @p2 add.u32 r3, r3, 2;";
    let combined = |a: i32, b: i32| run32(lines, [a as u32 as u64, b as u32 as u64, 0]);
    // Both results are combined with the third predicate.
    assert_eq!(
        [
            combined(9, -1),
            combined(9, 1),
            combined(1, -1),
            combined(1, 1)
        ],
        [1, 2, 0, 0]
    );
    assert_eq!(
        run32("set.lt.u32.f32 r3, f0, 0f3F800000;", [0, 0, 0]),
        u32::MAX
    );
    assert_eq!(run_f32("set.lt.f32.f32 f3, f0, f1;", [0.0, 1.0, 0.0]), 1.0);
    assert_eq!(run32("slct.u32.s32 r3, 4, 5, r0;", [0xffff_ffff, 0, 0]), 5);
    assert_eq!(
        run32(
            "testp.subnormal.f32 p0, f0; selp.u32 r3, 1, 0, p0;",
            [1, 0, 0]
        ),
        1
    );
}

#[test]
fn a_guard_may_be_overwritten_by_its_instruction() {
    let lines = "setp.eq.u32 p0, r0, 1; @p0 setp.eq.u32 p0|p1, r1, 7; selp.u32 r3, 1, 0, p0;
        @!p0 add.u32 r3, r3, 4;";
    assert_eq!(run32(lines, [1, 7, 0]), 1);
    assert_eq!(run32(lines, [1, 8, 0]), 4);
    assert_eq!(run32(lines, [0, 7, 0]), 4);
}

#[test]
fn single_precision_rounds_flushes_and_saturates() {
    assert_eq!(run_f32("add.rz.f32 f3, f0, f1;", [1.0, 1e-9, 0.0]), 1.0);
    assert_eq!(
        run_f32("add.rp.f32 f3, f0, f1;", [1.0, 1e-9, 0.0]),
        1.0_f32.next_up()
    );
    assert_eq!(
        run_f32("fma.rm.f32 f3, f0, f1, f2;", [1.0, 1.0, -1e-9]),
        1.0_f32.next_down()
    );
    assert_eq!(
        run_f32("mul.rz.f32 f3, f0, f1;", [3e38, 3e38, 0.0]),
        f32::MAX
    );
    let third = 1.0 / 3.0_f32;
    assert_eq!(
        run_f32("rcp.rm.f32 f3, f0;", [3.0, 0.0, 0.0]),
        third.next_down()
    );
    assert_eq!(run_f32("rcp.rp.f32 f3, f0;", [3.0, 0.0, 0.0]), third);
    assert_eq!(
        run_f32("div.rz.f32 f3, f0, f1;", [-1.0, 3.0, 0.0]),
        -third.next_down()
    );
    assert_eq!(
        run_f32("sqrt.rp.f32 f3, f0;", [2.0, 0.0, 0.0]),
        2f32.sqrt().next_up()
    );
    assert_eq!(run_f32("sqrt.rp.f32 f3, f0;", [4.0, 0.0, 0.0]), 2.0);
    assert_eq!(run_f32("add.sat.f32 f3, f0, f1;", [3.0, 1.0, 0.0]), 1.0);
    assert_eq!(run_f32("add.ftz.f32 f3, f0, f1;", [1e-40, 2.0, 0.0]), 2.0);
    let tiny = f32::MIN_POSITIVE;
    assert_eq!(
        run_f32("mul.ftz.f32 f3, f0, f1;", [-tiny, 0.5, 0.0]).to_bits(),
        1 << 31
    );
    assert_eq!(run_f32("mul.f32 f3, f0, f1;", [tiny, 0.5, 0.0]), tiny / 2.0);
    assert_eq!(run_f32("min.f32 f3, f0, f1;", [f32::NAN, 2.0, 0.0]), 2.0);
    assert!(run_f32("min.NaN.f32 f3, f0, f1;", [f32::NAN, 2.0, 0.0]).is_nan());
    assert!(run_f32("max.f32 f3, f0, f1;", [-0.0, 0.0, 0.0]).is_sign_positive());
    assert_eq!(run_f32("copysign.f32 f3, f0, f1;", [-1.0, 2.0, 0.0]), -2.0);
    assert_eq!(
        run_f32("ex2.approx.ftz.f32 f3, f0;", [3.5, 0.0, 0.0]),
        3.5_f32.exp2()
    );
    assert_eq!(
        run_f32("lg2.approx.f32 f3, f0;", [0.0, 0.0, 0.0]),
        f32::NEG_INFINITY
    );
    assert_eq!(run_f32("div.full.f32 f3, f0, f1;", [1.0, 4.0, 0.0]), 0.25);
}

#[test]
fn halves_are_rounded_once() {
    let half = |line: &str, a: u16, b: u16, c: u16| {
        let lines = format!(
            "cvt.u16.u32 h0, r0; cvt.u16.u32 h1, r1; cvt.u16.u32 h2, r2; {line} cvt.u32.u16 r3, h3;"
        );
        run32(&lines, [a.into(), b.into(), c.into()])
    };
    // 1 + 2⁻¹¹ is a tie, which goes to 1; 2⁻²⁴ more decides it upwards.
    assert_eq!(
        half("fma.rn.f16 h3, h0, h1, h2;", 0x3c00, 0x3c00, 0x1000),
        0x3c00
    );
    assert_eq!(
        half("fma.rn.f16 h3, h0, h1, h2;", 0x3c01, 0x1000, 0x3c00),
        0x3c01
    );
    assert_eq!(half("add.bf16 h3, h0, h1;", 0x3f80, 0x3f80, 0), 0x4000);
    assert_eq!(half("mul.rn.bf16 h3, h0, h1;", 0x3fc0, 0x4000, 0), 0x4040);
    assert_eq!(half("max.bf16 h3, h0, h1;", 0x7fff, 0xbf80, 0), 0xbf80);
    let pairs = run32(
        "fma.rn.bf16x2 r3, r0, r1, r2;",
        [0x3f80_4000, 0x4000_4000, 0x3f80_0000],
    );
    assert_eq!(pairs, 0x4040_4080);
    assert_eq!(
        run32("add.f16x2 r3, r0, r1;", [0x3c00_4000, 0x3c00_3c00, 0]),
        0x4000_4200
    );
    assert_eq!(
        run32("neg.bf16x2 r3, r0;", [0x3f80_bf80, 0, 0]),
        0xbf80_3f80
    );
    let compared = "setp.gt.f16x2 p0|p1, r0, r1; selp.u32 r3, 1, 0, p0; @p1 add.u32 r3, r3, 2;";
    assert_eq!(run32(compared, [0x4000_3c00, 0x3c00_4000, 0]), 2);
    assert_eq!(
        run32(
            "set.gt.f16x2.f16x2 r3, r0, r1;",
            [0x4000_3c00, 0x3c00_4000, 0]
        ),
        0x3c00_0000
    );
    let single = |line: &str, value: f32| run32(line, [value.to_bits().into(), 0, 0]);
    assert_eq!(
        single("cvt.rz.bf16.f32 h3, f0; cvt.u32.u16 r3, h3;", 1.9999),
        0x3fff
    );
    assert_eq!(
        single("cvt.rn.bf16.f32 h3, f0; cvt.u32.u16 r3, h3;", 1.9999),
        0x4000
    );
    assert_eq!(
        single("cvt.rna.tf32.f32 r3, f0;", f32::from_bits(0x3f80_1000)),
        0x3f80_2000
    );
    assert_eq!(single("cvt.rn.relu.f16x2.f32 r3, f0, f0;", -1.0), 0);
    // Beyond single precision: a tie of bf16 that only the last bit of a double decides.
    let lines = "mov.b64 d0, a; cvt.rn.f16.f64 h3, d0; cvt.u32.u16 r3, h3;";
    let above = (1.0 + 2f64.powi(-11)).next_up();
    assert_eq!(run32(lines, [above.to_bits(), 0, 0]), 0x3c01);
}

#[test]
fn integers_and_floats_convert_in_every_direction() {
    let lines = |line: &str| format!("{line} mov.b32 r3, f3;");
    let from = |line: &str, value: u64| f32::from_bits(run32(&lines(line), [value, 0, 0]));
    assert_eq!(
        from("cvt.rn.f32.u64 f3, a;", u64::MAX),
        18446744073709551615.0
    );
    assert_eq!(
        from("cvt.rz.f32.u64 f3, a;", u64::MAX),
        18446742974197923840.0
    );
    assert_eq!(
        from("cvt.rm.f32.s32 f3, r0;", (-16777217_i32) as u32 as u64),
        -16777218.0
    );
    assert_eq!(
        from("cvt.rp.f32.s32 f3, r0;", (-16777217_i32) as u32 as u64),
        -16777216.0
    );
    assert_eq!(from("cvt.rn.f32.s8 f3, r0;", 0xff), -1.0);
    assert_eq!(run32("cvt.sat.u8.s32 r3, r0;", [300, 0, 0]), 255);
    assert_eq!(run32("cvt.sat.u8.s32 r3, r0;", [0xffff_fff0, 0, 0]), 0);
    assert_eq!(run32("cvt.sat.s8.u32 r3, r0;", [300, 0, 0]), 127);
    assert_eq!(run("cvt.s64.s8 o, r0;", [0x80, 0, 0]) as i64, -128);
    assert_eq!(run("cvt.u64.u16 o, r0;", [0x1_8000, 0, 0]), 0x8000);
    let double = |line: &str, value: f64| run(line, [value.to_bits(), 0, 0]);
    let line = "mov.b64 d0, a; cvt.rzi.s32.f64 r3, d0;";
    assert_eq!(double(line, f64::NAN), 0x8000_0000);
    assert_eq!(double(line, -1e20), 0x8000_0000);
    assert_eq!(
        double("mov.b64 d0, a; cvt.rpi.f64.f64 d1, d0; mov.b64 o, d1;", 1.2),
        2f64.to_bits()
    );
    assert_eq!(
        double("mov.b64 d0, a; cvt.rzi.u64.f64 o, d0;", 1e30),
        u64::MAX
    );
    let f64_to_f32 = "mov.b64 d0, a; cvt.rp.f32.f64 f3, d0; mov.b32 r3, f3;";
    let above = f32::from_bits(double(f64_to_f32, 0.1) as u32);
    assert!(f64::from(above) >= 0.1 && f64::from(above.next_down()) < 0.1);
}

#[test]
fn names_and_labels_end_with_their_braces() {
    let lines = "mov.u32 r3, 0;
        { .reg .pred p0; .reg .b32 r1; mov.u32 r1, 3;
          AGAIN: add.u32 r3, r3, 1; sub.u32 r1, r1, 1; setp.ne.u32 p0, r1, 0; @p0 bra AGAIN; }
        { .reg .pred p0; .reg .b32 r1; mov.u32 r1, 4;
          AGAIN: add.u32 r3, r3, 10; sub.u32 r1, r1, 1; setp.ne.u32 p0, r1, 0; @p0 bra AGAIN; }
        add.u32 r3, r3, r1;";
    assert_eq!(run32(lines, [0, 100, 0]), 143);
}

#[test]
fn a_list_of_targets_is_branched_by_index() {
    let lines = "TABLE: .branchtargets ZERO, ONE, TWO;
        brx.idx r0, TABLE;
        ZERO: mov.u32 r3, 5; bra.uni END;
        ONE: mov.u32 r3, 6; bra.uni END;
        TWO: mov.u32 r3, 7;
        END:";
    let found = [0, 1, 2].map(|index| run32(lines, [index, 0, 0]));
    assert_eq!(found, [5, 6, 7]);
}

#[test]
fn atomics_give_the_old_and_leave_the_new() {
    let atomic = |operation: &str, old: u64, b: u64| {
        let lines = format!(
            "{{ .shared .align 4 .u32 cell; st.shared.u32 [cell], r0; atom.shared.{operation};
             ld.shared.u32 r3, [cell]; mul.wide.u32 o, r4, 65536; }}"
        );
        let both = run(&lines, [old, b, 9]);
        (both >> 16, both & 0xffff)
    };
    assert_eq!(atomic("inc.u32 r4, [cell], r1", 4, 5), (4, 5));
    assert_eq!(atomic("inc.u32 r4, [cell], r1", 5, 5), (5, 0));
    assert_eq!(atomic("dec.u32 r4, [cell], r1", 0, 5), (0, 5));
    assert_eq!(atomic("dec.u32 r4, [cell], r1", 9, 5), (9, 5));
    assert_eq!(atomic("cas.b32 r4, [cell], r1, r2", 5, 5), (5, 9));
    assert_eq!(atomic("cas.b32 r4, [cell], r1, r2", 4, 5), (4, 4));
    assert_eq!(atomic("exch.b32 r4, [cell], r1", 4, 5), (4, 5));
    assert_eq!(atomic("max.s32 r4, [cell], r1", 4, 0xffff_ffff), (4, 4));
    assert_eq!(atomic("or.b32 r4, [cell], r1", 4, 3), (4, 7));
}

#[test]
fn addresses_go_through_windows() {
    let lines = "{ .shared .align 8 .b8 buffer[16]; .local .align 8 .b8 own[16]; .reg .b64 g, l;
        mov.u64 g, buffer; cvta.shared.u64 g, g; st.u64 [g+8], a;
        mov.u64 l, own; cvta.local.u64 l, l; st.u64 [l], b;
        isspacep.shared p0, g; isspacep.shared p1, l; isspacep.local p2, l;
        cvta.to.shared.u64 g, g; ld.shared.u64 o, [g+8]; ld.u64 w0, [l]; sub.u64 o, o, w0;
        selp.u32 r3, 1, 0, p0; @p1 add.u32 r3, r3, 2; @p2 add.u32 r3, r3, 4; }";
    assert_eq!(run(lines, [1000, 100, 0]), 905);
    let signed = "{ .shared .align 8 .b8 buffer[16]; st.shared.u64 [buffer], a;
        ld.shared.s8 r1, [buffer]; ld.shared.s16 r2, [buffer+2]; add.s32 r3, r1, r2; }";
    assert_eq!(run32(signed, [0x0005_0080, 0, 0]), (-123_i32) as u32);
}
