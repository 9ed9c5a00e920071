//! Benches of a whole training step without reading, with Flickr8k's sizes and configuration.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use uard_benches::step::{Setup, Step};
use uard_training::negatives::Negatives;

fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    group.sample_size(10);
    let setup = Setup::flickr8k().expect("the settings of the repository are valid");
    let kinds = [
        ("hardest negatives", Negatives::Hardest),
        ("all negatives", Negatives::All),
    ];
    for (name, negatives) in kinds {
        let mut step = Step::new(&setup, &candle_core::Device::Cpu).expect("a model");
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let taken = (0..times).map(|_| step.take(negatives).expect("a finite step"));
                Duration::from_secs_f64(taken.sum())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
