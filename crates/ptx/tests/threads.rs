//! Tests of divergence, collective instructions, barriers, atomics and dynamic shared memory.

use crate::device::{Device, Shape, run32, threads};

#[test]
fn a_guard_may_be_overwritten_by_its_instruction() {
    let lines = "setp.eq.s32 p0, r0, 1; @p0 setp.eq.s32 p0, r1, 7; selp.u32 r3, 1, 0, p0;
        @!p0 add.s32 r3, r3, 4;";
    assert_eq!(run32(lines, [1, 7, 0]), 1);
    assert_eq!(run32(lines, [1, 8, 0]), 4);
    assert_eq!(run32(lines, [0, 7, 0]), 4);
}

/// The lanes compute lengths of Collatz sequences, so that they leave the loop after different
/// numbers of rounds.
#[test]
fn lanes_leave_a_loop_at_different_times_and_reconverge() {
    let mut device = Device::with_lines(
        "add.s32 r0, t, 1; mov.u32 r1, 0;
         LOOP: setp.eq.s32 p0, r0, 1; @p0 bra DONE;
         and.b32 r2, r0, 1; setp.eq.s32 p0, r2, 0; @p0 bra EVEN;
         mad.lo.s32 r0, r0, 3, 1; bra.uni NEXT;
         EVEN: shr.u32 r0, r0, 1;
         NEXT: add.s32 r1, r1, 1; bra.uni LOOP;
         DONE: redux.sync.add.u32 r3, r1, -1; redux.sync.min.u32 r4, r0, -1;
         mul.wide.u32 a, t, 4; add.s64 x, x, a; st.global.u32 [x], r1;
         add.s64 y, y, a; add.s32 r3, r3, r4; st.global.u32 [y], r3;",
    );
    let (x, y) = (device.unwritten::<u32>(64), device.unwritten::<u32>(64));
    device.launch("k", threads(64), &[x, y]).unwrap();
    let steps = |mut n: u32| {
        let mut steps = 0;
        while n != 1 {
            n = if n % 2 == 1 { 3 * n + 1 } else { n / 2 };
            steps += 1;
        }
        steps
    };
    let expected: Vec<u32> = (1..=64).map(steps).collect();
    assert_eq!(device.read::<u32>(x, 64), expected);
    for (warp, sums) in device.read::<u32>(y, 64).chunks(32).enumerate() {
        let sum = 1 + expected[32 * warp..32 * warp + 32].iter().sum::<u32>();
        assert!(sums.iter().all(|&found| found == sum));
    }
}

#[test]
fn a_butterfly_shuffle_reads_the_lane_whose_index_differs_by_bits() {
    // With segments of 8 lanes, a lane whose partner is outside its segment reads itself, and the
    // predicate is false.
    for (clamp, by) in [(31, 1), (31, 16), (31 | 24 << 8, 4), (31 | 24 << 8, 8)] {
        let mut device = Device::with_lines(&format!(
            "mul.lo.s32 r0, t, 10; shfl.sync.bfly.b32 r1|p0, r0, {by}, {clamp}, -1;
             selp.u32 r2, 1, 0, p0; add.s32 r1, r1, r2;
             mul.wide.u32 a, t, 4; add.s64 x, x, a; st.global.u32 [x], r1;"
        ));
        let (x, y) = (device.unwritten::<u32>(32), device.unwritten::<u32>(0));
        device.launch("k", threads(32), &[x, y]).unwrap();
        for (lane, found) in (0..).zip(device.read::<u32>(x, 32)) {
            let partner = lane ^ by;
            let expected = match clamp == 31 || partner / 8 == lane / 8 || partner < lane {
                true => 10 * partner + 1,
                false => 10 * lane,
            };
            assert_eq!(found, expected, "lane {lane}, by {by}, clamp {clamp:#x}");
        }
    }
}

#[test]
fn barriers_do_not_wait_for_threads_that_ended() {
    let mut device = Device::with_lines(
        "setp.ge.u32 p0, t, 40; @p0 bra END;
         bar.warp.sync -1;
         bar.sync 0;
         setp.ge.u32 p0, t, 8; @p0 bra END;
         redux.sync.add.u32 r0, 1, -1;
         setp.ne.s32 p0, t, 0; @!p0 st.global.u32 [x], r0;
         END: ret;",
    );
    let (x, y) = (device.unwritten::<u32>(1), device.unwritten::<u32>(0));
    device.launch("k", threads(64), &[x, y]).unwrap();
    assert_eq!(device.read::<u32>(x, 1), [8]);
}

