//! Tests that every kind of fault is reported.

use uard_ptx::{Argument, Fault, FaultLocation, Space};

use crate::device::{Device, Shape, fault, threads};

/// The fault of a kernel with these lines; `x` holds 128 numbers, and `y` 128 unwritten ones.
fn caught(lines: &str, shape: Shape) -> (FaultLocation, Fault) {
    let mut device = Device::with_lines(lines);
    let (x, y) = (device.array(&[1.0_f32; 128]), device.unwritten::<f32>(128));
    fault(device.launch("k", shape, &[x, y]))
}

/// Asserts the fault of a kernel with these lines.
macro_rules! assert_caught {
    ($lines:expr, $threads:expr, $fault:pat) => {
        let (_, found) = caught($lines, threads($threads));
        assert!(matches!(found, $fault), "{found}");
    };
}

/// Adds the offset of the thread's number to `x`, `y`, and to the shared address in `r0`.
const MINE: &str = "mul.wide.u32 a, t, 4; add.s64 x, x, a; add.s64 y, y, a;
    mov.u32 r0, s; shl.b32 r1, t, 2; add.s32 r0, r0, r1;";

#[test]
fn an_access_outside_of_its_allocation_names_thread_and_instruction() {
    let mut device = Device::with_lines(&format!("{MINE}\nst.global.u32 [x], t;"));
    let (x, y) = (device.unwritten::<f32>(40), device.unwritten::<f32>(1));
    let (location, found) = fault(device.launch("k", threads(64), &[x, y]));
    let Argument::Address(start) = x else {
        unreachable!()
    };
    let (space, address, bytes) = (Space::Global, start + 160, 4);
    assert_eq!(
        found,
        Fault::OutOfBounds {
            space,
            address,
            bytes
        }
    );
    assert_eq!(
        (location.kernel.as_str(), location.block, location.thread),
        ("k", 0, 40)
    );
    assert!(
        location.instruction.starts_with("st.global.u32"),
        "{location}"
    );
}

#[test]
fn accesses_outside_of_memory_are_caught() {
    use Space::{Global, Shared};
    assert_caught!(
        "ld.global.u32 r0, [x+512];",
        1,
        Fault::OutOfBounds { space: Global, .. }
    );
    assert_caught!(
        "ld.global.u32 r0, [0];",
        1,
        Fault::OutOfBounds { space: Global, .. }
    );
    assert_caught!(
        "st.shared.u32 [s+64], t;",
        1,
        Fault::OutOfBounds { space: Shared, .. }
    );
    assert_caught!(
        "st.shared.u32 [s+-4], t;",
        1,
        Fault::OutOfBounds { space: Shared, .. }
    );
    assert_caught!(
        "ld.shared.u64 a, [0];",
        1,
        Fault::OutOfBounds { space: Shared, .. }
    );
    assert_caught!(
        "atom.global.add.u32 r0, [x+512], 1;",
        1,
        Fault::OutOfBounds { space: Global, .. }
    );
    let copy = "mov.u32 r0, s; cp.async.cg.shared.global";
    assert_caught!(
        &format!("{copy} [r0], [x+512], 16;"),
        1,
        Fault::OutOfBounds {
            space: Global,
            bytes: 16,
            ..
        }
    );
    assert_caught!(
        &format!("{copy} [r0+64], [x], 16;"),
        1,
        Fault::OutOfBounds {
            space: Shared,
            bytes: 16,
            ..
        }
    );
}

