//! Benches of frozen networks on four photos, ours and those of candle-transformers. Weights are random or
//! zero, because the time does not depend on them.
//!
//! candle-transformers runs each network in the faster of two ways: all photos as one batch, or one
//! photo on each thread, as `--encoder candle:NAME` does.

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Func, VarBuilder};
use candle_transformers::models::{clip, dinov2, resnet, siglip};
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use rayon::prelude::*;
use uard_core::random::{Draws, uniform};
use uard_features::backbone::{InceptionV3, Maps, Network, ResNet, Stage, Tokens, VisionConfig};
use uard_hub::weights::Weights;
use uard_linalg::matmul::Matmul;

/// The number of photos in a batch.
const PHOTOS: usize = 4;

/// The forward pass of a network of candle-transformers, with its weights.
type Theirs = dyn Fn(&Tensor) -> Tensor + Sync;

/// Random pixels of four photos, [4, side, side, 3], uniform from -1 to 1.
fn pixels(side: usize) -> Maps<f32> {
    let shape = [PHOTOS, side, side, 3];
    let mut stream = Draws::new(1).stream("pixels", &[]);
    let pixels = uniform(&mut stream, -1.0, 1.0, shape.iter().product());
    Maps::new(pixels, shape)
}

fn weights() -> Weights {
    Weights::drawn(Draws::new(0))
}

fn ours(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, network: &Network, side: usize) {
    let pixels = pixels(side);
    group.bench_function(name, |bencher| {
        bencher.iter(|| network.forward(&pixels).expect("pixels are enough"));
    });
}

/// Benches a network of candle-transformers on 224 x 224 pixels; `together` says whether the
/// network takes several photos in one batch.
fn theirs(group: &mut BenchmarkGroup<'_, WallTime>, network: &Theirs, together: bool) {
    let maps = pixels(224);
    let photos = Tensor::from_slice(maps.values(), maps.shape().as_slice(), &Device::Cpu)
        .and_then(|photos| photos.permute((0, 3, 1, 2))?.contiguous())
        .expect("as many numbers as the shape says");
    if together {
        group.bench_function("candle_together", |bencher| {
            bencher.iter(|| network(&photos))
        });
    }
    let photo = |at| photos.narrow(0, at, 1).expect("a photo of the batch");
    group.bench_function("candle_apart", |bencher| {
        bencher.iter(|| -> Vec<Tensor> {
            let photos = (0..PHOTOS).into_par_iter();
            photos.map(|at| network(&photo(at))).collect()
        });
    });
}

/// Benches our network in f32 and bf16, and that of candle-transformers.
fn race(criterion: &mut Criterion, name: &str, mine: impl Fn(Matmul) -> Network, other: &Theirs) {
    let mut group = criterion.benchmark_group(format!("backbone/{name}"));
    group.sample_size(10);
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(PHOTOS as u64));
    for (name, matmul) in [("f32", Matmul::F32), ("bf16", Matmul::Bf16)] {
        ours(&mut group, name, &mine(matmul), 224);
    }
    // candle's DINOv2 adds the class token for one photo only, so it takes no batch.
    theirs(&mut group, other, name != "dinov2_base");
    group.finish();
}

/// Zeros for every weight that candle-transformers asks for.
fn zeros() -> VarBuilder<'static> {
    VarBuilder::zeros(DType::F32, &Device::Cpu)
}

fn inception(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("backbone/inception_v3");
    group.sample_size(10);
    group.throughput(Throughput::Elements(PHOTOS as u64));
    for (name, matmul) in [("f32", Matmul::F32), ("bf16", Matmul::Bf16)] {
        let network = InceptionV3::default().load(&weights(), matmul);
        let network = network.expect("drawn weights have every name");
        ours(&mut group, name, &network, 299);
    }
    group.finish();
}

fn vision(config: VisionConfig) -> impl Fn(Matmul) -> Network {
    move |matmul| {
        let network = config.load(&weights(), Tokens::Hidden, matmul);
        network.expect("drawn weights have every name")
    }
}

fn peers(criterion: &mut Criterion) {
    let resnet50 = |matmul| {
        let network = ResNet::R50.load(&weights(), Stage::C5, matmul);
        network.expect("drawn weights have every name")
    };
    let build = "drawn weights have every name";
    let network: Func<'_> = resnet::resnet50_no_final_layer(zeros()).expect(build);
    let run = move |photos: &Tensor| network.forward(photos).expect("it runs");
    race(criterion, "resnet50", resnet50, &run);

    let config = clip::vision_model::ClipVisionConfig::vit_base_patch32();
    let network = clip::vision_model::ClipVisionTransformer::new(zeros(), &config).expect(build);
    let run = move |photos: &Tensor| network.forward(photos).expect("it runs");
    race(
        criterion,
        "clip_base_patch32",
        vision(VisionConfig::clip()),
        &run,
    );

    let config = siglip::Config::base_patch16_224().vision_config;
    let network = siglip::VisionModel::new(&config, false, zeros()).expect(build);
    let run = move |photos: &Tensor| network.forward(photos).expect("it runs");
    race(
        criterion,
        "siglip_base_patch16",
        vision(VisionConfig::siglip()),
        &run,
    );

    let network = dinov2::DinoVisionTransformer::new(zeros(), 12, 768, 12).expect(build);
    let run = move |photos: &Tensor| {
        let tokens = network.get_intermediate_layers(photos, &[11], false, false, true);
        tokens.expect("it runs")
    };
    race(
        criterion,
        "dinov2_base",
        vision(VisionConfig::dinov2()),
        &run,
    );
}

criterion_group!(benches, inception, peers);
criterion_main!(benches);
