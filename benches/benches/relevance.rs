//! Benches of the relevance of many captions' words, packed one after the other, with a block of
//! images: products of panels into a tile that stays in the cache, with every instruction set.
//!
//! The peer is `gemm` on the same rows, in one product. Both use one thread.
#![allow(
    clippy::print_stderr,
    reason = "skipped kernels are named to the person who runs the benches"
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use half::bf16;
use uard_benches::workload::{self, Content, Shape, WIDTH};
use uard_core::random::Draws;
use uard_linalg::panels::{
    ColumnPanels, Element, InstructionSet, Instructions, PANEL, RowPanels, padded_depth,
    panels_for, product,
};
use uard_linalg::product::{Matrix, Output};

/// Eight images of 36 regions fill 18 panels: a block of packed regions.
const SHAPE: Shape = Shape {
    images: 8,
    captions: 100,
    width: WIDTH,
};

/// Number of panels of words in a tile of relevance.
const TILE: usize = 2;

/// Rows of the valid fragments, one after the other.
struct Rows {
    words: Vec<Vec<f32>>,
    regions: Vec<Vec<f32>>,
}

impl Rows {
    fn draw() -> Self {
        let draws = Draws::new(0);
        let regions = workload::regions(SHAPE, &draws).expect("regions");
        let words = workload::words(SHAPE, Content::Random, &draws).expect("words");
        let rows = |rows: candle_core::Result<candle_core::Tensor>| {
            rows.and_then(|rows| rows.to_vec2()).expect("f32 rows")
        };
        Self {
            words: rows(words.valid_rows().map_err(candle_core::Error::wrap)),
            regions: rows(regions.valid_rows().map_err(candle_core::Error::wrap)),
        }
    }

    fn multiply_adds(&self) -> u64 {
        (self.words.len() * self.regions.len() * WIDTH) as u64
    }
}

fn packed<T: Element>(rows: &[Vec<f32>], place: fn(&mut [T], usize, usize, &[f32])) -> Vec<T> {
    let depth = padded_depth(WIDTH);
    let mut values = vec![T::default(); panels_for(rows.len()) * PANEL * depth];
    for (at, row) in rows.iter().enumerate() {
        place(&mut values, depth, at, row);
    }
    values
}

/// Multiplies all words with the block, a tile at a time, as a search does.
fn by_panels<T: Element>(instructions: Instructions, words: &[T], regions: &[T], tile: &mut [f32]) {
    let depth = padded_depth(WIDTH);
    let (words, regions) = (
        RowPanels::new(words, depth),
        ColumnPanels::new(regions, depth),
    );
    let stride = regions.panels() * PANEL;
    for first in (0..words.panels()).step_by(TILE) {
        let rows = words.slice(first..words.panels().min(first + TILE));
        product(instructions, rows, regions, tile, stride);
        std::hint::black_box(&tile);
    }
}

fn relevance(criterion: &mut Criterion) {
    let rows = Rows::draw();
    let mut group = criterion.benchmark_group("relevance");
    group.sample_size(20);
    group.throughput(Throughput::Elements(rows.multiply_adds()));
    let mut tile = vec![0.0; TILE * PANEL * panels_for(rows.regions.len()) * PANEL];
    let f32s = (
        packed::<f32>(&rows.words, RowPanels::place),
        packed::<f32>(&rows.regions, ColumnPanels::place),
    );
    let bf16s = (
        packed::<bf16>(&rows.words, RowPanels::place),
        packed::<bf16>(&rows.regions, ColumnPanels::place),
    );
    for set in InstructionSet::ALL {
        let instructions = match Instructions::detect(set) {
            Ok(instructions) => instructions,
            Err(unavailable) => {
                eprintln!("skipped: {unavailable}");
                continue;
            }
        };
        group.bench_function(format!("{set} f32"), |bencher| {
            bencher.iter(|| by_panels(instructions, &f32s.0, &f32s.1, &mut tile));
        });
        group.bench_function(format!("{set} bf16"), |bencher| {
            bencher.iter(|| by_panels(instructions, &bf16s.0, &bf16s.1, &mut tile));
        });
    }
    let (words, regions) = (rows.words.concat(), rows.regions.concat());
    let mut out = vec![0.0; rows.words.len() * rows.regions.len()];
    group.bench_function("gemm f32", |bencher| {
        let left = Matrix::row_major(&words, rows.words.len(), WIDTH);
        let right = Matrix::row_major(&regions, rows.regions.len(), WIDTH).transposed();
        bencher.iter(|| {
            uard_linalg::product::product(&mut out, left, right, Output::Overwrite);
        });
    });
    group.finish();
}

criterion_group!(benches, relevance);
criterion_main!(benches);
