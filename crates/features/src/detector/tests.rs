//! Tests of the detector against its published code: regions of a narrow network with random
//! weights, and results of single operations; `tests/goldens/detectors.py` wrote them. The full size is
//! built and run once.

#![allow(
    clippy::print_stdout,
    reason = "prints differences from the golden values"
)]

use uard_core::random::Draws;
use uard_hub::weights::Weights;
use uard_linalg::matmul::Matmul;

use super::anchors::AnchorShapes;
use super::bottom_up::{BottomUpAttention, RegionLimits};
use super::frozen::{DetectedRegions, Detector, Label};
use super::nms::nms;
use super::proposals::ProposalLimits;
use super::roi_pool::RoiPool;
use super::scaling::Scaling;
use crate::backbone::tests::golden::{Golden, relative_difference};
use crate::backbone::{Block, Photo, ResNet, Size, StrideOn};

/// The tolerance of maps, relative to their root mean square: f32 sums in another order through
/// tens of layers.
const MAP_TOLERANCE: f64 = 1e-4;

/// The tolerance of a region's features, relative to their root mean square.
const FEATURE_TOLERANCE: f64 = 1e-3;

/// The tolerance of boxes in pixels of the photo. Measured: 3e-5.
const BOX_TOLERANCE: f32 = 1e-3;

const CONFIDENCE_TOLERANCE: f32 = 1e-4;

fn labels(golden: &Golden, ids: &str, confidences: &str) -> Vec<Label> {
    let ids = golden.indices(ids).into_iter();
    let labels = ids.zip(golden.numbers(confidences));
    labels
        .map(|(id, confidence)| Label { id, confidence })
        .collect()
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn same_labels(what: &str, found: &[Label], expected: &[Label]) {
    let ids = |labels: &[Label]| -> Vec<usize> { labels.iter().map(|label| label.id).collect() };
    assert_eq!(ids(found), ids(expected), "{what}");
    let confidences =
        |labels: &[Label]| -> Vec<f32> { labels.iter().map(|label| label.confidence).collect() };
    let difference = largest_difference(&confidences(found), &confidences(expected));
    println!("{what}: {difference:.1e}");
    assert!(difference <= CONFIDENCE_TOLERANCE, "{what}: {difference}");
}

fn same_regions(golden: &Golden, found: &DetectedRegions) {
    let boxes = largest_difference(found.boxes.as_flattened(), &golden.numbers("boxes"));
    println!("{} boxes: {boxes:.1e} pixels", golden.name);
    assert!(boxes <= BOX_TOLERANCE, "{boxes}");
    let expected = golden.numbers("features");
    let width = expected.len() / found.boxes.len();
    let rows = found.features.chunks(width).zip(expected.chunks(width));
    let features = rows.map(|(found, expected)| relative_difference(found, expected));
    let features = features.fold(0.0, f64::max);
    println!("{} features: {features:.1e}", golden.name);
    assert!(features <= FEATURE_TOLERANCE, "{features}");
    same_labels(
        "classes",
        &found.classes,
        &labels(golden, "classes", "confidences"),
    );
}

/// The narrow network of `tests/goldens/detectors.py`.
fn narrow_bottom_up() -> BottomUpAttention {
    let published = BottomUpAttention::default();
    BottomUpAttention {
        resnet: ResNet {
            block: Block::Bottleneck(StrideOn::First),
            blocks: [3, 4, 6, 3],
            width: 2,
        },
        scaling: Scaling {
            shorter: 112,
            longest: 150,
            ..published.scaling
        },
        anchors: AnchorShapes {
            sizes: vec![16.0, 32.0, 64.0],
            ..published.anchors
        },
        hidden: 16,
        proposals: ProposalLimits {
            before: 150,
            after: 50,
            ..published.proposals
        },
        classes: 10,
        attributes: 7,
        regions: RegionLimits {
            overlaps: vec![0.05, 0.3, 0.6],
            least: 20,
            most: 20,
            confidence: 0.0,
        },
        ..published
    }
}

#[test]
fn bottom_up_attention_finds_the_regions_of_its_pytorch_port() {
    let golden = Golden::open("bottom_up.safetensors");
    let detector = narrow_bottom_up()
        .load(&golden.weights(), Matmul::F32)
        .unwrap();
    let (maps, expected) = (detector.maps(&golden.photo()).unwrap(), golden.maps("c4"));
    assert_eq!(maps.shape(), expected.shape());
    let difference = relative_difference(maps.values(), expected.values());
    println!("{} c4: {difference:.1e}", golden.name);
    assert!(difference <= MAP_TOLERANCE, "{difference}");
    let found = &detector.regions(&[golden.photo()]).unwrap()[0];
    same_regions(&golden, found);
    let expected = labels(&golden, "attributes", "attribute_confidences");
    same_labels("attributes", &found.attributes, &expected);
}

#[test]
fn pools_and_suppressions_are_those_of_torchvision() {
    let golden = Golden::open("roi_ops.safetensors");
    let (map, boxes) = (golden.maps("map"), golden.boxes("boxes"));
    let pool = RoiPool {
        size: Size::new(4, 3),
        scale: 0.1,
    };
    assert_eq!(pool.forward(&map, &boxes), golden.maps("pooled"));
    let (many, scores) = (golden.boxes("many"), golden.numbers("scores"));
    let kept: Vec<usize> = nms(&many, &scores, 0.4).collect();
    assert_eq!(kept, golden.indices("nms"));
}

fn drawn_photo(width: u32, height: u32) -> Photo {
    let pixels = (0..width * height * 3).map(|at| (at * at / 7 % 251) as u8);
    Photo::new(pixels.collect(), width, height).unwrap()
}

#[test]
fn other_photos_and_threads_change_nothing() {
    let golden = Golden::open("bottom_up.safetensors");
    for matmul in Matmul::ALL {
        let detector = narrow_bottom_up().load(&golden.weights(), matmul).unwrap();
        let photos = [golden.photo(), drawn_photo(60, 99), drawn_photo(71, 97)];
        let together = detector.regions(&photos).unwrap();
        for (photo, found) in photos.iter().zip(&together) {
            assert!(!found.boxes.is_empty());
            assert_eq!(found.features.len(), found.boxes.len() * detector.width());
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let photo = std::slice::from_ref(photo);
                let alone = pool.build().unwrap().install(|| detector.regions(photo));
                assert_eq!(&alone.unwrap()[0], found);
            }
        }
        assert!(detector.regions(&[]).unwrap().is_empty());
    }
}

