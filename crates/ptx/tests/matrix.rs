//! Tests of matrix instructions, alone and in a matrix product that NVRTC compiles.

use half::{bf16, f16};
use uard_core::gpu::Program;
use uard_core::gpu::compile::{Image, Target, compile};
use uard_ptx::{Argument, Error, Fault, Interpreter};

use crate::device::{Device, Shape, fault, threads};

/// Whole numbers, few of them equal, that 16-bit floats and the sums of products hold exactly.
fn whole(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|i| (i * step % 31) as f32 - 15.0).collect()
}

/// Row and column of a number in a matrix.
#[derive(Clone, Copy)]
struct Cell {
    row: usize,
    column: usize,
}

/// The cell of the left matrix in a half of a lane's register: PTX ISA, m16n8k16.
fn left_cell(lane: usize, register: usize, half: usize) -> Cell {
    Cell {
        row: lane / 4 + 8 * (register % 2),
        column: lane % 4 * 2 + half + 8 * (register / 2),
    }
}

/// The cell of the right matrix in a half of a lane's register.
fn right_cell(lane: usize, register: usize, half: usize) -> Cell {
    Cell {
        row: lane % 4 * 2 + half + 8 * register,
        column: lane / 4,
    }
}

#[test]
fn fragments_of_mma_have_the_documented_layout() {
    type Bits = fn(f32) -> u16;
    let kinds: [(&str, Bits); 2] = [
        ("f16", |value| f16::from_f32(value).to_bits()),
        ("bf16", |value| bf16::from_f32(value).to_bits()),
    ];
    let (left, right) = (whole(16 * 16, 7), whole(16 * 8, 11));
    for (kind, bits) in kinds {
        let mut device = Device::with_lines(&format!(
            "mul.wide.u32 a, t, 24; add.s64 x, x, a; mul.wide.u32 a, t, 16; add.s64 y, y, a;
             ld.global.b32 r0, [x]; ld.global.b32 r1, [x+4]; ld.global.b32 r2, [x+8];
             ld.global.b32 r3, [x+12]; ld.global.b32 r4, [x+16]; ld.global.b32 r5, [x+20];
             mov.f32 f0, 0f3F800000; mov.f32 f1, 0f40000000; mov.f32 f2, 0f40400000;
             mov.f32 f3, 0f40800000;
             mma.sync.aligned.m16n8k16.row.col.f32.{kind}.{kind}.f32
             {{f0, f1, f2, f3}}, {{r0, r1, r2, r3}}, {{r4, r5}}, {{f0, f1, f2, f3}};
             st.global.f32 [y], f0; st.global.f32 [y+4], f1; st.global.f32 [y+8], f2;
             st.global.f32 [y+12], f3;"
        ));
        let mut halves = Vec::new();
        for lane in 0..32 {
            for register in 0..4 {
                let cells = [0, 1].map(|half| left_cell(lane, register, half));
                halves.extend(cells.map(|cell| bits(left[16 * cell.row + cell.column])));
            }
            for register in 0..2 {
                let cells = [0, 1].map(|half| right_cell(lane, register, half));
                halves.extend(cells.map(|cell| bits(right[8 * cell.row + cell.column])));
            }
        }
        let (x, y) = (device.array(&halves), device.unwritten::<f32>(128));
        device.launch("k", threads(32), &[x, y]).unwrap();
        for (at, found) in device.read::<f32>(y, 128).into_iter().enumerate() {
            let (lane, register) = (at / 4, at % 4);
            let (row, column) = (lane / 4 + register / 2 * 8, lane % 4 * 2 + register % 2);
            let product = |inner: usize| left[16 * row + inner] * right[8 * inner + column];
            let expected = (1 + register) as f32 + (0..16).map(product).sum::<f32>();
            assert_eq!(found, expected, "{kind} {row} {column}");
        }
    }
}

