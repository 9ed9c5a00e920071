//! Tests of the errors of parsing and of launch options.

use uard_ptx::{Argument, Error, Module};

use crate::device::{Device, Shape, threads};

#[test]
fn unsupported_ptx_is_refused_with_its_line() {
    let text = |line: &str| {
        format!(
            ".version 8.0\n.target sm_90\n.address_size 64\n.entry k(.param .u64 p) {{\n{line}\nret;\n}}"
        )
    };
    for line in [
        "wgmma.fence.sync.aligned;",
        ".reg .f32 f; add.rn.wild.f32 f, f, f;",
        ".reg .f32 f; add.f32 f, f;",
        ".reg .f32 f; add.f32 f, f, g;",
        ".reg .b16 h;",
        ".local .align 4 .b8 own[16];",
        "bra nowhere;",
        "bar.sync 1;",
        "mbarrier.init.shared.b64 [0], 1;",
        "cp.async.bulk.commit_group;",
        // Parameters and special registers cannot be written, and a parameter has its whole width.
        "st.param.u64 [p], 1;",
        "mov.u32 %tid.x, 1;",
        ".reg .b32 r; ld.param.u32 r, [p];",
        // Generic addresses and other kinds of memory.
        ".reg .b64 a; ld.u64 a, [a];",
        ".reg .b64 a; st.const.u64 [a], a;",
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
    for other in [
        "hello",
        ".func f() { ret; }",
        ".const .align 4 .b8 table[16];",
    ] {
        let refused = Module::parse(other);
        assert!(
            matches!(refused, Err(Error::Unsupported { line: 1, .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn text_that_is_not_ptx_is_refused_with_its_line() {
    for text in [
        ".version 8.0\n.entry k(.param .u64 p) { mov.u32 , 1; }",
        ".version 8.0\n.entry k(.param .b8 p[24]) { ret; }",
        ".version 8.0\n.entry k() { ret;",
        ".version 8.0\n.entry k() { é",
        ".version 8.0\n.entry k() { .reg .b32 r<many>; }",
    ] {
        let refused = Module::parse(text);
        assert!(
            matches!(refused, Err(Error::Syntax { line: 2, .. })),
            "{text}: {refused:?}"
        );
    }
}

#[test]
fn arguments_and_shapes_are_checked() {
    let mut device = Device::with_lines("");
    let (x, y) = (device.unwritten::<f32>(1), device.unwritten::<f32>(1));
    let unknown = device.launch("nothing", threads(1), &[]).unwrap_err();
    assert!(unknown.to_string().ends_with("it has k"), "{unknown}");
    let few = device.launch("k", threads(1), &[x]).unwrap_err();
    assert!(few.to_string().contains("takes 2 arguments"), "{few}");
    let narrow = device.launch("k", threads(1), &[x, Argument::U32(3)]);
    let narrow = narrow.unwrap_err().to_string();
    assert!(narrow.contains("argument 1 has 8 bytes"), "{narrow}");
    for (blocks, threads, shared_bytes) in [(1, 0, 0), (1, 1025, 0), (0, 1, 0), (1, 1, 232_449)] {
        let shape = Shape {
            blocks,
            threads,
            shared_bytes,
        };
        let refused = device.launch("k", shape, &[x, y]);
        assert!(matches!(refused, Err(Error::Shape { .. })), "{refused:?}");
    }
}
