//! Benches of the similarities of a batch and of all pairs.
//!
//! Real sizes: 36 regions, captions of 8 to 20 words, joint width 512 and 1024. "training" is
//! forward and backward with a gradient on every pair, by operator and composed form; "inference"
//! is all pairs on packed fragments by every kernel; "batch" is a small batch by the forms and
//! engines that do not pack fragments.
#![allow(
    clippy::print_stderr,
    reason = "skipped kernels are named to the person who runs the benches"
)]

use candle_core::Var;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use uard_attention::search::Search;
use uard_attention::{
    Engine, Matcher, MatcherConfig, PackedRegions, PackedWords, Precision, Similarities,
};
use uard_benches::workload::{self, Content, Shape};
use uard_core::random::Draws;
use uard_core::{Regions, Words};

/// Words that are similar to a region of their image, as after training.
const CONTENT: Content = Content::Matched { relevance: 0.5 };

/// The share of queries, words and regions together, that have a cell above the threshold.
const KEPT: f64 = 1.0 / 3.0;

struct Batch {
    regions: Regions,
    words: Words,
    threshold: f64,
}

impl Batch {
    fn draw(images: usize, captions: usize, width: usize) -> Self {
        let shape = Shape {
            images,
            captions,
            width,
        };
        let draws = Draws::new(0);
        let regions = workload::regions(shape, &draws).expect("regions");
        let words = workload::words(shape, CONTENT, &draws).expect("words");
        Self {
            threshold: workload::threshold_keeping(KEPT, &regions, &words).expect("a threshold"),
            regions,
            words,
        }
    }
}

type Match = fn(&Matcher, &Regions, &Words, f64) -> Result<Similarities, uard_attention::Error>;
const PATHS: [(&str, Match); 2] = [
    ("operator", Matcher::similarities),
    ("composed", Matcher::composed_similarities),
];

fn matcher() -> Matcher {
    Matcher::new(MatcherConfig::default()).expect("defaults are valid")
}

fn training(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matcher/training");
    group.sample_size(10);
    let matcher = matcher();
    for (entries, width) in [(32, 1024), (64, 512)] {
        let batch = Batch::draw(entries, entries, width);
        let leaf = |rows| Var::from_tensor(rows).expect("a fresh tensor");
        let (region_rows, word_rows) = (leaf(batch.regions.rows()), leaf(batch.words.rows()));
        for (name, path) in PATHS {
            let id = BenchmarkId::new(name, format!("batch {entries}, width {width}"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    let counts = batch.regions.counts().to_vec();
                    let regions = Regions::normalized(&region_rows, counts).expect("valid counts");
                    let counts = batch.words.counts().to_vec();
                    let words = Words::normalized(&word_rows, counts).expect("valid counts");
                    let found = path(&matcher, &regions, &words, batch.threshold);
                    let loss = found.expect("it matches").values.sum_all().expect("a sum");
                    loss.backward().expect("a gradient")
                });
            });
        }
    }
    group.finish();
}

/// The kernels on packed fragments, on a hundredth of the pairs of Flickr30K's test set.
fn inference(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matcher/inference");
    group.sample_size(10);
    let batch = Batch::draw(200, 250, 1024);
    group.throughput(Throughput::Elements(200 * 250));
    let regions = PackedRegions::pack(&batch.regions, Precision::Exact).expect("regions");
    let words = PackedWords::pack(&batch.words, Precision::Exact).expect("words");
    let mut out = vec![0.0; 200 * 250];
    for kernel in [Engine::Avx2, Engine::Avx512, Engine::Amx] {
        for precision in [Precision::F32, Precision::Bf16] {
            let search = match Search::new(&matcher(), batch.threshold, kernel, precision) {
                Ok(search) if search.running().fallback().is_none() => search,
                Ok(_) | Err(_) => {
                    eprintln!("skipped: {kernel}: this machine does not run it");
                    continue;
                }
            };
            group.bench_function(format!("{kernel} {precision}"), |bencher| {
                bencher.iter(|| {
                    let done = search.similarities_into(&regions, &words, &mut out);
                    done.expect("it matches")
                });
            });
        }
    }
    group.finish();
}

/// The engines without packed fragments, on few pairs.
fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matcher/batch");
    group.sample_size(10);
    let batch = Batch::draw(32, 32, 1024);
    group.throughput(Throughput::Elements(32 * 32));
    let matcher = matcher();
    for (name, path) in PATHS {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                path(&matcher, &batch.regions, &batch.words, batch.threshold).expect("it matches")
            });
        });
    }
    for kernel in [Engine::Scalar, Engine::Reference] {
        let search = Search::new(&matcher, batch.threshold, kernel, Precision::F32);
        let search = search.expect("it runs everywhere");
        group.bench_function(kernel.name(), |bencher| {
            bencher.iter(|| {
                search
                    .all_pairs(&batch.regions, &batch.words)
                    .expect("it matches")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, training, inference, batches);
criterion_main!(benches);
