//! Do kernels that NVRTC compiled give what plain loops give?

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use crate::device;

use device::{Device, Draws, Number};
use uard_ptx::Argument;

fn basic() -> Device {
    Device::new(include_str!("kernels/basic.ptx"))
}

#[test]
fn saxpy_leaves_the_ragged_end_alone() {
    let mut device = basic();
    let x: Vec<f32> = (0..1000).map(|i| i as f32 * 0.5).collect();
    let y: Vec<f32> = (0..1024).map(|i| 3.0 - i as f32).collect();
    let (to_x, to_y) = (device.with(&x), device.with(&y));
    let (Argument::Address(by_x), Argument::Address(by_y)) = (&to_x, &to_y) else {
        unreachable!()
    };
    let mut scale = [by_x.to_le_bytes(), by_y.to_le_bytes()].concat();
    scale.extend(1000_i32.bytes());
    scale.extend(1.5_f32.bytes());
    scale.resize(24, 0);
    device
        .launch("saxpy", (4, 256), &[&Argument::Bytes(scale)])
        .unwrap();
    let mut expected = y.clone();
    for (y, x) in expected.iter_mut().zip(&x) {
        *y = 1.5_f32.mul_add(*x, *y);
    }
    assert_eq!(device.read::<f32>(&to_y, 1024), expected);
}

#[test]
fn a_block_sums_by_shuffles_and_shared_memory() {
    let mut device = basic();
    for (count, threads) in [(1, 32), (33, 64), (1000, 256), (5000, 1024)] {
        let x: Vec<f32> = (0..count).map(|i| (i % 17) as f32).collect();
        let (to_x, out) = (device.with(&x), device.room::<f32>(1));
        device
            .launch("sum", (1, threads), &[&to_x, &out, &Argument::I32(count)])
            .unwrap();
        assert_eq!(device.read::<f32>(&out, 1)[0], x.iter().sum::<f32>());
    }
}

#[test]
fn lanes_leave_a_loop_at_different_times_and_meet_again() {
    let mut device = basic();
    let x: Vec<u32> = (1..=64).collect();
    let (to_x, out) = (device.with(&x), device.room::<u32>(128));
    device.launch("collatz", (1, 64), &[&to_x, &out]).unwrap();
    let found = device.read::<u32>(&out, 128);
    let steps = |mut n: u32| {
        let mut steps = 0;
        while n != 1 {
            n = if n % 2 == 1 { 3 * n + 1 } else { n / 2 };
            steps += 1;
        }
        steps
    };
    let expected: Vec<u32> = x.iter().map(|&n| steps(n)).collect();
    assert_eq!(found[..64], expected);
    for (lane, &ballot) in found[64..].iter().enumerate() {
        let warp = lane / 32 * 32;
        let yes = (0..32).fold(0, |all, bit| {
            all | u32::from(expected[warp + bit] > 50) << bit
        });
        assert_eq!(ballot, yes);
    }
}

#[test]
fn atomics_of_several_blocks_add_up() {
    let mut device = basic();
    let mut draws = Draws(1);
    let x: Vec<u32> = (0..512).map(|_| (draws.next() % 1000) as u32).collect();
    let to_x = device.with(&x);
    let (count, total, largest) = (
        device.with(&[0_u32; 16]),
        device.with(&[0.0_f32]),
        device.with(&[-5_i32]),
    );
    device
        .launch("histogram", (4, 128), &[&to_x, &count, &total, &largest])
        .unwrap();
    let mut bins = vec![0; 16];
    for value in &x {
        bins[(value % 16) as usize] += 1;
    }
    assert_eq!(device.read::<u32>(&count, 16), bins);
    assert_eq!(device.read::<f32>(&total, 1), [256.0]);
    let max = *x.iter().max().unwrap() as i32;
    assert_eq!(device.read::<i32>(&largest, 1), [max]);
}

#[test]
fn functions_are_called_and_variables_of_the_module_stay() {
    let mut device = basic();
    let x: Vec<f32> = (0..32).map(|i| 0.1 * i as f32).collect();
    for seen in 5..7 {
        let (to_x, to_seen) = (device.with(&x), device.room::<i32>(1));
        device
            .launch("call", (1, 32), &[&to_x, &Argument::I32(9), &to_seen])
            .unwrap();
        assert_eq!(device.read::<i32>(&to_seen, 1), [seen]);
        for (lane, found) in device.read::<f32>(&to_x, 32).into_iter().enumerate() {
            let mut terms: Vec<f32> = (0..8).map(|i| i as f32).collect();
            let (mut sum, mut power) = (0.0_f32, 1.0_f32);
            for i in 0..9 + lane % 2 {
                terms[i % 8] += power;
                sum += power;
                power *= x[lane];
            }
            let expected = sum + terms[lane % 8] + [1.0, 2.0, 3.5, 4.0][lane % 4];
            assert_eq!(found, expected, "lane {lane}");
        }
    }
}

