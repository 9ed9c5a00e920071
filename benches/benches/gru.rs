//! Benches of the forward and backward passes of the text encoder, by our operator and by candle's
//! operations.

use candle_core::{Device, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use uard_benches::workload;
use uard_core::parameters::Parameters;
use uard_core::random::Draws;
use uard_features::text::gru::{CaptionBatch, TextEncoder, TextEncoderConfig, composed, operator};

const VOCABULARY: usize = 8000;

/// Number of captions and joint width, of a small run and of Flickr30K's settings.
const SIZES: [(usize, usize); 2] = [(64, 512), (128, 1024)];

/// Captions of 8 to 20 words.
fn captions(count: usize) -> CaptionBatch {
    let captions = workload::word_ids(count, VOCABULARY, &Draws::new(0));
    CaptionBatch::pad(&captions, 0, &Device::Cpu).expect("every caption has words")
}

fn encoder(joint_width: usize) -> TextEncoder {
    let mut parameters = Parameters::new(&Device::Cpu);
    let config = TextEncoderConfig {
        word_width: 300,
        joint_width,
    };
    TextEncoder::new(&mut parameters, config, VOCABULARY, &Draws::new(1)).expect("names are free")
}

/// Runs the backward pass of a loss whose gradient is not constant.
fn backward(average: &Tensor) {
    let loss = average
        .sqr()
        .and_then(|squares| squares.sum_all())
        .expect("a scalar");
    std::hint::black_box(loss.backward().expect("a backward"));
}

fn gru(criterion: &mut Criterion) {
    for (count, joint_width) in SIZES {
        let (encoder, batch) = (encoder(joint_width), captions(count));
        let mut group = criterion.benchmark_group(format!("gru C={count} H={joint_width}"));
        group.sample_size(10);
        type EncodeFunction = fn(&TextEncoder, &CaptionBatch) -> uard_features::Result<Tensor>;
        let forms: [(&str, EncodeFunction); 2] = [
            ("operator", operator::average),
            ("composed", composed::average),
        ];
        for (name, average) in forms {
            let form = |there_and_back: fn(&Tensor)| {
                there_and_back(&average(&encoder, &batch).expect("sizes fit"));
            };
            group.bench_function(format!("{name} forward"), |bencher| {
                bencher.iter(|| form(|average| drop(std::hint::black_box(average.clone()))));
            });
            group.bench_function(format!("{name} forward and backward"), |bencher| {
                bencher.iter(|| form(backward));
            });
        }
        group.bench_function("whole encoder forward and backward", |bencher| {
            bencher.iter(|| backward(encoder.forward(&batch).expect("ids are known").rows()));
        });
        group.finish();
    }
}

criterion_group!(benches, gru);
criterion_main!(benches);
