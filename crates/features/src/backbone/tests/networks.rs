//! Tests of the networks against maps of torchvision and timm, for narrow networks with random
//! weights; `tests/goldens/backbones.py` wrote them. Full sizes are built and run once. Tests with
//! published weights need the folder `UARD_SHARED`.

#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use std::path::{Path, PathBuf};

use uard_core::random::Draws;
use uard_hub::weights::Weights;
use uard_linalg::matmul::Matmul;

use crate::backbone::tests::golden::{Golden, relative_difference};
use crate::backbone::{
    Block, Cells, GridBackbone, InceptionV3, Maps, Network, Photo, Preprocessing, ResNet, Size,
    Stage, StrideOn,
};

/// The tolerance of maps, relative to their root mean square, for f32 sums in another order through
/// tens of layers.
const TOLERANCE: f64 = 1e-4;

/// The same tolerance for bf16: the largest numbers of a map are about ten times its root mean
/// square, and each layer rounds them by up to 2^-9. Measured: 0.05.
const BF16_TOLERANCE: f64 = 1e-1;

const STAGES: [(Stage, &str); 4] = [
    (Stage::C2, "c2"),
    (Stage::C3, "c3"),
    (Stage::C4, "c4"),
    (Stage::C5, "c5"),
];

fn difference(found: &Maps<f32>, expected: &Maps<f32>) -> f64 {
    assert_eq!(found.shape(), expected.shape());
    relative_difference(found.values(), expected.values())
}

/// A ResNet with a sixteenth of the published channels.
fn narrow(block: Block, blocks: [usize; 4]) -> ResNet {
    ResNet {
        block,
        blocks,
        width: 4,
    }
}

#[test]
fn resnets_compute_the_maps_of_torchvision_and_timm() {
    let bottleneck = Block::Bottleneck(StrideOn::Middle);
    for (name, config) in [
        (
            "resnet_bottleneck.safetensors",
            narrow(bottleneck, [1, 2, 1, 1]),
        ),
        ("resnet_basic.safetensors", narrow(Block::Basic, [1; 4])),
    ] {
        let golden = Golden::open(name);
        for (matmul, tolerance) in [(Matmul::F32, TOLERANCE), (Matmul::Bf16, BF16_TOLERANCE)] {
            for (last, stage) in STAGES {
                let network = config.load(&golden.weights(), last, matmul).unwrap();
                assert_eq!(network.matmul(), matmul);
                let maps = network.forward(&golden.maps("pixels")).unwrap();
                let difference = difference(&maps, &golden.maps(stage));
                println!("{name} {stage} {matmul:?}: {difference:.1e}");
                assert!(difference <= tolerance, "{stage}: {difference}");
            }
        }
    }
}

#[test]
fn inception_computes_the_map_of_timm() {
    let golden = Golden::open("inception_v3.safetensors");
    let config = InceptionV3 { divisor: 16 };
    for (matmul, tolerance) in [(Matmul::F32, TOLERANCE), (Matmul::Bf16, BF16_TOLERANCE)] {
        let network = config.load(&golden.weights(), matmul).unwrap();
        let maps = network.forward(&golden.maps("pixels")).unwrap();
        let difference = difference(&maps, &golden.maps("mixed_7a"));
        println!("inception {matmul:?}: {difference:.1e}");
        assert!(difference <= tolerance, "{matmul:?}: {difference}");
    }
}

#[test]
fn full_sizes_are_built_and_run_with_drawn_weights() {
    let weights = Weights::drawn(Draws::new(1));
    let pixels = |side: usize| {
        let shape = [1, side, side, 3];
        Maps::new(vec![0.5; shape.iter().product()], shape)
    };
    for (config, width) in [
        (ResNet::R18, 512),
        (ResNet::R34, 512),
        (ResNet::R50, 2048),
        (ResNet::R101, 2048),
    ] {
        let first = config.load(&weights, Stage::C2, Matmul::F32).unwrap();
        let maps = first.forward(&pixels(64)).unwrap();
        assert_eq!(maps.shape(), [1, 16, 16, width / 8]);
        let network = config.load(&weights, Stage::C5, Matmul::F32).unwrap();
        let maps = network.forward(&pixels(64)).unwrap();
        assert_eq!(maps.shape(), [1, 2, 2, width]);
        assert!(maps.values().iter().all(|x| x.is_finite()));
        assert!(maps.values().iter().any(|x| *x > 0.0));
    }
    let caffe = ResNet {
        block: Block::Bottleneck(StrideOn::First),
        ..ResNet::R50
    };
    let network = caffe.load(&weights, Stage::C4, Matmul::F32).unwrap();
    assert_eq!(network.shape(Size::new(65, 64)).unwrap(), [5, 4, 1024]);
    let network = InceptionV3::default().load(&weights, Matmul::F32).unwrap();
    assert_eq!(network.shape(Size::square(299)).unwrap(), [8, 8, 1280]);
    assert_eq!(
        network.forward(&pixels(80)).unwrap().shape(),
        [1, 1, 1, 1280]
    );
}

