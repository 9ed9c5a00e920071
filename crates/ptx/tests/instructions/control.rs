//! Guards, labels, atomics and addresses.

use super::device::Device;
use super::{run, run32};

#[test]
fn a_guard_may_be_overwritten_by_its_instruction() {
    let lines = "setp.eq.u32 p0, r0, 1; @p0 setp.eq.u32 p0|p1, r1, 7; selp.u32 r3, 1, 0, p0;
        @!p0 add.u32 r3, r3, 4; @p1 add.u32 r3, r3, 8;";
    assert_eq!(run32(lines, [1, 7, 0]), 1);
    assert_eq!(run32(lines, [1, 8, 0]), 12);
    assert_eq!(run32(lines, [0, 7, 0]), 4);
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

#[test]
fn a_copy_fills_up_with_zeros_and_arrives_at_its_wait() {
    let lines = "{ .shared .align 16 .b8 to_shared[16]; .reg .b32 s;
        st.global.u64 [to], a; mov.u32 s, to_shared;
        cp.async.ca.shared.global [s], [to], 8, 3;
        cp.async.commit_group; cp.async.commit_group; cp.async.wait_group 1;
        ld.shared.u64 o, [s]; }";
    assert_eq!(run(lines, [u64::MAX, 0, 0]), 0xff_ffff);
    // Waiting for all includes what was not committed.
    let lines = lines.replace(
        "cp.async.commit_group; cp.async.commit_group; cp.async.wait_group 1;",
        "cp.async.wait_all;",
    );
    assert_eq!(run(&lines, [u64::MAX, 0, 0]), 0xff_ffff);
}

/// Lane 0 spins where the program counter is lowest, until another lane says that it may end.
#[test]
fn a_lane_that_spins_lets_those_behind_it_go_on() {
    let text = ".version 8.0 .target sm_80 .address_size 64
        .visible .entry k(.param .u64 out) {
        .shared .u32 flag; .reg .b64 %o; .reg .b32 %t, %v; .reg .pred %p;
        ld.param.u64 %o, [out];
        mov.u32 %t, %tid.x;
        mov.u32 %v, 0;
        setp.ne.u32 %p, %t, 0;
        @!%p st.volatile.shared.u32 [flag], %v;
        bar.sync 0;
        @%p bra OTHERS;
        SPIN: ld.volatile.shared.u32 %v, [flag];
        setp.eq.u32 %p, %v, 0;
        @%p bra SPIN;
        st.global.u32 [%o], %v;
        ret;
        OTHERS: setp.ne.u32 %p, %t, 31;
        @!%p st.volatile.shared.u32 [flag], %t;
        }";
    let mut device = Device::new(text);
    let out = device.room::<u32>(1);
    device.launch("k", (1, 32), &[&out]).unwrap();
    assert_eq!(device.read::<u32>(&out, 1), [31]);
}

#[test]
fn nobody_waits_for_threads_that_ended() {
    let text = ".version 8.0 .target sm_80 .address_size 64
        .visible .entry k(.param .u64 out) {
        .reg .b64 %o; .reg .b32 %t, %v; .reg .pred %p;
        mov.u32 %t, %tid.x;
        setp.ge.u32 %p, %t, 40;
        @%p bra END;
        bar.warp.sync -1;
        bar.sync 0;
        setp.ge.u32 %p, %t, 8;
        @%p bra END;
        vote.sync.ballot.b32 %v, !%p, -1;
        ld.param.u64 %o, [out];
        st.volatile.global.u32 [%o], %v;
        END: ret;
        }";
    let mut device = Device::new(text);
    let out = device.room::<u32>(1);
    device.launch("k", (1, 64), &[&out]).unwrap();
    assert_eq!(device.read::<u32>(&out, 1), [0xff]);
}
