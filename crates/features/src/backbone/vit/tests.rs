//! Tests of tokens against golden ones of tiny models with random weights, which the published code
//! computed in `tests/goldens/transformers/write.py`.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::safetensors::load;
use candle_core::{Device, Tensor};
use uard_core::random::Draws;
use uard_testkit::worst_difference;

use super::*;
use crate::backbone::maps::Maps;
use crate::backbone::photo::{Photo, PhotoLimits};
use crate::backbone::preprocessing::Fit;

/// The tolerance for two layers of sums over up to 75 numbers, whose errors are a few 1e-7 each, on
/// tokens of size 1.
const PARITY: f64 = 1e-5;

/// The tolerance for resized photos. Resizing rounds to bytes after each axis, as Pillow does, and
/// may round one byte differently: 1/255 of a colour, through two layers.
const PHOTO_TOLERANCE: f64 = 0.05;

const FAMILIES: [&str; 5] = [
    "clip",
    "siglip",
    "dinov2",
    "dinov2_gated",
    "dinov2_with_registers",
];

fn goldens() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

fn folder(family: &str) -> PathBuf {
    goldens().join("transformers").join(family)
}

fn expected(family: &str) -> HashMap<String, Tensor> {
    load(folder(family).join("expected.safetensors"), &Device::Cpu).unwrap()
}

fn network(family: &str, tokens: Tokens, matmul: Matmul) -> Network {
    let weights = Weights::open_folder(&folder(family)).unwrap();
    let config = VisionConfig::open(&folder(family)).unwrap();
    config.load(&weights, tokens, matmul).unwrap()
}

/// Pixels [N, 3, H, W] of PyTorch as maps, with channels last.
fn maps(pixels: &Tensor) -> Maps<f32> {
    let pixels = pixels.permute((0, 2, 3, 1)).unwrap();
    let shape: [usize; 4] = pixels.dims().try_into().unwrap();
    Maps::new(pixels.flatten_all().unwrap().to_vec1().unwrap(), shape)
}

/// The tokens of a network as PyTorch's [N, P, F].
fn tokens(network: &Network, pixels: &Tensor) -> Tensor {
    let maps = network.forward(&maps(pixels)).unwrap();
    let [photos, rows, columns, width] = maps.shape();
    let shape = (photos, rows * columns, width);
    Tensor::from_vec(maps.values().to_vec(), shape, &Device::Cpu).unwrap()
}

#[track_caller]
fn assert_tokens(name: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dims(), expected.dims(), "{name}");
    let (difference, place) = worst_difference(found, expected);
    assert!(
        difference < PARITY,
        "{name}, number {place}: {difference:e}"
    );
}

#[test]
fn hidden_tokens_equal_those_of_the_published_code_at_every_size() {
    let mut compared = 0;
    for family in FAMILIES {
        let expected = expected(family);
        let network = network(family, Tokens::Hidden, Matmul::F32);
        for case in 0..3 {
            let Some(pixels) = expected.get(&format!("pixels_{case}")) else {
                continue;
            };
            let hidden = &expected[&format!("hidden_{case}")];
            let name = format!("{family}, case {case}");
            assert_tokens(&name, &tokens(&network, pixels), hidden);
            compared += 1;
        }
    }
    assert_eq!(compared, 2 + 1 + 3 * 3);
}

#[test]
fn projected_tokens_equal_those_of_the_published_code() {
    let expected = expected("clip");
    let network = network("clip", Tokens::Projected, Matmul::F32);
    let found = tokens(&network, &expected["pixels_0"]);
    assert_eq!(found.dims()[2], 12);
    assert_tokens("clip", &found, &expected["projected_0"]);
}

#[test]
fn folders_make_regions_of_photos_as_the_published_code_does() {
    let path = goldens().join("photos/rgb.jpg");
    let photo = [Photo::open(&path, PhotoLimits::default()).unwrap()];
    for family in FAMILIES {
        let folder = folder(family);
        let backbone = open_folder(&folder, Tokens::Hidden, Cells::All, Matmul::F32).unwrap();
        let regions = backbone.regions(&photo).unwrap().remove(0);
        let expected = &expected(family)["photo_hidden"];
        let found = Tensor::from_vec(regions.features, expected.dims(), &Device::Cpu).unwrap();
        let (difference, place) = worst_difference(&found, expected);
        assert!(
            difference < PHOTO_TOLERANCE,
            "{family}, {place}: {difference}"
        );
    }
}