#[test]
fn misaligned_addresses_are_caught() {
    use Space::{Global, Shared};
    assert_caught!(
        "ld.global.f32 f0, [x+2];",
        1,
        Fault::Misaligned {
            space: Global,
            bytes: 4,
            ..
        }
    );
    assert_caught!(
        "st.global.u64 [y+4], x;",
        1,
        Fault::Misaligned {
            space: Global,
            bytes: 8,
            ..
        }
    );
    assert_caught!(
        "st.shared.u32 [s+2], t;",
        1,
        Fault::Misaligned {
            space: Shared,
            bytes: 4,
            ..
        }
    );
    let copy = "mov.u32 r0, s; cp.async.cg.shared.global";
    assert_caught!(
        &format!("{copy} [r0+8], [x], 16;"),
        1,
        Fault::Misaligned {
            space: Shared,
            bytes: 16,
            ..
        }
    );
    assert_caught!(
        &format!("{copy} [r0], [x+8], 16;"),
        1,
        Fault::Misaligned {
            space: Global,
            bytes: 16,
            ..
        }
    );
    assert_caught!(
        "mov.u32 r0, s; ldmatrix.sync.aligned.m8n8.x2.shared.b16 {r1, r2}, [r0+8];",
        32,
        Fault::Misaligned {
            space: Shared,
            bytes: 16,
            ..
        }
    );
}

#[test]
fn reads_of_bytes_that_were_never_written_are_caught() {
    use Space::{Global, Shared};
    assert_caught!(
        "ld.global.f32 f0, [y];",
        1,
        Fault::Unwritten { space: Global, .. }
    );
    assert_caught!(
        "ld.shared.f32 f0, [s];",
        1,
        Fault::Unwritten { space: Shared, .. }
    );
    // Only half of the bytes are written.
    assert_caught!(
        "st.shared.u32 [s], t; ld.shared.u64 a, [s];",
        1,
        Fault::Unwritten { space: Shared, .. }
    );
    // Shared memory that an earlier block wrote counts as not written in the next block.
    let lines = "mov.u32 r0, %ctaid.x; setp.ne.s32 p0, r0, 0; @!p0 st.shared.u32 [s], t;
        ld.shared.u32 r1, [s];";
    let shape = Shape {
        blocks: 2,
        ..threads(1)
    };
    let (location, found) = caught(lines, shape);
    assert!(
        matches!(found, Fault::Unwritten { space: Shared, .. }),
        "{found}"
    );
    assert_eq!(location.block, 1);
}

#[test]
fn a_missing_barrier_is_a_race() {
    // The first 16 threads write their index to shared memory, and every thread reads the index of
    // another one.
    let lines = |barrier: &str| {
        format!(
            "{MINE} setp.ge.u32 p0, t, 16; @!p0 st.shared.u32 [r0], t;
             {barrier}
             and.b32 r2, t, 15; shl.b32 r2, r2, 2; mov.u32 r3, s; add.s32 r3, r3, 60;
             sub.s32 r3, r3, r2; ld.shared.u32 r4, [r3]; st.global.u32 [y], r4;"
        )
    };
    let mut device = Device::with_lines(&lines("bar.sync 0;"));
    let (x, y) = (device.unwritten::<u32>(64), device.unwritten::<u32>(64));
    device.launch("k", threads(64), &[x, y]).unwrap();
    assert_eq!(device.read::<u32>(y, 2), [15, 14]);
    // A race between warps, and one within a warp.
    let (_, found) = caught(&lines("bar.warp.sync -1;"), threads(64));
    let text = found.to_string();
    assert!(text.starts_with("race: reads shared memory"), "{text}");
    assert!(text.contains("which thread 15 wrote"), "{text}");
    assert_caught!(
        &lines(""),
        32,
        Fault::SharedRace {
            access: "reads",
            ..
        }
    );
    let mut device = Device::with_lines(&lines("bar.warp.sync -1;"));
    let (x, y) = (device.unwritten::<u32>(32), device.unwritten::<u32>(32));
    device.launch("k", threads(32), &[x, y]).unwrap();
}

#[test]
fn a_barrier_of_some_lanes_does_not_order_accesses_of_the_others() {
    assert_caught!(
        "setp.eq.s32 p0, t, 16; @p0 st.shared.u32 [s], t;
         setp.lt.u32 p0, t, 16; @p0 bar.warp.sync 65535;
         setp.eq.s32 p0, t, 0; @p0 ld.shared.u32 r1, [s];",
        32,
        Fault::SharedRace {
            access: "reads",
            ..
        }
    );
}

