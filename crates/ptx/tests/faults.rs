//! Is every kernel caught that does what it must not?

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use crate::device;

use device::{Device, fault};
use uard_ptx::{Argument, Error, Fault, Module, Space};

fn faults() -> Device {
    Device::new(include_str!("kernels/faults.ptx"))
}

#[test]
fn an_access_outside_of_its_allocation_names_thread_and_instruction() {
    let mut device = faults();
    let x = device.room::<f32>(40);
    let (place, found) = fault(device.launch("out_of_bounds", (1, 64), &[&x]));
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
    assert_eq!(place.kernel, "out_of_bounds");
    assert_eq!(
        (place.block, place.thread),
        ([0, 0, 0], [40, 0, 0]),
        "{place}"
    );
    assert!(place.instruction.starts_with("st.global.u32"), "{place}");
}

#[test]
fn crooked_addresses_are_caught() {
    let mut device = faults();
    let (x, y) = (device.with(&[1.0_f32; 4]), device.room::<f32>(1));
    let (_, found) = fault(device.launch("misaligned", (1, 1), &[&x, &y]));
    assert!(
        matches!(found, Fault::Misaligned { bytes: 4, .. }),
        "{found}"
    );
}

#[test]
fn bytes_that_nobody_wrote_are_caught() {
    let mut device = faults();
    let (x, y) = (device.room::<f32>(32), device.room::<f32>(32));
    let (_, found) = fault(device.launch("unwritten_global", (1, 32), &[&x, &y]));
    assert!(
        matches!(
            found,
            Fault::Unwritten {
                space: Space::Global,
                ..
            }
        ),
        "{found}"
    );
    let (place, found) = fault(device.launch("unwritten_shared", (1, 32), &[&y]));
    assert_eq!(place.thread, [16, 0, 0]);
    assert!(
        matches!(
            found,
            Fault::Unwritten {
                space: Space::Shared,
                ..
            }
        ),
        "{found}"
    );
    let (_, found) = fault(device.launch("outside_shared", (1, 32), &[&y]));
    assert!(
        matches!(
            found,
            Fault::OutOfBounds {
                space: Space::Shared,
                ..
            }
        ),
        "{found}"
    );
}

#[test]
fn a_missing_barrier_is_a_race() {
    let mut device = faults();
    let y = device.room::<f32>(64);
    let (_, found) = fault(device.launch("missing_barrier", (1, 64), &[&y]));
    let text = found.to_string();
    assert!(text.starts_with("race: writes shared memory"), "{text}");
    assert!(
        text.contains("which thread 31 (linear index) read"),
        "{text}"
    );
}

#[test]
fn lanes_of_a_warp_race_without_a_warp_barrier() {
    let mut device = faults();
    let y = device.room::<f32>(32);
    let (yes, no) = (Argument::I32(1), Argument::I32(0));
    device
        .launch("missing_warp_barrier", (1, 32), &[&y, &yes])
        .unwrap();
    assert_eq!(device.read::<f32>(&y, 2), [31.0, 30.0]);
    let (_, found) = fault(device.launch("missing_warp_barrier", (1, 32), &[&y, &no]));
    assert!(matches!(found, Fault::SharedRace { .. }), "{found}");
}

#[test]
fn a_copy_that_nobody_waited_for_is_caught() {
    let mut device = faults();
    let (x, y) = (device.with(&[1.0_f32; 128]), device.room::<f32>(128));
    let (_, found) = fault(device.launch("missing_wait", (1, 32), &[&x, &y]));
    assert!(
        matches!(found, Fault::InFlight { copier: 31, .. }),
        "{found}"
    );
}

#[test]
fn blocks_that_share_bytes_are_caught() {
    let mut device = faults();
    let y = device.room::<f32>(64);
    let (place, found) = fault(device.launch("blocks_write_the_same", (2, 32), &[&y]));
    assert_eq!(place.block, [1, 0, 0]);
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
    // The marks end with the launch.
    device
        .launch("blocks_write_the_same", (1, 32), &[&y])
        .unwrap();
    let (_, found) = fault(device.launch("blocks_read_each_other", (2, 1), &[&y]));
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
fn a_deadlock_says_who_waits_where() {
    let mut device = faults();
    let y = device.room::<f32>(32);
    let (_, found) = fault(device.launch("deadlock", (1, 32), &[&y]));
    let Fault::Deadlock { waiting } = &found else {
        panic!("{found}");
    };
    assert!(waiting.contains("lanes 0x0000ffff of warp 0 wait at line"));
    assert!(waiting.contains("bar.warp.sync") && waiting.contains("bar.sync"));
}

#[test]
fn a_shuffle_from_a_lane_outside_the_mask_is_caught() {
    let mut device = faults();
    let y = device.room::<i32>(32);
    let (_, found) = fault(device.launch("silent_lane", (1, 32), &[&y]));
    assert!(
        matches!(found, Fault::SilentLane { lane: 20, .. }),
        "{found}"
    );
}

#[test]
fn traps_and_endless_loops_end() {
    let mut device = faults();
    let y = device.with(&[1_i32, 0]);
    assert_eq!(
        fault(device.launch("trapped", (1, 1), &[&y])).1,
        Fault::Trap
    );
    let (_, found) = fault(device.launch("endless", (1, 1), &[&y]));
    assert!(matches!(found, Fault::Endless { .. }), "{found}");
}

#[test]
fn the_product_without_its_wait_or_barrier_is_caught() {
    for (ptx, barrier) in [
        (include_str!("kernels/product_without_wait.ptx"), false),
        (include_str!("kernels/product_without_barrier.ptx"), true),
    ] {
        let mut device = Device::new(ptx);
        let (a, b) = (
            device.with(&[0_u16; 32 * 96]),
            device.with(&[0_u16; 16 * 96]),
        );
        let c = device.room::<f32>(32 * 16);
        let [m, n, k] = [32, 16, 96].map(Argument::I32);
        let (_, found) = fault(device.launch("product", (1, 64), &[&a, &b, &c, &m, &n, &k]));
        match barrier {
            false => assert!(matches!(found, Fault::InFlight { .. }), "{found}"),
            true => assert!(matches!(found, Fault::SharedRace { .. }), "{found}"),
        }
    }
}

/// What a kernel of these lines does with 32 threads; `%t` is the thread's index.
fn fault_of(lines: &str, threads: u32) -> Fault {
    let text = format!(
        ".version 8.0 .target sm_80 .address_size 64 .visible .entry k() {{
         .reg .b32 %t, %r<8>; .reg .f32 %f<8>; .reg .pred %p; .shared .align 16 .b8 s[64];
         mov.u32 %t, %tid.x; setp.lt.u32 %p, %t, 16; mov.u32 %r0, s;
         {lines} ret; }}"
    );
    fault(Device::new(&text).launch("k", (1, threads), &[])).1
}