#[test]
fn matrices_are_loaded_row_by_row() {
    for count in [2, 4] {
        let registers: Vec<String> = (0..count).map(|register| format!("r{register}")).collect();
        let stores: Vec<String> = (0..count)
            .map(|register| format!("st.global.b32 [y+{}], r{register};", 128 * register))
            .collect();
        // Thread t writes row t, of 16 bytes. The rows of matrix m are at the addresses that lanes 8m
        // to 8m + 7 give, here in reverse order.
        let mut device = Device::new(&format!(
            ".version 8.0 .target sm_80 .address_size 64
             .visible .entry k(.param .u64 px, .param .u64 py) {{
             .reg .b64 x, y, a; .reg .b32 t, s0, r<8>; .shared .align 16 .b8 s[512];
             ld.param.u64 x, [px]; ld.param.u64 y, [py]; mov.u32 t, %tid.x; mov.u32 s0, s;
             mul.wide.u32 a, t, 16; add.s64 x, x, a; shl.b32 r0, t, 4; add.s32 r0, s0, r0;
             cp.async.cg.shared.global [r0], [x], 16; cp.async.commit_group;
             cp.async.wait_group 0; bar.warp.sync -1;
             xor.b32 r0, t, 7; shl.b32 r0, r0, 4; add.s32 r0, s0, r0;
             ldmatrix.sync.aligned.m8n8.x{count}.shared.b16 {{{}}}, [r0];
             mul.wide.u32 a, t, 4; add.s64 y, y, a; {} ret; }}",
            registers.join(", "),
            stores.join(" "),
        ));
        let halves: Vec<u16> = (0..256).collect();
        let (x, y) = (device.array(&halves), device.unwritten::<u32>(32 * count));
        device.launch("k", threads(32), &[x, y]).unwrap();
        for (at, found) in device.read::<u32>(y, 32 * count).into_iter().enumerate() {
            let (matrix, lane) = (at / 32, at % 32);
            let row = 8 * matrix + (7 - lane / 4);
            let first = halves[8 * row + lane % 4 * 2];
            assert_eq!(found, u32::from(first) | u32::from(first + 1) << 16, "{at}");
        }
    }
}

/// The sizes of a matrix product.
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    columns: usize,
    depth: usize,
}

/// Compiles the matrix product, with (1) or without (0) the wait for its asynchronous copies and
/// its barrier; `None` without NVRTC.
fn compiled(wait: u32, barrier: u32) -> Option<Device> {
    let required = std::env::var_os("UARD_NVRTC").is_some();
    Interpreter::where_possible(80, required)?;
    let program = Program {
        name: "product",
        sources: &[include_str!("product.cu")],
        defines: vec![("WAIT", wait), ("BARRIER", barrier)],
    };
    match compile(&program, Target::Ptx(80)).unwrap() {
        Image::Ptx(text) => Some(Device::new(&text)),
        Image::Cubin(_) => unreachable!(),
    }
}

impl Sizes {
    /// Launches the product; returns it row by row.
    fn launch(self, device: &mut Device, left: &[f32], right: &[f32]) -> Result<Vec<f32>, Error> {
        let bits = |all: &[f32]| -> Vec<u16> {
            all.iter()
                .map(|&value| bf16::from_f32(value).to_bits())
                .collect()
        };
        let (a, b) = (device.array(&bits(left)), device.array(&bits(right)));
        let c = device.unwritten::<f32>(self.rows * self.columns);
        let sides = [self.rows, self.columns, self.depth].map(|side| Argument::U32(side as u32));
        let shape = Shape {
            blocks: (self.rows.div_ceil(32) * self.columns.div_ceil(16)) as u32,
            ..threads(64)
        };
        device.launch("product", shape, &[&[a, b, c], &sides[..]].concat())?;
        Ok(device.read(c, self.rows * self.columns))
    }
}

#[test]
fn tiles_in_two_buffers_give_the_product() {
    let Some(mut device) = compiled(1, 1) else {
        return;
    };
    for [rows, columns, depth] in [[1, 1, 32], [32, 16, 32], [33, 17, 64], [70, 50, 96]] {
        let sizes = Sizes {
            rows,
            columns,
            depth,
        };
        let (left, right) = (whole(rows * depth, 7), whole(columns * depth, 11));
        let found = sizes.launch(&mut device, &left, &right).unwrap();
        for (at, found) in found.into_iter().enumerate() {
            let (left, right) = (
                &left[at / columns * depth..],
                &right[at % columns * depth..],
            );
            let terms = left.iter().zip(right).take(depth);
            assert_eq!(found, terms.map(|(a, b)| a * b).sum::<f32>(), "{at}");
        }
    }
}

#[test]
fn the_product_without_its_wait_or_barrier_is_caught() {
    let sizes = Sizes {
        rows: 32,
        columns: 16,
        depth: 96,
    };
    let (left, right) = (vec![0.0; 32 * 96], vec![0.0; 16 * 96]);
    let found = |wait, barrier| {
        let mut device = compiled(wait, barrier)?;
        let launched = sizes.launch(&mut device, &left, &right);
        Some(fault(launched.map(|_| ())).1)
    };
    if let (Some(no_wait), Some(no_barrier)) = (found(0, 1), found(1, 0)) {
        assert!(matches!(no_wait, Fault::InFlight { .. }), "{no_wait}");
        assert!(
            matches!(no_barrier, Fault::SharedRace { .. }),
            "{no_barrier}"
        );
    }
}