#[test]
fn atomics_of_several_blocks_add_up() {
    let mut device = Device::with_lines(
        "setp.ne.s32 p0, t, 0; @!p0 st.shared.u32 [s], t;
         bar.sync 0;
         mov.u32 r1, %ctaid.x; add.s32 r1, r1, 1;
         atom.shared.add.u32 r0, [s], r1;
         bar.sync 0;
         @p0 bra END;
         ld.shared.u32 r0, [s]; cvt.u64.u32 a, r0;
         atom.global.add.u64 b, [x], a;
         atom.global.max.u32 r2, [y], r1;
         END: ret;",
    );
    let (x, y) = (device.array(&[1_u64 << 40]), device.array(&[0_u32]));
    let shape = Shape {
        blocks: 4,
        ..threads(64)
    };
    device.launch("k", shape, &[x, y]).unwrap();
    assert_eq!(device.read::<u64>(x, 1), [(1 << 40) + 64 * (1 + 2 + 3 + 4)]);
    assert_eq!(device.read::<u32>(y, 1), [4]);
}

#[test]
fn special_registers_hold_the_sizes_of_the_grid() {
    let mut device = Device::with_lines(
        "mov.u32 r0, %ctaid.x; mov.u32 r1, %ntid.x; mov.u32 r2, %nctaid.x;
         mad.lo.s32 r3, r0, r1, t; mul.lo.s32 r2, r2, 1000; add.s32 r2, r2, r3;
         mul.wide.u32 a, r3, 4; add.s64 x, x, a; st.global.u32 [x], r2;",
    );
    let (x, y) = (device.unwritten::<u32>(120), device.unwritten::<u32>(0));
    let shape = Shape {
        blocks: 3,
        ..threads(40)
    };
    device.launch("k", shape, &[x, y]).unwrap();
    let expected: Vec<u32> = (3000..3120).collect();
    assert_eq!(device.read::<u32>(x, 120), expected);
}

#[test]
fn dynamic_shared_memory_has_the_size_that_the_launch_gives() {
    let mut device = Device::new(
        ".version 8.0 .target sm_80 .address_size 64
         .extern .shared .align 128 .b8 raw[];
         .visible .entry reverse(.param .u64 to, .param .f32 factor) .maxntid 64, 1, 1 {
         .reg .b64 %rd<6>; .reg .b32 %r<6>; .reg .f32 %f<4>;
         .shared .align 4 .b8 fixed[4];
         .pragma \"nounroll\";
         ld.param.u64 %rd0, [to]; ld.param.f32 %f0, [factor]; cvta.to.global.u64 %rd0, %rd0;
         mov.u32 %r0, %tid.x; cvt.rn.f32.u32 %f1, %r0; mul.f32 %f1, %f1, %f0;
         shl.b32 %r1, %r0, 2; cvt.u64.u32 %rd1, %r1;
         mov.u64 %rd2, raw; add.s64 %rd3, %rd2, %rd1; st.shared.f32 [%rd3], %f1;
         bar.sync 0;
         sub.s64 %rd3, %rd2, %rd1; ld.shared.f32 %f2, [%rd3+252];
         add.s64 %rd4, %rd0, %rd1; st.global.f32 [%rd4], %f2;
         ret; }",
    );
    let to = device.unwritten::<f32>(64);
    let arguments = [to, uard_ptx::Argument::F32(0.5)];
    let shape = |shared_bytes| Shape {
        shared_bytes,
        ..threads(64)
    };
    let short = device.launch("reverse", shape(255), &arguments);
    assert!(short.unwrap_err().to_string().contains("out of bounds"));
    device.launch("reverse", shape(256), &arguments).unwrap();
    let expected: Vec<f32> = (0..64).map(|i| (63 - i) as f32 * 0.5).collect();
    assert_eq!(device.read::<f32>(to, 64), expected);
}