#[test]
fn networks_refuse_unfit_pixels_and_weights() {
    let weights = Weights::drawn(Draws::new(1));
    let config = InceptionV3 { divisor: 16 };
    let network = config.load(&weights, Matmul::F32).unwrap();
    let few = network.forward(&Maps::new(vec![0.0; 300], [1, 10, 10, 3]));
    assert!(few.unwrap_err().to_string().contains("10 x 10 pixels"));
    let grey = network.forward(&Maps::new(vec![0.0; 40_000], [1, 200, 200, 1]));
    assert!(grey.unwrap_err().to_string().contains("colours"));
    let golden = Golden::open("resnet_basic.safetensors");
    let other = config.load(&golden.weights(), Matmul::F32).unwrap_err();
    assert!(other.to_string().contains("Conv2d_1a_3x3"), "{other}");
}

fn shared() -> Option<PathBuf> {
    let shared = std::env::var_os("UARD_SHARED").map(PathBuf::from);
    if shared.is_none() {
        println!("skipped: UARD_SHARED is not set");
    }
    shared
}

fn trunk(shared: &Path, matmul: Matmul) -> Network {
    let weights = Weights::open(&shared.join("weights/inception_v3_trunk.safetensors"));
    InceptionV3::default()
        .load(&weights.unwrap(), matmul)
        .unwrap()
}

/// The means of the first channels, computed by ONNX Runtime with the same weights and the graph of
/// `make_features.py`.
const MEANS_OF_ZEROS: [f64; 4] = [0.281_211, 0.002_518, 0.012_905, 0.050_051];

/// The tolerance of these means, for f32 sums in another order.
const MEANS_TOLERANCE: f64 = 5e-6;

#[test]
fn published_weights_give_the_known_means_for_an_image_of_zeros() {
    let Some(shared) = shared() else { return };
    let pixels = Maps::new(vec![0.0; 299 * 299 * 3], [1, 299, 299, 3]);
    let maps = trunk(&shared, Matmul::F32).forward(&pixels).unwrap();
    for (channel, expected) in MEANS_OF_ZEROS.into_iter().enumerate() {
        let cells = maps.values().chunks_exact(1280);
        let mean = cells.map(|cell| f64::from(cell[channel])).sum::<f64>() / 64.0;
        println!("channel {channel}: {mean:.6}, expected {expected:.6}");
        assert!((mean - expected).abs() <= MEANS_TOLERANCE);
    }
}

/// The lowest allowed cosine of a region's features with those of `make_features.py`, for the same
/// pixels.
const LEAST_COSINE: f64 = 0.999;

/// The photo whose bytes `tests/goldens/inception_regions.py` draws.
fn drawn() -> Photo {
    let pixels = (0..299_usize).flat_map(|y| (0..299_usize).map(move |x| (y, x)));
    let bytes = pixels.flat_map(|(y, x)| {
        [0, 1, 2].map(|colour| {
            let waves = (x * (3 + colour) + y * (5 - colour)) % 256;
            let patches = (x / 23 * 37 + y / 31 * 53 + colour * 71) % 256;
            ((waves + patches) / 2) as u8
        })
    });
    Photo::new(bytes.collect(), 299, 299).unwrap()
}

#[test]
fn regions_with_published_weights_are_those_of_make_features() {
    let Some(shared) = shared() else { return };
    let golden = Golden::open("inception_regions.safetensors");
    let expected = golden.numbers("drawn");
    let grid = Cells::Grid { side: 6 };
    for matmul in [Matmul::F32, Matmul::Bf16] {
        let network = trunk(&shared, matmul);
        let backbone = GridBackbone::new(network, Preprocessing::INCEPTION, grid).unwrap();
        let found = backbone.regions(&[drawn()]).unwrap().remove(0);
        let pairs = found.features.chunks(1280).zip(expected.chunks(1280));
        let cosines: Vec<f64> = pairs.map(|(a, b)| cosine(a, b)).collect();
        assert_eq!(cosines.len(), 36);
        let least = cosines.into_iter().fold(1.0, f64::min);
        println!("{matmul:?}: least cosine {least:.6}");
        assert!(least > LEAST_COSINE, "{matmul:?}: {least}");
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
