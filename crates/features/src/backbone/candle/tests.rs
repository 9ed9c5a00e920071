//! Tests of the cells of each family against those of timm and transformers, on tiny networks whose
//! weights come from a formula. `tests/goldens/candle/write.py` wrote names and expected cells.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::{Device, safetensors};
use candle_transformers::models::fastvit;
use uard_core::random::Draws;
use uard_testkit::worst_difference;

use super::families::{Family, Sizes};
use super::*;

/// The tolerance for two layers of sums over up to 600 numbers, on features of size 1.
const PARITY: f64 = 1e-4;

type Shapes = BTreeMap<String, Vec<usize>>;

struct Case {
    name: &'static str,
    side: u32,
    family: Family,
    /// The expected cells are those of indices 0, `every`, 2 `every`, …, counted row by row.
    every: usize,
}

fn tiny_fastvit() -> fastvit::Config {
    fastvit::Config {
        exp_ratio: 2,
        in_channels: 16,
        blocks: [1, 1, 2, 1],
        attn: false,
        lkc_use_act: false,
    }
}

fn tiny_fastvit_with_attention() -> fastvit::Config {
    fastvit::Config {
        attn: true,
        lkc_use_act: true,
        ..tiny_fastvit()
    }
}

const TINY: Sizes = Sizes {
    width: 16,
    layers: 2,
    heads: 2,
    patch: 8,
};

const EVA02: Sizes = Sizes {
    width: 64,
    layers: 2,
    heads: 1,
    patch: 14,
};

fn cases() -> [Case; 6] {
    let case = |name, side, family| Case {
        name,
        side,
        family,
        every: 1,
    };
    [
        case("fastvit", 96, Family::FastVit(tiny_fastvit)),
        case(
            "fastvit_attention",
            96,
            Family::FastVit(tiny_fastvit_with_attention),
        ),
        Case {
            every: 53,
            ..case("eva02", 448, Family::Eva02(EVA02))
        },
        case("vit", 32, Family::Vit(TINY)),
        case("blip", 32, Family::Blip(TINY)),
        case("chinese_clip", 32, Family::ChineseClip(TINY)),
    ]
}