#[test]
fn boxes_leave_out_pixels_outside_of_whole_patches() {
    let folder = folder("siglip");
    let backbone = open_folder(&folder, Tokens::Hidden, Cells::All, Matmul::F32).unwrap();
    // 22 x 22 pixels, 4 x 4 patches of 5.
    let photo = Photo::new(vec![90; 44 * 22 * 3], 44, 22).unwrap();
    let regions = backbone.regions(&[photo]).unwrap().remove(0);
    assert_eq!(regions.boxes[0], [0.0, 0.0, 10.0, 5.0]);
    assert_eq!(regions.boxes[15], [30.0, 15.0, 40.0, 20.0]);
}

#[test]
fn products_in_bf16_change_tokens_slightly() {
    let expected = expected("dinov2");
    let network = network("dinov2", Tokens::Hidden, Matmul::Bf16);
    assert_eq!(network.matmul(), Matmul::Bf16);
    let found = tokens(&network, &expected["pixels_0"]);
    let (difference, _) = worst_difference(&found, &expected["hidden_0"]);
    // Each factor is rounded by up to 2^-9 of it, in a dozen products one after the other.
    assert!(difference > 1e-4 && difference < 0.2, "{difference}");
}

#[test]
fn a_photo_alone_and_any_number_of_threads_give_the_same_bytes() {
    let pixels = expected("clip")["pixels_0"].clone();
    let network = network("clip", Tokens::Hidden, Matmul::F32);
    let run = |threads: usize, pixels: &Tensor| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.build().unwrap();
        pool.install(|| tokens(&network, pixels))
    };
    let one = run(1, &pixels);
    uard_testkit::assert_same_bytes(&run(3, &pixels), &one);
    let alone = run(3, &pixels.narrow(0, 1, 1).unwrap());
    uard_testkit::assert_same_bytes(&alone, &one.narrow(0, 1, 1).unwrap());
}

#[test]
fn names_with_and_without_a_prefix_are_read() {
    for (family, prefix, published) in [("clip", "vision_model.", ""), ("dinov2", "", "dinov2.")] {
        let all = load(folder(family).join("model.safetensors"), &Device::Cpu).unwrap();
        let renamed = all.into_iter().map(|(name, tensor)| {
            let bare = name.strip_prefix(prefix).unwrap_or(&name);
            (format!("{published}{bare}"), tensor)
        });
        let copy = tempfile::tempdir().unwrap();
        let path = copy.path().join("model.safetensors");
        candle_core::safetensors::save(&renamed.collect(), path).unwrap();
        let weights = Weights::open_folder(copy.path()).unwrap();
        let config = VisionConfig::open(&folder(family)).unwrap();
        let network = config.load(&weights, Tokens::Hidden, Matmul::F32).unwrap();
        let expected = expected(family);
        let found = tokens(&network, &expected["pixels_0"]);
        assert_tokens(family, &found, &expected["hidden_0"]);
    }
}

#[test]
fn tokens_without_a_joint_space_are_refused() {
    for (family, reason) in [("siglip", "by attention"), ("dinov2", "without captions")] {
        let weights = Weights::open_folder(&folder(family)).unwrap();
        let config = VisionConfig::open(&folder(family)).unwrap();
        let error = config.load(&weights, Tokens::Projected, Matmul::F32);
        let message = error.unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
        assert!(message.contains("ask for the hidden tokens"), "{message}");
    }
}

/// A folder with one file.
fn folder_with(name: &str, text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), text).unwrap();
    folder
}

fn config(keys: &str) -> std::result::Result<VisionConfig, String> {
    let folder = folder_with("config.json", &format!("{{{keys}}}"));
    VisionConfig::open(folder.path()).map_err(|error| error.to_string())
}

