//! Do integers, conversions and functions of numbers come out as Rust has them?

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use crate::device;

use device::{Device, Draws};
use half::{bf16, f16};
use uard_ptx::Argument;

/// Libraries of CUDA and of Rust round differently: CUDA's bound for these functions is 2 to 4
/// units in the last place, and powf has 4.
const SINGLE: f32 = 1e-6;
const DOUBLE: f64 = 1e-14;

fn basic() -> Device {
    Device::new(include_str!("kernels/basic.ptx"))
}

#[test]
fn integers_wrap_divide_and_count_as_in_rust() {
    const CORNERS: [i64; 8] = [0, 1, -1, 7, i64::MIN, i64::MAX, i32::MIN as i64, 1 << 31];
    let mut draws = Draws(7);
    let mut next = |i: usize| match i {
        0..8 => CORNERS[i],
        _ => (draws.next() >> (i % 60)) as i64,
    };
    let l: Vec<i64> = (0..64).map(&mut next).collect();
    let q: Vec<i64> = (0..64).map(|i| next(i * 5 % 64 + 1)).collect();
    // A division by zero has no value in CUDA C++.
    let q: Vec<i64> = q.into_iter().map(|q| if q == 0 { 3 } else { q }).collect();
    let narrow = |&v: &i64| if v as i32 == 0 { 5 } else { v as i32 };
    let (a, b): (Vec<i32>, Vec<i32>) = (
        l.iter().map(|&v| v as i32).collect(),
        q.iter().map(narrow).collect(),
    );
    let (c, d): (Vec<u32>, Vec<u32>) = (
        a.iter().map(|&v| v as u32).collect(),
        b.iter().map(|&v| v as u32).collect(),
    );
    let mut device = basic();
    let both = |x: &[i32], y: &[i32]| [x, y].concat();
    let (x, u) = (
        device.with(&both(&a, &b)),
        device.with(&[c.clone(), d.clone()].concat()),
    );
    let w = device.with(&[l.clone(), q.clone()].concat());
    let (r, s) = (device.room::<u32>(64 * 20), device.room::<i64>(64 * 8));
    let arguments = [&x, &u, &w, &r, &s, &Argument::I32(64)];
    device.launch("integers", (1, 64), &arguments).unwrap();
    let (found, wide) = (device.read::<u32>(&r, 1280), device.read::<i64>(&s, 512));
    for i in 0..64 {
        let expected = narrow_results((a[i], b[i]), (c[i], d[i]));
        assert_eq!(
            found[20 * i..20 * i + 20],
            expected,
            "row {i}: {} {}",
            a[i],
            b[i]
        );
        let expected = wide_results(l[i], q[i], (a[i], b[i]));
        assert_eq!(
            wide[8 * i..8 * i + 8],
            expected,
            "row {i}: {} {}",
            l[i],
            q[i]
        );
    }
}

fn narrow_results((a, b): (i32, i32), (c, d): (u32, u32)) -> [u32; 20] {
    let bytes = [(a as u32).to_le_bytes(), (b as u32).to_le_bytes()].concat();
    let picked = [0, 4, 2, 5].map(|place: usize| bytes[place]);
    let shift = a as u32 & 31;
    let funnel = ((u64::from(d) << 32 | u64::from(c)) << shift >> 32) as u32;
    [
        a.wrapping_div(b) as u32,
        a.wrapping_rem(b) as u32,
        c / d,
        c % d,
        a.count_ones(),
        a.leading_zeros(),
        a.reverse_bits() as u32,
        if a == 0 { 0 } else { a.trailing_zeros() + 1 },
        a.wrapping_abs() as u32,
        a.min(b) as u32,
        c.max(d),
        ((i64::from(a) * i64::from(b)) >> 32) as u32,
        ((u64::from(c) * u64::from(d)) >> 32) as u32,
        u32::from_le_bytes(picked),
        funnel,
        (a >> (b & 31)) as u32,
        c << (d & 31),
        a as i8 as u32,
        u32::from(b as u16),
        c >> 5 & 0x3ff,
    ]
}

fn wide_results(p: i64, q: i64, (a, b): (i32, i32)) -> [i64; 8] {
    [
        p.wrapping_div(q),
        p.wrapping_rem(q),
        (p as u64 / q as u64) as i64,
        ((i128::from(p) * i128::from(q)) >> 64) as i64,
        p.wrapping_mul(q),
        p >> (q & 63),
        i64::from(a) * i64::from(b),
        i64::from(p.count_ones() + (q as u64).leading_zeros()),
    ]
}

