//! What does the similarity of a batch cost: operator, composed form and reference in one run?
//!
//! Real sizes: 36 regions, captions of 8 to 20 words, joint width 512 and 1024. "training" is
//! forward and backward with a gradient on every pair, "inference" forward only.

use candle_core::{DType, Device, Tensor, Var};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use uard_attention::kernel::Kernel;
use uard_attention::{Matcher, MatcherConfig, Similarities};
use uard_core::random::{Draws, normal, permutation};
use uard_core::{Regions, Words};

/// Keeps about a quarter of the word queries of the seeded batches.
const THRESHOLD: f64 = 0.25;

struct Batch {
    regions: Var,
    region_counts: Vec<usize>,
    words: Var,
    word_counts: Vec<usize>,
}

impl Batch {
    fn new(entries: usize, width: usize) -> Self {
        let draws = Draws::new(0);
        let order = permutation(&mut draws.stream("lengths", &[]), entries);
        let word_counts: Vec<usize> = order.into_iter().map(|at| 8 + at % 13).collect();
        let rows = |label, longest: usize| {
            let mut values = normal(
                &mut draws.stream(label, &[]),
                1.0,
                entries * longest * width,
            );
            for row in values.chunks_mut(width) {
                row[0] += 0.4 * (width as f32).sqrt();
            }
            let raw = Tensor::from_vec(values, (entries, longest, width), &Device::Cpu);
            Var::from_tensor(&raw.expect("the shape holds the values")).expect("a fresh tensor")
        };
        Self {
            regions: rows("regions", 36),
            region_counts: vec![36; entries],
            words: rows("words", 20),
            word_counts,
        }
    }

    fn fragments(&self) -> (Regions, Words) {
        let regions = Regions::normalized(&self.regions, self.region_counts.clone());
        let words = Words::normalized(&self.words, self.word_counts.clone());
        (regions.expect("valid counts"), words.expect("valid counts"))
    }
}

type Match = fn(&Matcher, &Regions, &Words, f64) -> uard_attention::Result<Similarities>;
const PATHS: [(&str, Match); 2] = [
    ("operator", Matcher::similarities),
    ("composed", Matcher::composed_similarities),
];

fn training(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matcher/training");
    group.sample_size(10);
    let matcher = Matcher::new(MatcherConfig::default()).expect("defaults are valid");
    for (entries, width) in [(32, 1024), (64, 512)] {
        let batch = Batch::new(entries, width);
        for (name, path) in PATHS {
            let id = BenchmarkId::new(name, format!("batch {entries}, width {width}"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    let (regions, words) = batch.fragments();
                    let found = path(&matcher, &regions, &words, THRESHOLD).expect("it matches");
                    let loss = found.values.sum_all().expect("a sum");
                    loss.backward().expect("a gradient")
                });
            });
        }
    }
    group.finish();
}

fn inference(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matcher/inference");
    group.sample_size(10);
    let matcher = Matcher::new(MatcherConfig::default()).expect("defaults are valid");
    let (entries, width) = (32, 1024);
    let (regions, words) = Batch::new(entries, width).fragments();
    let (regions, words) = (regions.detach(), words.detach());
    assert_eq!(regions.rows().dtype(), DType::F32);
    for (name, path) in PATHS {
        group.bench_function(name, |bencher| {
            bencher.iter(|| path(&matcher, &regions, &words, THRESHOLD).expect("it matches"));
        });
    }
    group.bench_function("reference", |bencher| {
        bencher.iter(|| {
            Kernel::Reference
                .all_pairs(&matcher, (&regions, &words), THRESHOLD, &mut |_, _| ())
                .expect("it matches")
        });
    });
    group.finish();
}

criterion_group!(benches, training, inference);
criterion_main!(benches);