#[test]
fn missing_keys_have_the_values_of_the_family() {
    assert_eq!(
        config(r#""model_type": "clip""#).unwrap(),
        VisionConfig::clip()
    );
    let siglip =
        r#""model_type": "siglip", "vision_config": {"model_type": "siglip_vision_model"}"#;
    assert_eq!(config(siglip).unwrap(), VisionConfig::siglip());
    let dinov2 = r#""model_type": "dinov2", "image_size": 518, "patch_size": 14"#;
    assert_eq!(config(dinov2).unwrap(), VisionConfig::dinov2());
    let twice = r#""model_type": "clip", "projection_dim": 768,
        "vision_config": {"patch_size": 32}, "vision_config_dict": {"patch_size": 16}"#;
    let read = config(twice).unwrap();
    assert_eq!((read.patch_size, read.projection_dim), (16, 768));
}

#[test]
fn impossible_and_unknown_configurations_are_refused_by_key() {
    let vision = |keys: &str| format!(r#""model_type": "clip", "vision_config": {{{keys}}}"#);
    for (keys, parts) in [
        (
            r#""hidden_size": 3"#.to_owned(),
            ["`model_type`", "no such key"],
        ),
        (
            r#""model_type": "siglip2""#.to_owned(),
            ["unknown variant `siglip2`", "`siglip`"],
        ),
        (
            vision(r#""hidden_act": "mish""#),
            ["unknown variant `mish`", "`quick_gelu`"],
        ),
        (
            vision(r#""num_attention_heads": 7"#),
            ["a divisor of hidden_size 768", "found 7"],
        ),
        (
            vision(r#""num_channels": 4"#),
            ["`num_channels`", "expected 3, found 4"],
        ),
        (
            vision(r#""patch_size": 300"#),
            ["`patch_size`", "at most image_size 224"],
        ),
        (
            vision(r#""image_size": 4611686018427387904"#),
            ["`image_size`", "at most 4096 patches"],
        ),
        (
            r#""model_type": "dinov2", "qkv_bias": false"#.to_owned(),
            ["`qkv_bias`", "found false"],
        ),
    ] {
        let message = config(&keys).unwrap_err();
        for part in parts.into_iter().chain(["config.json"]) {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }
}

fn preprocessing(keys: &str) -> std::result::Result<Preprocessing, String> {
    let folder = folder_with("preprocessor_config.json", &format!("{{{keys}}}"));
    Preprocessing::open(folder.path(), &VisionConfig::clip()).map_err(|error| error.to_string())
}

#[test]
fn preprocessing_is_read_in_every_published_form() {
    let clip = Preprocessing::for_vision(&VisionConfig::clip());
    let missing = tempfile::tempdir().unwrap();
    let read = Preprocessing::open(missing.path(), &VisionConfig::clip());
    assert_eq!(read.unwrap(), clip);
    assert_eq!(preprocessing("").unwrap(), clip);
    assert_eq!(
        preprocessing(r#""size": 224, "crop_size": 224"#).unwrap(),
        clip
    );
    let crop = r#""size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}"#;
    let expected = Fit::Crop {
        shorter: 256,
        side: 224,
    };
    assert_eq!(preprocessing(crop).unwrap().fit, expected);
    let stretch = r#""do_center_crop": false, "size": {"height": 384, "width": 336}"#;
    let expected = Fit::Stretch {
        width: 336,
        height: 384,
    };
    assert_eq!(preprocessing(stretch).unwrap().fit, expected);
    let plain = preprocessing(r#""do_normalize": false"#).unwrap();
    assert_eq!((plain.mean, plain.deviation), ([0.0; 3], [1.0; 3]));
}

#[test]
fn unsupported_preprocessing_is_refused_by_key() {
    for (keys, part) in [
        (r#""do_resize": false"#, "`do_resize`: expected true"),
        (
            r#""rescale_factor": 1.0"#,
            "`rescale_factor`: expected 1/255",
        ),
        (
            r#""image_std": [0, 0.5, 0.5]"#,
            "expected finite numbers, and no deviation of zero",
        ),
        (r#""resample": 1"#, "`resample`: expected 2 (bilinear)"),
        (
            r#""size": 200"#,
            "`crop_size`: expected a square of at most size",
        ),
        (
            r#""do_center_crop": false"#,
            "`size`: expected the shorter side with a square crop",
        ),
        (
            r#""size": {"longest_edge": 5}"#,
            "preprocessor_config.json of a CLIP",
        ),
    ] {
        let message = preprocessing(keys).unwrap_err();
        assert!(message.contains(part), "`{part}` is not in: {message}");
        assert!(message.contains("preprocessor_config.json: "), "{message}");
    }
}

/// `openai/clip-vit-base-patch32` with random weights, and the first layers of
/// `facebook/dinov2-with-registers-base`.
#[test]
fn full_sizes_are_built_and_run() {
    let photo = Photo::new(
        (0..300 * 200 * 3).map(|at| (at * 7 % 251) as u8).collect(),
        300,
        200,
    );
    let photo = [photo.unwrap()];
    let some_layers = VisionConfig {
        num_hidden_layers: 2,
        ..VisionConfig::dinov2_with_registers()
    };
    for (config, regions, width, tokens) in [
        (VisionConfig::clip(), 49, 512, Tokens::Projected),
        (some_layers, 256, 768, Tokens::Hidden),
    ] {
        let weights = Weights::drawn(Draws::new(3));
        let network = config.load(&weights, tokens, Matmul::F32).unwrap();
        let preprocessing = Preprocessing::for_vision(&config);
        let backbone = GridBackbone::new(network, preprocessing, Cells::All).unwrap();
        assert_eq!(
            (backbone.regions_per_photo(), backbone.width()),
            (regions, width)
        );
        let found = backbone.regions(&photo).unwrap().remove(0);
        assert!(found.features.iter().all(|x| x.is_finite()));
        assert!(found.features.iter().any(|x| x.abs() > 0.1));
    }
}