/// The formula of `write.py`.
fn numbers(name: &str, shape: &[usize]) -> Vec<f32> {
    let seed = name.bytes().fold(0x811c_9dc5_u32, |seed, byte| {
        (seed ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let is_scale = shape.len() == 1 && (name.ends_with(".weight") || name.ends_with("running_var"));
    let number = |at: usize| {
        let mut x = seed.wrapping_add((at as u32).wrapping_mul(2_654_435_761));
        for (shift, factor) in [(16, 0x7feb_352d_u32), (15, 0x846c_a68b)] {
            x = (x ^ (x >> shift)).wrapping_mul(factor);
        }
        x ^= x >> 16;
        let uniform = (x >> 8) as f32 / (1 << 24) as f32 - 0.5;
        0.5 * uniform + if is_scale { 1.0 } else { 0.0 }
    };
    (0..shape.iter().product()).map(number).collect()
}

fn goldens() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/candle")
}

fn shapes(case: &str) -> Shapes {
    let text = std::fs::read(goldens().join("names.json")).unwrap();
    let mut all: BTreeMap<String, Shapes> = serde_json::from_slice(&text).unwrap();
    all.remove(case).unwrap()
}

/// A file of tensors with the formula's numbers.
fn weights(shapes: &Shapes) -> Weights {
    let tensors = shapes.iter().map(|(name, shape)| {
        let numbers = numbers(name, shape);
        let tensor = Tensor::from_vec(numbers, shape.as_slice(), &Device::Cpu).unwrap();
        (name.clone(), tensor)
    });
    stored(tensors.collect())
}

fn stored(tensors: BTreeMap<String, Tensor>) -> Weights {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.safetensors");
    safetensors::save(&tensors.into_iter().collect(), &path).unwrap();
    Weights::open(&path).unwrap()
}

impl Case {
    fn model(&self) -> Model {
        Model {
            name: self.name,
            preprocessing: Preprocessing::IMAGENET.stretched(self.side),
            family: self.family,
        }
    }

    fn load(&self, weights: &Weights) -> Result<Network> {
        let network = CandleNetwork::load(&self.model(), weights)?;
        Ok(Network::new(Architecture::Candle(network)))
    }

    /// The formula's pixels [1, 3, side, side], with channels last.
    fn pixels(&self) -> Maps<f32> {
        let side = self.side as usize;
        let shape = [1, 3, side, side];
        let pixels = Tensor::from_vec(numbers("pixels", &shape), &shape, &Device::Cpu).unwrap();
        let pixels = pixels.permute((0, 2, 3, 1)).unwrap();
        let pixels = pixels.flatten_all().unwrap().to_vec1().unwrap();
        Maps::new(pixels, [1, side, side, 3])
    }
}

#[test]
fn cells_of_every_family_equal_those_of_the_published_code() {
    let expected = safetensors::load(goldens().join("expected.safetensors"), &Device::Cpu).unwrap();
    for case in cases() {
        let network = case.load(&weights(&shapes(case.name))).unwrap();
        let map = network.forward(&case.pixels()).unwrap();
        let width = map.channels();
        let cells = map.values().chunks_exact(width).step_by(case.every);
        let cells: Vec<f32> = cells.flatten().copied().collect();
        let expected = &expected[case.name];
        let found = Tensor::from_vec(cells, expected.dims(), &Device::Cpu).unwrap();
        let (difference, place) = worst_difference(&found, expected);
        assert!(
            difference < PARITY,
            "{}, number {place}: {difference:e}",
            case.name
        );
    }
}

#[test]
fn names_with_a_prefix_are_read() {
    let [.., vit, _, _] = cases();
    let plain = shapes("vit");
    let tensors = plain.iter().map(|(name, shape)| {
        let numbers = numbers(name, shape);
        let tensor = Tensor::from_vec(numbers, shape.as_slice(), &Device::Cpu).unwrap();
        (format!("vit.{name}"), tensor)
    });
    let prefixed = vit.load(&stored(tensors.collect())).unwrap();
    let bare = vit.load(&weights(&plain)).unwrap();
    let maps = |network: &Network| network.forward(&vit.pixels()).unwrap();
    assert_eq!(maps(&prefixed), maps(&bare));
}

#[test]
fn a_photo_alone_and_any_number_of_threads_give_the_same_bytes() {
    for case in cases() {
        let network = case.load(&weights(&shapes(case.name))).unwrap();
        let one = case.pixels();
        let side = case.side as usize;
        let mirrored: Vec<f32> = one.values().iter().rev().copied().collect();
        let two = [mirrored, one.values().to_vec()].concat();
        let two = Maps::new(two, [2, side, side, 3]);
        let run = |threads: usize, pixels: &Maps<f32>| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().unwrap();
            pool.install(|| network.forward(pixels).unwrap())
        };
        let (alone, together) = (run(1, &one), run(3, &two));
        assert_eq!(alone.values(), together.photo(1), "{}", case.name);
    }
}

/// Each of some tensors is, in turn, missing, of another shape, of integers, or not finite.
#[test]
fn weights_that_do_not_fit_are_refused_by_name() {
    for (case, tensor) in [
        ("fastvit", "stages.1.downsample.proj.1.identity.weight"),
        ("fastvit", "final_conv.conv_scale.bn.running_var"),
        ("fastvit_attention", "stages.3.pos_emb.pos_enc.weight"),
        (
            "fastvit_attention",
            "stages.2.downsample.proj.0.se.fc1.bias",
        ),
        ("eva02", "blocks.1.mlp.norm.weight"),
        ("vit", "layernorm.bias"),
        ("blip", "vision_model.embeddings.class_embedding"),
        ("chinese_clip", "vision_model.embeddings.class_embedding"),
    ] {
        let mut all = cases().into_iter();
        let model = all.find(|one| one.name == case).unwrap();
        let whole: BTreeMap<String, Tensor> = shapes(case)
            .into_iter()
            .map(|(name, shape)| {
                let numbers = numbers(&name, &shape);
                (
                    name,
                    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap(),
                )
            })
            .collect();
        let right = &whole[tensor];
        let integers = right.to_dtype(candle_core::DType::U8).unwrap();
        let infinite = (right / 0.0).unwrap();
        let flat = right.flatten_all().unwrap();
        let other = Tensor::cat(&[&flat, &flat], 0).unwrap();
        for (damaged, reason) in [
            (None, "is missing"),
            (Some(other), "expected shape"),
            (Some(integers), "found u8"),
            (Some(infinite), "expected finite numbers"),
        ] {
            let mut tensors = whole.clone();
            match damaged {
                Some(damaged) => tensors.insert(tensor.to_owned(), damaged),
                None => tensors.remove(tensor),
            };
            let message = model.load(&stored(tensors)).unwrap_err().to_string();
            for part in ["tiny.safetensors", tensor, reason] {
                assert!(message.contains(part), "`{part}` is not in: {message}");
            }
        }
    }
}

#[test]
fn pixels_of_another_size_are_refused() {
    let [fast, ..] = cases();
    let network = fast.load(&weights(&shapes("fastvit"))).unwrap();
    let error = network.shape(Size::new(64, 96)).unwrap_err().to_string();
    assert!(
        error.contains("64 x 96 pixels, expected 96 x 96"),
        "{error}"
    );
}

/// The smallest published networks, with random weights. Only shapes are tested: with these
/// weights, activations may grow without bound.
#[test]
fn published_sizes_are_built_and_run() {
    for (name, shape) in [
        ("candle:fastvit_t8", [8, 8, 768]),
        ("candle:fastvit_mci0", [8, 8, 1024]),
        ("candle:vit_base_patch32_384", [12, 12, 768]),
        ("candle:dino_vits16", [14, 14, 384]),
    ] {
        let model = CandleModel::named(name).unwrap();
        let network = model.load(&Weights::drawn(Draws::new(5))).unwrap();
        let size = model.preprocessing().size();
        assert_eq!(network.shape(size).unwrap(), shape, "{name}");
        let shape_of_pixels = [1, size.height, size.width, 3];
        let pixels = Maps::new(vec![0.5; shape_of_pixels.iter().product()], shape_of_pixels);
        let map = network.forward(&pixels).unwrap();
        assert_eq!(map.shape(), [1, shape[0], shape[1], shape[2]], "{name}");
    }
}

#[test]
fn names_are_unique_and_begin_with_candle() {
    let names: std::collections::BTreeSet<_> = CandleModel::all().map(CandleModel::name).collect();
    assert_eq!(names.len(), CandleModel::all().count());
    assert_eq!(CandleModel::named("fastvit_t8"), None);
}
