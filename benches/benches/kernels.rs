//! Benches of products of panels against the highest rate of a core: words of five captions by the regions
//! of eight images, joint width 1024.
//!
//! The elements that criterion counts are multiply-adds, of two floating-point operations each.

use std::hint::black_box;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use half::bf16;
use uard_core::random::{Draws, uniform};
use uard_linalg::matmul::Matmul;
use uard_linalg::panels::{
    self, ColumnPanels, Element, InstructionSet, Instructions, RowPanels, ceiling,
};
use uard_linalg::product::{Matrix, Output, PackedRight, product};

const ROWS: usize = 64;
const COLUMNS: usize = 288;
const DEPTH: usize = 1024;

/// Sizes of matrix products in training, [m, k] times [k, n]: from the regions of a batch to the
/// joint space, from its words to the gates of a GRU, and in one step of the GRU.
const MATRICES: [[usize; 3]; 3] = [[2304, 1280, 512], [768, 300, 3072], [64, 512, 1536]];

fn numbers(label: &str, count: usize) -> Vec<f32> {
    uniform(&mut Draws::new(0).stream(label, &[]), -1.0, 1.0, count)
}

/// Numbers that begin on a cache line, as packed fragments do. They are never freed.
fn aligned<T: Element>(label: &str, vectors: usize) -> &'static [T] {
    let values = vec![T::default(); vectors * DEPTH + 64].leak();
    let first = values.as_ptr().align_offset(64);
    let values = &mut values[first..first + vectors * DEPTH];
    let numbers = numbers(label, values.len());
    for (value, number) in values.iter_mut().zip(numbers) {
        *value = T::from_f32(number);
    }
    values
}

fn panels_of<T: Element>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let (rows, columns) = (aligned::<T>("rows", ROWS), aligned::<T>("columns", COLUMNS));
    let mut out = vec![0.0; ROWS * COLUMNS];
    for set in InstructionSet::ALL {
        let Ok(instructions) = Instructions::detect(set) else {
            continue;
        };
        group.throughput(Throughput::Elements(ceiling::<T>(instructions)));
        group.bench_function(format!("ceiling/{set}"), |bencher| {
            bencher.iter(|| ceiling::<T>(instructions));
        });
        group.throughput(Throughput::Elements((ROWS * COLUMNS * DEPTH) as u64));
        group.bench_function(format!("panels/{set}"), |bencher| {
            let (rows, columns) = (
                RowPanels::new(rows, DEPTH),
                ColumnPanels::new(columns, DEPTH),
            );
            bencher.iter(|| {
                panels::product(instructions, rows, columns, black_box(&mut out), COLUMNS);
            });
        });
    }
}

fn kernels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernels/f32");
    panels_of::<f32>(&mut group);
    let (lhs, rhs) = (
        numbers("rows", ROWS * DEPTH),
        numbers("columns", COLUMNS * DEPTH),
    );
    let mut out = vec![0.0; ROWS * COLUMNS];
    group.bench_function("gemm", |bencher| {
        let lhs = Matrix::row_major(&lhs, ROWS, DEPTH);
        let rhs = Matrix::row_major(&rhs, COLUMNS, DEPTH).transposed();
        bencher.iter(|| product(black_box(&mut out), lhs, rhs, Output::Overwrite));
    });
    group.finish();
    let mut group = criterion.benchmark_group("kernels/bf16");
    panels_of::<bf16>(&mut group);
    group.finish();
}

fn matrices(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernels/training");
    for [m, k, n] in MATRICES {
        let (lhs, rhs) = (numbers("lhs", m * k), numbers("rhs", k * n));
        let (lhs, rhs) = (
            Matrix::row_major(&lhs, m, k),
            Matrix::row_major(&rhs, n, k).transposed(),
        );
        let mut out = vec![0.0; m * n];
        group.throughput(Throughput::Elements((m * k * n) as u64));
        group.bench_function(format!("gemm/{m}x{k}x{n}"), |bencher| {
            bencher.iter(|| product(black_box(&mut out), lhs, rhs, Output::Overwrite));
        });
        group.bench_function(format!("bf16/{m}x{k}x{n}"), |bencher| {
            bencher.iter(|| {
                let out = black_box(out.as_mut_slice());
                let packed = PackedRight::new(Matmul::Bf16, rhs);
                packed.product(out, lhs, Output::Overwrite);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, kernels, matrices);
criterion_main!(benches);