#[test]
fn dynamic_shared_memory_is_as_large_as_the_launch_says() {
    let mut device = basic();
    let x: Vec<f32> = (0..4 * 64).map(|i| i as f32).collect();
    let (to_x, to_y) = (device.with(&x), device.room::<f32>(256));
    let mut launch = |bytes| {
        let shape = ([1, 1, 1], [16, 4, 1], bytes);
        device.launch_shape("reverse", shape, &[&to_x, &to_y])
    };
    // threadIdx.x alone tells threads apart: four write the same place.
    assert!(launch(1024).unwrap_err().to_string().contains("race"));
    let shape = ([1, 1, 1], [64, 1, 1], 1023);
    let short = device.launch_shape("reverse", shape, &[&to_x, &to_y]);
    assert!(short.unwrap_err().to_string().contains("out of bounds"));
    let shape = ([1, 1, 1], [64, 1, 1], 1024);
    device
        .launch_shape("reverse", shape, &[&to_x, &to_y])
        .unwrap();
    let found = device.read::<f32>(&to_y, 256);
    assert_eq!(found[..8], [252., 253., 254., 255., 248., 249., 250., 251.]);
}

#[test]
fn lanes_talk_to_each_other() {
    let mut device = basic();
    let x: Vec<i32> = (0..32).map(|i| i % 5 + 1).collect();
    let (to_x, out) = (device.with(&x), device.room::<i32>(224));
    device.launch("lanes", (1, 32), &[&to_x, &out]).unwrap();
    let found = device.read::<i32>(&out, 224);
    let sum: i32 = x.iter().sum();
    let above = x.iter().filter(|&&v| v > 3).count() as i32;
    for lane in 0..32_usize {
        let same = (0..32).filter(|&other| x[other] == x[lane]);
        let mask = same.fold(0_u32, |all, other| all | 1 << other);
        assert_eq!(found[lane] as u32, mask);
        assert_eq!(found[32 + lane], sum);
        assert_eq!(found[64 + lane], x[lane / 8 * 8 + 3]);
        assert_eq!(found[96 + lane], x[if lane < 2 { lane } else { lane - 2 }]);
        assert_eq!(found[128 + lane], 2);
        assert_eq!(found[160 + lane], above);
        let last = if lane < 16 { x[lane ^ 1] } else { 16 };
        assert_eq!(found[192 + lane], last);
    }
}

#[test]
fn a_switch_parts_the_lanes() {
    let mut device = basic();
    let x: Vec<i32> = (0..32).map(|i| i % 9).collect();
    let to_x = device.with(&x);
    device.launch("choose", (1, 32), &[&to_x]).unwrap();
    for (i, found) in device.read::<i32>(&to_x, 32).into_iter().enumerate() {
        let lane = i as i32;
        let expected = match x[i] {
            0 => 30,
            1 => 7,
            2 => 18,
            3 => 45,
            4 => -7,
            5 => 5 ^ lane,
            6 => lane / 3,
            7 => lane % 5,
            _ => -1,
        };
        assert_eq!(found, expected, "lane {i}");
    }
}

#[test]
fn lanes_and_warps_that_spin_let_the_others_go_on() {
    let mut device = basic();
    let (lock, count, order) = (device.with(&[0]), device.with(&[0]), device.room::<i32>(4));
    device
        .launch("locks", (1, 128), &[&lock, &count, &order])
        .unwrap();
    assert_eq!(device.read::<i32>(&count, 1), [128]);
    assert_eq!(device.read::<i32>(&order, 4), [4, 3, 2, 1]);
}

#[test]
fn a_structure_by_value_is_indexed() {
    let mut device = basic();
    let mut many = Vec::new();
    for i in 0..16_i32 {
        many.extend((15 - i).bytes());
    }
    let mut from = Vec::new();
    for i in 0..4 {
        let row: Vec<f32> = (0..16).map(|j| (100 * i + j) as f32).collect();
        let Argument::Address(address) = device.with(&row) else {
            unreachable!()
        };
        many.extend(address.bytes());
        from.push(row);
    }
    let out = device.room::<f32>(64);
    let arguments = [&Argument::Bytes(many), &out, &Argument::I32(1)];
    device.launch("indexed", (1, 128), &arguments).unwrap();
    for (i, found) in device.read::<f32>(&out, 64).into_iter().enumerate() {
        let i = 63 - i;
        assert_eq!(found, from[(i + 1) % 4][15 - i % 16]);
    }
}
