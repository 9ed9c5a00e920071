//! Tests of instructions on single and double precision: rounding, comparison, conversion.

use crate::device::{run, run_f32, run32};

#[test]
fn comparisons_of_nan() {
    let compare = |comparison: &str, a: f32, b: f32| {
        let lines = format!("setp.{comparison}.f32 p0, f0, f1; selp.f32 f3, f2, 0f00000000, p0;");
        run_f32(&lines, [a, b, 1.0]) as u32
    };
    let double = |comparison: &str, a: f32, b: f32| {
        let lines = format!(
            "cvt.f64.f32 d0, f0; cvt.f64.f32 d1, f1; setp.{comparison}.f64 p0, d0, d1;
             selp.u32 r3, 1, 0, p0;"
        );
        run32(&lines, [a.to_bits(), b.to_bits(), 0])
    };
    let names = ["eq", "ne", "lt", "le", "gt", "ge"];
    for (name, expected) in names.into_iter().zip([0, 1, 1, 1, 0, 0]) {
        let unordered = format!("{name}u");
        assert_eq!(compare(name, 1.0, 2.0), expected, "{name}");
        assert_eq!(compare(&unordered, 1.0, 2.0), expected, "{unordered}");
        assert_eq!(compare(name, f32::NAN, 2.0), 0, "{name}");
        assert_eq!(compare(&unordered, f32::NAN, 2.0), 1, "{unordered}");
        assert_eq!(double(name, 1.0, 2.0), expected, "{name}");
        assert_eq!(double(&unordered, f32::NAN, 2.0), 1, "{unordered}");
    }
}

#[test]
fn single_precision_rounds_to_nearest_or_down() {
    let third = 1.0 / 3.0_f32;
    assert_eq!(run_f32("add.f32 f3, f0, f1;", [1.0, 1e-9, 0.0]), 1.0);
    assert_eq!(run_f32("sub.rn.f32 f3, f0, f1;", [1.0, 0.25, 0.0]), 0.75);
    assert_eq!(
        run_f32("mul.f32 f3, f0, f1;", [f32::MIN_POSITIVE, 0.5, 0.0]),
        f32::MIN_POSITIVE / 2.0
    );
    assert_eq!(run_f32("div.rn.f32 f3, f0, f1;", [1.0, 3.0, 0.0]), third);
    assert_eq!(run_f32("rcp.rn.f32 f3, f0;", [3.0, 0.0, 0.0]), third);
    assert_eq!(run_f32("sqrt.rn.f32 f3, f0;", [2.0, 0.0, 0.0]), 2f32.sqrt());
    assert_eq!(
        run_f32("fma.rn.f32 f3, f0, f1, f2;", [0.1, 0.3, -0.03]),
        0.1_f32.mul_add(0.3, -0.03)
    );
    let down = "fma.rm.f32 f3, f0, f1, f2;";
    assert_eq!(run_f32(down, [1.0, 1.0, -1e-9]), 1.0_f32.next_down());
    assert_eq!(run_f32(down, [1.0, 1.0, 1e-9]), 1.0);
}

#[test]
fn signs_extremes_and_approximations() {
    assert_eq!(run_f32("neg.f32 f3, f0;", [2.0, 0.0, 0.0]), -2.0);
    assert_eq!(run_f32("abs.f32 f3, f0;", [-2.0, 0.0, 0.0]), 2.0);
    assert_eq!(run_f32("copysign.f32 f3, f0, f1;", [-1.0, 2.0, 0.0]), -2.0);
    assert_eq!(run_f32("max.f32 f3, f0, f1;", [f32::NAN, 2.0, 0.0]), 2.0);
    assert!(run_f32("max.NaN.f32 f3, f0, f1;", [f32::NAN, 2.0, 0.0]).is_nan());
    assert_eq!(run_f32("max.NaN.f32 f3, f0, f1;", [1.0, 2.0, 0.0]), 2.0);
    for [a, b] in [[-0.0, 0.0], [0.0, -0.0]] {
        assert!(run_f32("max.f32 f3, f0, f1;", [a, b, 0.0]).is_sign_positive());
    }
    let power = "ex2.approx.ftz.f32 f3, f0;";
    assert_eq!(run_f32(power, [3.5, 0.0, 0.0]), 3.5_f32.exp2());
    // Subnormal operands and results are replaced by zero.
    assert_eq!(run_f32(power, [-140.0, 0.0, 0.0]), 0.0);
    assert_eq!(
        run_f32("rcp.approx.ftz.f32 f3, f0;", [1e-40, 0.0, 0.0]),
        f32::INFINITY
    );
    assert_eq!(run_f32("rcp.approx.ftz.f32 f3, f0;", [4.0, 0.0, 0.0]), 0.25);
}

#[test]
fn every_nan_of_single_precision_becomes_the_one_that_gpus_produce() {
    let lines = "add.f32 f3, f0, f1; mov.b32 r3, f3;";
    assert_eq!(run32(lines, [0x7f80_0001, 0, 0]), 0x7fff_ffff);
}

#[test]
fn double_precision_is_computed_as_in_rust() {
    let lines =
        |line: &str| format!("mov.b64 d0, a; mov.b64 d1, b; mov.b64 d2, c; {line} mov.b64 o, d3;");
    let (a, b, c) = (0.1, 0.7, -0.07);
    let inputs = [a, b, c].map(f64::to_bits);
    let double = |line: &str| f64::from_bits(run(&lines(line), inputs));
    assert_eq!(double("add.f64 d3, d0, d1;"), a + b);
    assert_eq!(double("sub.f64 d3, d0, d1;"), a - b);
    assert_eq!(double("fma.rn.f64 d3, d0, d1, d2;"), a.mul_add(b, c));
    assert_eq!(double("mov.f64 d3, 0d3FF8000000000000;"), 1.5);
}

#[test]
fn integers_and_floats_convert() {
    let from = |line: &str, value: u32| {
        f32::from_bits(run32(&format!("{line} mov.b32 r3, f3;"), [value, 0, 0]))
    };
    assert_eq!(from("cvt.rn.f32.u32 f3, r0;", u32::MAX), 4_294_967_296.0);
    assert_eq!(
        from("cvt.rn.f32.s32 f3, r0;", -16_777_217_i32 as u32),
        -16_777_216.0
    );
    let saturated = [-1.0, 0.5, 3.0, f32::NAN]
        .map(|value| run_f32("cvt.sat.f32.f32 f3, f0;", [value, 0.0, 0.0]));
    assert_eq!(saturated, [0.0, 0.5, 1.0, 0.0]);
}