#[test]
fn chains_of_carries_divide_128_bits() {
    let mut draws = Draws(11);
    let mut next = |i: usize| {
        let whole = u128::from(draws.next()) << 64 | u128::from(draws.next());
        whole >> (i * 13 % 120)
    };
    let a: Vec<u128> = (0..32).map(&mut next).collect();
    let b: Vec<u128> = (0..32).map(|i| next(7 * i + 3).max(1)).collect();
    let mut device = Device::new(include_str!("kernels/wide.ptx"));
    let (to_a, to_b, r) = (device.with(&a), device.with(&b), device.room::<u128>(128));
    device.launch("wide", (1, 32), &[&to_a, &to_b, &r]).unwrap();
    for (i, found) in device.read::<u128>(&r, 128).chunks(4).enumerate() {
        let (a, b) = (a[i], b[i]);
        let expected = [
            a / b,
            a.wrapping_mul(b),
            a.wrapping_sub(b),
            a.wrapping_add(b),
        ];
        assert_eq!(found, expected, "{a} {b}");
    }
}

#[test]
fn conversions_round_clamp_and_keep_nan() {
    let corners = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        2.5,
        0.3,
        1e10,
        -1e10,
        3e38,
        1e-40,
        65504.0,
        65520.0,
        1e-7,
        127.5,
        -200.7,
        4294967040.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1e20,
    ];
    let mut draws = Draws(2);
    let mut x = corners.to_vec();
    x.extend((0..44).map(|i| draws.unit() * 10f32.powi(i - 20)));
    let count = x.len();
    let mut device = basic();
    let to_x = device.with(&x);
    let (r, w) = (device.room::<u32>(12 * count), device.room::<i64>(count));
    let arguments = [&to_x, &r, &w, &Argument::I32(count as i32)];
    device.launch("conversions", (1, 64), &arguments).unwrap();
    let (found, wide) = (
        device.read::<u32>(&r, 12 * count),
        device.read::<i64>(&w, count),
    );
    for (i, &v) in x.iter().enumerate() {
        let (b, h) = match v.is_nan() {
            true => (0x7fff, 0x7fff),
            false => (bf16::from_f32(v).to_bits(), f16::from_f32(v).to_bits()),
        };
        let back = match v.is_nan() {
            true => 0x7fff_ffff,
            false => f16::from_bits(h).to_f32().to_bits(),
        };
        let expected = [
            u32::from(b),
            u32::from(h),
            back,
            u32::from(b) << 16 | 0x3f80,
            v as i32 as u32,
            v as u32,
            v.round_ties_even() as i32 as u32,
            v.ceil() as i32 as u32,
            if v > 0.0 { v.min(1.0).to_bits() } else { 0 },
            v.floor() as i32 as u32,
            v as i32 as i8 as u32,
            u32::from(v < 1.0),
        ];
        assert_eq!(found[12 * i..12 * i + 12], expected, "{v:e}");
        let expected = if v.is_nan() { i64::MIN } else { v as i64 };
        assert_eq!(wide[i], expected, "{v:e}");
    }
}

#[test]
fn functions_agree_with_those_of_rust() {
    let count = 61;
    let x: Vec<f32> = (0..count).map(|i| 0.01 + 0.37 * i as f32).collect();
    let d: Vec<f64> = (0..count).map(|i| 0.02 + 0.29 * i as f64).collect();
    let mut device = basic();
    let (to_x, to_d) = (device.with(&x), device.with(&d));
    let (y, e) = (
        device.room::<f32>(12 * count),
        device.room::<f64>(6 * count),
    );
    let arguments = [&to_x, &y, &to_d, &e, &Argument::I32(count as i32)];
    device.launch("functions", (1, 64), &arguments).unwrap();
    let (y, e) = (
        device.read::<f32>(&y, 12 * count),
        device.read::<f64>(&e, 6 * count),
    );
    for i in 0..count {
        let v = x[i];
        let expected = [
            v.exp(),
            v.ln(),
            v.sin(),
            v.tanh(),
            v.sqrt(),
            1.0 / v.sqrt(),
            3.0 / v,
            v.powf(1.7),
            y[8 * count + i],
            (v * 7.0).round_ties_even(),
            v % 0.3,
            (v * 1e6).cos(),
        ];
        for (row, expected) in expected.into_iter().enumerate() {
            let found = y[row * count + i];
            let off = (found - expected).abs();
            assert!(
                off <= SINGLE * expected.abs().max(0.1),
                "row {row} of {v}: {found} {expected}"
            );
        }
        let v = d[i];
        let whole = (v * 1e9) as i64 as f64;
        let expected = [
            v.exp(),
            v.ln(),
            v.sqrt() / 3.0,
            v.sin(),
            whole,
            v.mul_add(v, -1.0),
        ];
        for (row, expected) in expected.into_iter().enumerate() {
            let found = e[row * count + i];
            let off = (found - expected).abs();
            assert!(
                off <= DOUBLE * expected.abs().max(0.1),
                "row {row} of {v}: {found} {expected}"
            );
        }
    }
    // erf grows from 0 to 1.
    let erf = &y[8 * count..9 * count];
    assert!(erf.is_sorted() && erf[0] < 0.02 && erf[count - 1] == 1.0);
}