#[test]
fn lanes_that_part_before_what_takes_all_are_caught() {
    let found = fault_of("@%p bar.sync 0; @!%p bar.sync 0;", 32);
    assert!(matches!(found, Fault::DivergentBarrier { .. }), "{found}");
    let found = fault_of("bar.warp.sync 65535;", 32);
    let (lane, mask) = (16, 0xffff);
    assert_eq!(found, Fault::OutsideMask { lane, mask });
    let load = "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r1}, [%r0];";
    let mask = 0xffff;
    assert_eq!(fault_of(load, 16), Fault::PartialWarp { mask });
    let crooked = "add.u32 %r0, %r0, 8; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r1}, [%r0];";
    let found = fault_of(crooked, 32);
    assert!(
        matches!(found, Fault::Misaligned { bytes: 16, .. }),
        "{found}"
    );
}

#[test]
fn a_copy_over_what_others_read_is_a_race() {
    let mut device = Device::new(
        ".version 8.0 .target sm_80 .address_size 64 .visible .entry k(.param .u64 x) {
         .reg .b32 %t, %r; .reg .b64 %x; .reg .pred %p; .shared .align 16 .b8 s[16];
         mov.u32 %t, %tid.x; setp.eq.u32 %p, %t, 0; mov.u32 %r, s; ld.param.u64 %x, [x];
         @%p st.shared.u32 [s], %t;
         bar.sync 0;
         ld.shared.u32 %t, [s];
         @%p cp.async.ca.shared.global [%r], [%x], 16;
         ret; }",
    );
    let x = device.with(&[1_u32; 4]);
    let (_, found) = fault(device.launch("k", (1, 64), &[&x]));
    assert!(matches!(found, Fault::SharedRace { .. }), "{found}");
}

#[test]
fn what_is_not_supported_is_refused_with_its_line() {
    let text = |line: &str| {
        format!(".version 8.0\n.target sm_90\n.address_size 64\n.entry k() {{\n{line}\nret;\n}}")
    };
    for line in [
        "wgmma.fence.sync.aligned;",
        ".reg .f32 f; add.rn.wild.f32 f, f, f;",
        "bra nowhere;",
        "mbarrier.init.shared.b64 [0], 1;",
        "cp.async.bulk.commit_group;",
    ] {
        let refused = Module::parse(&text(line)).unwrap_err();
        let Error::Unsupported {
            line: 5,
            instruction,
            ..
        } = &refused
        else {
            panic!("{line}: {refused}");
        };
        assert_eq!(instruction, line);
    }
    assert!(matches!(
        Module::parse("hello"),
        Err(Error::Unsupported { line: 1, .. })
    ));
}

#[test]
fn arguments_and_shapes_are_checked() {
    let mut device = faults();
    let y = device.room::<f32>(1);
    let unknown = device.launch("nothing", (1, 1), &[]).unwrap_err();
    assert!(unknown.to_string().contains("out_of_bounds, misaligned"));
    let few = device.launch("misaligned", (1, 1), &[&y]).unwrap_err();
    assert!(few.to_string().contains("takes 2 arguments"), "{few}");
    let narrow = device
        .launch("out_of_bounds", (1, 1), &[&Argument::U32(3)])
        .unwrap_err();
    assert!(narrow.to_string().contains("argument 0 has 8 bytes"));
    let large = device.launch("out_of_bounds", (1, 2048), &[&y]);
    assert!(matches!(large, Err(Error::Shape { .. })));
    let shape = ([1; 3], [1; 3], 232_449);
    let shared = device.launch_shape("out_of_bounds", shape, &[&y]);
    assert!(matches!(shared, Err(Error::Shape { .. })));
}
