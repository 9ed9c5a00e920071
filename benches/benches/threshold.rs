//! What does one update of the threshold cost? It happens once a training step.

use criterion::{Criterion, criterion_group, criterion_main};
use uard_core::random::{Draws, normal};
use uard_relevance::{DistributionKind, LearnerConfig, ThresholdLearner};

fn update(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("threshold/update");
    let draws = Draws::new(0);
    // Half the captions of a batch of 128 with 12 words each.
    let samples = |label, mean: f32| -> Vec<f32> {
        normal(&mut draws.stream(label, &[]), 0.1, 768)
            .into_iter()
            .map(|x| x + mean)
            .collect()
    };
    let (relevant, irrelevant) = (samples("relevant", 0.45), samples("irrelevant", 0.1));
    for distributions in [DistributionKind::Normal, DistributionKind::Empirical] {
        let config = LearnerConfig {
            distributions,
            ..LearnerConfig::default()
        };
        group.bench_function(distributions.to_string(), |bencher| {
            let mut learner = ThresholdLearner::new(&config);
            bencher.iter(|| learner.update(&config, &relevant, &irrelevant));
        });
    }
    group.finish();
}

criterion_group!(benches, update);
criterion_main!(benches);
