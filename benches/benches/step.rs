//! What does a whole training step cost, all but the reading? Flickr8k's shape and settings.

use criterion::{Criterion, criterion_group, criterion_main};
use uard_benches::step::{Step, config};
use uard_training::negatives::Negatives;

fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    group.sample_size(10);
    let config = config().expect("the settings of the repository are valid");
    let kinds = [
        ("hardest negatives", Negatives::Hardest),
        ("all negatives", Negatives::All),
    ];
    for (name, negatives) in kinds {
        let mut step = Step::new(&config, &candle_core::Device::Cpu).expect("a model");
        group.bench_function(name, |bencher| {
            bencher.iter(|| step.take(negatives).expect("a finite step"));
        });
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
