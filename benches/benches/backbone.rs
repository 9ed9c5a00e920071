//! How long does the trunk of Inception-v3 take for photos of 299 x 299 pixels? Drawn weights:
//! time does not depend on what they know.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use uard_core::random::{Draws, uniform};
use uard_features::backbone::{InceptionV3, Maps};
use uard_hub::weights::Weights;
use uard_linalg::matmul::Matmul;

/// As many as pass through a network together.
const PHOTOS: usize = 4;

fn trunk(criterion: &mut Criterion) {
    let weights = Weights::drawn(Draws::new(0));
    let shape = [PHOTOS, 299, 299, 3];
    let mut stream = Draws::new(1).stream("pixels", &[]);
    let pixels = uniform(&mut stream, -1.0, 1.0, shape.iter().product());
    let pixels = Maps::new(pixels, shape);
    let mut group = criterion.benchmark_group("backbone/inception_v3");
    group.sample_size(10);
    group.throughput(Throughput::Elements(PHOTOS as u64));
    for (name, matmul) in [("f32", Matmul::F32), ("bf16", Matmul::Bf16)] {
        let network = InceptionV3::default().load(&weights, matmul);
        let network = network.expect("drawn weights have every name");
        group.bench_function(name, |bencher| {
            bencher.iter(|| network.forward(&pixels).expect("pixels are enough"));
        });
    }
    group.finish();
}

criterion_group!(benches, trunk);
criterion_main!(benches);
