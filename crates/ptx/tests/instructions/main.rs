//! Does an instruction on its own give what the PTX manual says?

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod control;
#[path = "../device/mod.rs"]
mod device;
mod floats;
mod integers;

use device::Device;
use uard_ptx::Argument;

/// Registers of every type, the inputs in `a`, `b`, `c`, and the result in `o`.
const FRAME: &str = ".version 8.0 .target sm_90 .address_size 64
.visible .entry k(.param .u64 pto, .param .u64 pa, .param .u64 pb, .param .u64 pc) {
.reg .b64 to, a, b, c, o, w<4>;
.reg .b32 r<8>;
.reg .f32 f<8>;
.reg .f64 d<4>;
.reg .b16 h<4>;
.reg .pred p<4>;
ld.param.u64 to, [pto];
ld.param.u64 a, [pa];
ld.param.u64 b, [pb];
ld.param.u64 c, [pc];
mov.u64 o, 0;
cvt.u32.u64 r0, a;
cvt.u32.u64 r1, b;
cvt.u32.u64 r2, c;
mov.b32 f0, r0;
mov.b32 f1, r1;
mov.b32 f2, r2;
mov.u32 r3, 0;
";

/// What the lines leave in `o` plus what they leave in `r3`.
fn run(lines: &str, [a, b, c]: [u64; 3]) -> u64 {
    let text = format!(
        "{FRAME}{lines}\n{{ .reg .b64 t; cvt.u64.u32 t, r3; add.u64 o, o, t; }} st.global.u64 [to], o; ret; }}"
    );
    let mut device = Device::new(&text);
    let to = device.room::<u64>(1);
    let [a, b, c] = [a, b, c].map(Argument::U64);
    device.launch("k", (1, 1), &[&to, &a, &b, &c]).unwrap();
    device.read::<u64>(&to, 1)[0]
}

fn run32(lines: &str, inputs: [u64; 3]) -> u32 {
    u32::try_from(run(lines, inputs)).unwrap()
}

fn run_f32(lines: &str, inputs: [f32; 3]) -> f32 {
    let lines = format!("{lines} mov.b32 r3, f3;");
    f32::from_bits(run32(
        &lines,
        inputs.map(|input| u64::from(input.to_bits())),
    ))
}
