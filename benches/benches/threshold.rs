//! Benches of an update of the threshold, which happens once a training step.

use criterion::{Criterion, criterion_group, criterion_main};
use uard_core::random::{Draws, normal};
use uard_relevance::{DistributionKind, LearnerConfig, Samples, ThresholdLearner};

fn update(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("threshold/update");
    let draws = Draws::new(0);
    // Half the captions of a batch of 128 with 12 words each.
    let drawn = |label, mean: f32| -> Vec<f32> {
        normal(&mut draws.stream(label, &[]), 0.1, 768)
            .into_iter()
            .map(|x| x + mean)
            .collect()
    };
    let samples = Samples {
        relevant: drawn("relevant", 0.45),
        irrelevant: drawn("irrelevant", 0.1),
    };
    for distributions in [DistributionKind::Normal, DistributionKind::Empirical] {
        let config = LearnerConfig {
            distributions,
            ..LearnerConfig::default()
        };
        group.bench_function(distributions.to_string(), |bencher| {
            let mut learner = ThresholdLearner::new(config.clone()).expect("valid settings");
            bencher.iter(|| learner.update(&samples));
        });
    }
    group.finish();
}

criterion_group!(benches, update);
criterion_main!(benches);