/// Only maps are compared: with random weights, other boxes may be chosen in bf16. Measured: 0.05.
#[test]
fn maps_in_bf16_are_near_those_in_f32() {
    let golden = Golden::open("bottom_up.safetensors");
    let detector = narrow_bottom_up()
        .load(&golden.weights(), Matmul::Bf16)
        .unwrap();
    let maps = detector.maps(&golden.photo()).unwrap();
    let difference = relative_difference(maps.values(), golden.maps("c4").values());
    println!("bf16: {difference:.1e}");
    assert!(difference <= 0.15, "{difference}");
}

/// A deviation of colours that makes maps small, so that boxes stay near their anchors. Random
/// weights have no biases: dividing the pixels by a number divides the maps by the same number.
fn deviation_for_small_maps(detector: &Detector) -> [f32; 3] {
    let maps = detector.maps(&drawn_photo(64, 48)).unwrap();
    let numbers = maps.values().iter();
    [10.0 * numbers.fold(0.0, |largest: f32, x| largest.max(x.abs())); 3]
}

/// The regions of a drawn photo, after checks of their shapes and of a box.
fn checked_regions(detector: &Detector, width: usize) -> DetectedRegions {
    let mut found = detector.regions(&[drawn_photo(64, 48)]).unwrap();
    let found = found.remove(0);
    let regions = found.boxes.len();
    println!("{regions} regions of {width}");
    assert!(regions > 0 && found.classes.len() == regions);
    assert_eq!(
        (detector.width(), found.features.len()),
        (width, regions * width)
    );
    assert!(found.features.iter().all(|x| x.is_finite()));
    let [x1, y1, x2, y2] = found.boxes[0];
    assert!(0.0 <= x1 && x1 < x2 && x2 <= 64.0 && 0.0 <= y1 && y1 < y2 && y2 <= 48.0);
    found
}

/// With a small photo and three proposals, because 300 proposals take about 10^12 products.
#[test]
fn the_published_bottom_up_attention_is_built_and_runs() {
    let weights = Weights::drawn(Draws::new(1));
    let mut config = BottomUpAttention::default();
    config.scaling.shorter = 96;
    config.proposals.after = 3;
    config.scaling.mean = [0.0; 3];
    let large_maps = config.load(&weights, Matmul::F32).unwrap();
    let maps = large_maps.maps(&drawn_photo(64, 48)).unwrap();
    assert_eq!(maps.shape(), [1, 6, 8, 1024]);
    config.scaling.deviation = deviation_for_small_maps(&large_maps);
    let detector = config.load(&weights, Matmul::F32).unwrap();
    let found = checked_regions(&detector, 2048);
    assert_eq!((found.boxes.len(), found.attributes.len()), (3, 3));
}

#[test]
fn impossible_settings_and_photos_are_refused() {
    let golden = Golden::open("bottom_up.safetensors");
    let message = |config: &BottomUpAttention| {
        let found = config.load(&golden.weights(), Matmul::F32);
        found.unwrap_err().to_string()
    };
    let mut other = narrow_bottom_up();
    other.anchors.sizes = vec![16.0, 33.0, 64.0];
    let found = message(&other);
    assert!(
        found.contains("anchor 3") && found.contains("cell_anchors"),
        "{found}"
    );
    let mut other = narrow_bottom_up();
    other.regions.least = 21;
    assert!(message(&other).contains("21 to 20"), "{}", message(&other));
    let mut other = narrow_bottom_up();
    other.classes = 11;
    assert!(message(&other).contains("cls_score"), "{}", message(&other));
    let mut other = narrow_bottom_up();
    other.resnet.blocks[3] = 0;
    assert!(
        message(&other).contains("resnet.blocks"),
        "{}",
        message(&other)
    );
    let detector = narrow_bottom_up().load(&golden.weights(), Matmul::F32);
    let thin = detector
        .unwrap()
        .regions(&[drawn_photo(2000, 1)])
        .unwrap_err();
    assert!(thin.to_string().contains("1 x 150 pixels"), "{thin}");
}
