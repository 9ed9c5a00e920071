//! Is a matrix product right that uses cp.async, ldmatrix and mma.sync?

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use crate::device;

use device::{Device, Draws};
use half::{bf16, f16};
use uard_ptx::Argument;

/// One rounding to single precision for each 16 of the depth.
const TOLERANCE: f64 = 1e-6;

fn halves(draws: &mut Draws, count: usize) -> Vec<bf16> {
    (0..count).map(|_| bf16::from_f32(draws.unit())).collect()
}

#[test]
fn tiles_in_two_buffers_give_the_product() {
    let mut device = Device::new(include_str!("kernels/product.ptx"));
    let mut draws = Draws(3);
    for (m, n, k) in [
        (1, 1, 8),
        (32, 16, 32),
        (33, 17, 40),
        (70, 50, 136),
        (5, 100, 96),
    ] {
        let (a, b) = (halves(&mut draws, m * k), halves(&mut draws, n * k));
        let bits = |all: &[bf16]| all.iter().map(|one| one.to_bits()).collect::<Vec<u16>>();
        let (to_a, to_b) = (device.with(&bits(&a)), device.with(&bits(&b)));
        let c = device.room::<f32>(m * n);
        let sides = [m, n, k].map(|side| Argument::I32(side as i32));
        let [by_m, by_n, by_k] = &sides;
        let grid = [n.div_ceil(16) as u32, m.div_ceil(32) as u32, 1];
        device
            .launch_shape(
                "product",
                (grid, [64, 1, 1], 0),
                &[&to_a, &to_b, &c, by_m, by_n, by_k],
            )
            .unwrap();
        for (at, found) in device.read::<f32>(&c, m * n).into_iter().enumerate() {
            let (row, column) = (at / n, at % n);
            let expected: f64 = (0..k)
                .map(|inner| a[row * k + inner].to_f64() * b[column * k + inner].to_f64())
                .sum();
            let size = (k as f64).sqrt();
            assert!(
                (f64::from(found) - expected).abs() <= TOLERANCE * size,
                "{m} {n} {k}: row {row}, column {column}: {found} for {expected}"
            );
        }
    }
}

#[test]
fn fragments_lie_as_documented() {
    let mut device = Device::new(include_str!("kernels/product.ptx"));
    // Small whole numbers: every sum is exact, and every place has a value of its own.
    let a: Vec<f32> = (0..16 * 16).map(|i| (i * 7 % 31) as f32 - 15.0).collect();
    let b: Vec<f32> = (0..16 * 8).map(|i| (i * 11 % 29) as f32 - 14.0).collect();
    let bits = |all: &[f32]| {
        let half = |&one: &f32| f16::from_f32(one).to_bits();
        all.iter().map(half).collect::<Vec<u16>>()
    };
    let (to_a, to_b) = (device.with(&bits(&a)), device.with(&bits(&b)));
    let (p, q) = (device.with(&a[..16 * 8]), device.with(&b[..8 * 8]));
    let (c, d) = (device.room::<f32>(128), device.room::<f32>(128));
    device
        .launch("fragments", (1, 32), &[&to_a, &to_b, &p, &q, &c, &d])
        .unwrap();
    let (c, d) = (device.read::<f32>(&c, 128), device.read::<f32>(&d, 128));
    for row in 0..16 {
        for column in 0..8 {
            let start = (1 + row / 8 * 2 + column % 2) as f32;
            // `b` has a row for each step of the depth, `q` a row for each column.
            let sum = |inner| a[row * 16 + inner] * b[inner * 8 + column];
            let expected = start + (0..16).map(sum).sum::<f32>();
            assert_eq!(c[row * 8 + column], expected, "f16 {row} {column}");
            let sum = |inner| a[row * 8 + inner] * b[column * 8 + inner];
            let expected = (0..8).map(sum).sum::<f32>();
            assert_eq!(d[row * 8 + column], expected, "tf32 {row} {column}");
        }
    }
}
