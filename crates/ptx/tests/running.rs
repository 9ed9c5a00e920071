//! Do kernels that NVRTC compiled give what plain loops give?

use uard_ptx::{Argument, Launch, Memory, Module};

fn bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn upload(memory: &mut Memory, bytes: &[u8]) -> u64 {
    let address = memory.allocate(bytes.len());
    memory.write(address, bytes).unwrap();
    address
}

fn floats(memory: &Memory, address: u64, count: usize) -> Vec<f32> {
    let mut bytes = vec![0; 4 * count];
    memory.read(address, &mut bytes).unwrap();
    bytes
        .chunks(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect()
}

#[test]
fn saxpy_leaves_the_ragged_end_alone() {
    let module = Module::parse(include_str!("kernels/basic.ptx")).unwrap();
    let mut memory = Memory::default();
    let x: Vec<f32> = (0..1000).map(|i| i as f32 * 0.5).collect();
    let y: Vec<f32> = (0..1000).map(|i| 3.0 - i as f32).collect();
    let (to_x, to_y) = (
        upload(&mut memory, &bytes(&x)),
        upload(&mut memory, &bytes(&y)),
    );
    let mut scale = [to_x.to_le_bytes(), to_y.to_le_bytes()].concat();
    scale.extend(1000_i32.to_le_bytes());
    scale.extend(1.5_f32.to_le_bytes());
    let launch = Launch {
        grid: [4, 1, 1],
        block: [256, 1, 1],
        shared_bytes: 0,
        arguments: vec![Argument::Bytes(scale)],
    };
    module.launch("saxpy", &launch, &mut memory).unwrap();
    let expected: Vec<f32> = x
        .iter()
        .zip(&y)
        .map(|(x, y)| 1.5_f32.mul_add(*x, *y))
        .collect();
    assert_eq!(floats(&memory, to_y, 1000), expected);
}

#[test]
fn everything_parses() {
    Module::parse(include_str!("kernels/product.ptx")).unwrap();
    Module::parse(include_str!("kernels/faults.ptx")).unwrap();
}
