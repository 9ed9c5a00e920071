//! Floats of every width: rounding, comparing, converting.

use super::{run, run_f32, run32};

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
    // 1 + 2⁻¹¹ is a tie, which goes to 1; 2⁻²¹ more decides it upwards.
    assert_eq!(
        half("fma.rn.f16 h3, h0, h1, h2;", 0x3c00, 0x3c00, 0x1000),
        0x3c00
    );
    assert_eq!(
        half("fma.rn.f16 h3, h0, h1, h2;", 0x3c01, 0x1000, 0x3c00),
        0x3c01
    );
    // 1 + 2⁻¹⁰ + 2⁻¹¹ − 2⁻³¹ is no tie, but would be one in single precision.
    assert_eq!(
        half("fma.rn.f16 h3, h0, h1, h2;", 0x1001, 0x3bfe, 0x3c01),
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