#[test]
fn writing_bytes_that_others_accessed_without_a_barrier_is_a_race() {
    assert_caught!(
        "st.shared.u32 [s], t;",
        2,
        Fault::SharedRace {
            access: "writes",
            ..
        }
    );
    let read = "setp.eq.s32 p0, t, 0; @p0 st.shared.u32 [s], t; bar.sync 0; ld.shared.u32 r1, [s];";
    let (_, found) = caught(&format!("{read} @p0 st.shared.u32 [s], t;"), threads(64));
    let Fault::SharedRace {
        other,
        other_access,
        ..
    } = &found
    else {
        panic!("{found}");
    };
    assert_eq!(
        (other.as_str(), *other_access),
        ("several threads of warp 0", "read")
    );
    // Atomics race with other accesses but not with each other.
    assert_caught!(
        "setp.eq.s32 p0, t, 0; @p0 st.shared.u32 [s], t; bar.sync 0;
         atom.shared.add.u32 r1, [s], 1; ld.shared.u32 r1, [s];",
        2,
        Fault::SharedRace { .. }
    );
}

#[test]
fn an_access_to_a_copy_that_was_not_waited_for_is_caught() {
    let copy = "mov.u32 r0, s; setp.eq.s32 p0, t, 0;
        @p0 cp.async.cg.shared.global [r0], [x], 16; cp.async.commit_group;";
    let after = |wait: &str| format!("{copy} {wait} ld.shared.u32 r1, [r0];");
    let in_flight = |found| matches!(found, Fault::InFlight { copier: 0, .. });
    assert!(in_flight(caught(&after("bar.sync 0;"), threads(64)).1));
    let one_too_few = "cp.async.wait_group 1; bar.sync 0;";
    assert!(in_flight(caught(&after(one_too_few), threads(64)).1));
    let overwritten = format!("{copy} st.shared.u32 [r0], t;");
    assert!(in_flight(caught(&overwritten, threads(1)).1));
    // Waiting completes the copy for the thread itself; other threads need a barrier after it.
    for wait in [
        "cp.async.wait_group 0;",
        "bar.sync 0; cp.async.wait_group 0;",
    ] {
        assert_caught!(&after(wait), 64, Fault::SharedRace { .. });
    }
    let mut device = Device::with_lines(&after("cp.async.wait_group 0; bar.sync 0;"));
    let (x, y) = (device.array(&[1.0_f32; 4]), device.unwritten::<f32>(0));
    device.launch("k", threads(64), &[x, y]).unwrap();
}

#[test]
fn a_copy_over_bytes_that_others_read_is_a_race() {
    assert_caught!(
        "mov.u32 r0, s; setp.eq.s32 p0, t, 0; @p0 st.shared.u32 [s], t;
         bar.sync 0;
         ld.shared.u32 r1, [s];
         @p0 cp.async.cg.shared.global [r0], [x], 16;",
        64,
        Fault::SharedRace {
            access: "writes",
            other_access: "read",
            ..
        }
    );
}

#[test]
fn races_between_blocks_are_caught() {
    let blocks = |blocks| Shape {
        blocks,
        ..threads(1)
    };
    let (location, found) = caught("st.global.u32 [y], t;", blocks(2));
    assert_eq!((location.block, location.thread), (1, 0));
    assert!(
        matches!(
            found,
            Fault::BlockRace {
                access: "writes",
                ..
            }
        ),
        "{found}"
    );
    let reads = "mov.u32 r0, %ctaid.x; setp.ne.s32 p0, r0, 0; @!p0 st.global.u32 [y], t;
        @p0 ld.global.u32 r1, [y];";
    let (_, found) = caught(reads, blocks(2));
    assert!(
        matches!(
            found,
            Fault::BlockRace {
                access: "reads",
                ..
            }
        ),
        "{found}"
    );
    let overwrites = "mov.u32 r0, %ctaid.x; setp.ne.s32 p0, r0, 0; @!p0 ld.global.u32 r1, [x];
        @p0 st.global.u32 [x], t;";
    let (_, found) = caught(overwrites, blocks(2));
    assert!(
        matches!(
            found,
            Fault::BlockRace {
                access: "writes",
                other_access: "read",
                ..
            }
        ),
        "{found}"
    );
    let copies = "mov.u32 r0, %ctaid.x; setp.ne.s32 p0, r0, 0; mov.u32 r1, s;
        @!p0 st.global.u32 [x], t; @p0 cp.async.cg.shared.global [r1], [x], 16;";
    let (_, found) = caught(copies, blocks(2));
    assert!(
        matches!(
            found,
            Fault::BlockRace {
                access: "reads",
                ..
            }
        ),
        "{found}"
    );
}

#[test]
fn blocks_of_different_launches_do_not_race() {
    let mut device = Device::with_lines(
        "mov.u32 r0, %ctaid.x; ld.global.u32 r1, [x]; setp.eq.s32 p0, r0, r1;
         @p0 st.global.u32 [y], r0;",
    );
    let y = device.unwritten::<u32>(1);
    for writer in [0_u32, 1] {
        let x = device.array(&[writer]);
        let shape = Shape {
            blocks: 2,
            ..threads(1)
        };
        device.launch("k", shape, &[x, y]).unwrap();
        assert_eq!(device.read::<u32>(y, 1), [writer]);
    }
}

#[test]
fn a_deadlock_names_the_waiting_lanes_and_their_lines() {
    let lines = "setp.lt.u32 p0, t, 16;\n@p0 bar.sync 0;\n@!p0 bar.warp.sync -1;\n";
    let (_, found) = caught(lines, threads(32));
    let Fault::Deadlock { waiting } = &found else {
        panic!("{found}");
    };
    assert!(
        waiting.contains("lanes 0x0000ffff of warp 0 wait at line"),
        "{found}"
    );
    assert!(waiting.contains("`@!p0 bar.warp.sync -1;`"), "{found}");
    assert!(waiting.contains("`@p0 bar.sync 0;`"), "{found}");
}

#[test]
fn lanes_that_diverge_before_a_collective_instruction_are_caught() {
    assert_caught!(
        "setp.lt.u32 p0, t, 16; @p0 bar.sync 0; @!p0 bar.sync 0;",
        32,
        Fault::DivergentBarrier { .. }
    );
    let (lane, mask) = (16, 0xffff);
    let (_, found) = caught("bar.warp.sync 65535;", threads(32));
    assert_eq!(found, Fault::OutsideMask { lane, mask });
    let load = "mov.u32 r0, s; ldmatrix.sync.aligned.m8n8.x2.shared.b16 {r1, r2}, [r0];";
    assert_eq!(caught(load, threads(16)).1, Fault::PartialWarp { mask });
    let multiply = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32
        {f0, f1, f2, f3}, {r0, r1, r2, r3}, {r4, r5}, {f0, f1, f2, f3};";
    assert_eq!(caught(multiply, threads(16)).1, Fault::PartialWarp { mask });
}

#[test]
fn a_shuffle_from_a_lane_outside_the_mask_is_caught() {
    let lines = "setp.ge.u32 p0, t, 16; @p0 bra END;
        shfl.sync.bfly.b32 r1|p0, t, 16, 31, 65535; END: ret;";
    let (_, found) = caught(lines, threads(32));
    let (lane, mask) = (16, 0xffff);
    assert_eq!(found, Fault::InactiveLane { lane, mask });
}

#[test]
fn traps_and_endless_loops_are_caught() {
    assert_eq!(
        caught("setp.eq.s32 p0, t, 1; @p0 trap;", threads(2)).1,
        Fault::Trap
    );
    assert_caught!("LOOP: bra.uni LOOP;", 1, Fault::Endless { .. });
}
