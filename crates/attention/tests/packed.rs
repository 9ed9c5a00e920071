//! Tests of packed fragments: from tensors, in files, in batches and on several threads.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use crate::data;

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use data::side;
use uard_attention::{PackedRegions, PackedWords, Precision};
use uard_core::{Regions, Words};

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::Exact];

fn regions(counts: &[usize], width: usize) -> Regions {
    side(5, "regions", counts, width).regions(DType::F32)
}

fn words(counts: &[usize], width: usize) -> Words {
    side(5, "words", counts, width).words(DType::F32)
}

/// Writes packed fragments to a temporary file and returns the bytes of that file.
macro_rules! bytes {
    ($packed:expr) => {{
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.packed");
        $packed.write(&path).unwrap();
        fs::read(&path).unwrap()
    }};
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn a_mapped_file_is_what_was_packed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.packed");
    for precision in PRECISIONS {
        let packed = PackedRegions::pack(&regions(&[5, 36, 1, 300], 40), precision).unwrap();
        packed.write(&path).unwrap();
        let mapped = PackedRegions::open(&path).unwrap();
        mapped.verify().unwrap();
        assert_eq!(mapped.counts(), packed.counts());
        assert_eq!(mapped.blocks(), packed.blocks());
        assert_eq!((mapped.width(), mapped.precision()), (40, precision));
        assert!(mapped.supports(precision));
        assert!(bytes!(mapped) == fs::read(&path).unwrap(), "{precision}");

        let packed = PackedWords::pack(&words(&[5, 12, 1], 40), precision).unwrap();
        packed.write(&path).unwrap();
        let mapped = PackedWords::open(&path).unwrap();
        mapped.verify().unwrap();
        assert_eq!((mapped.captions(), mapped.counts()), (3, packed.counts()));
        assert!(bytes!(mapped) == fs::read(&path).unwrap(), "{precision}");
    }
    assert_eq!(
        names(directory.path()),
        ["a.packed"],
        "no other file is left"
    );
}

/// The numbers are enough for memory in huge pages and for a checksum in several tasks.
#[test]
fn batches_and_threads_change_no_byte() {
    let counts: Vec<usize> = (0..100).map(|image| 1 + image * 7 % 60).collect();
    let regions = regions(&counts, 512);
    let pack = |threads: usize, batch: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let mut builder = PackedRegions::builder(512, Precision::Exact).unwrap();
            for start in (0..counts.len()).step_by(batch) {
                let batch = regions.narrow(start, batch.min(counts.len() - start));
                builder.push(&batch.unwrap()).unwrap();
            }
            bytes!(builder.finish())
        })
    };
    let whole = pack(1, counts.len());
    assert!(whole.len() > 9 << 20, "{}", whole.len());
    for (threads, batch) in [(1, 7), (2, 100), (2, 33), (3, 1)] {
        assert!(
            pack(threads, batch) == whole,
            "{threads} threads, {batch} images a batch"
        );
    }
}

#[test]
fn an_image_larger_than_a_block_has_one_of_its_own() {
    let packed = PackedRegions::pack(&regions(&[3, 1000, 2], 8), Precision::Bf16).unwrap();
    let images: Vec<_> = packed.blocks().iter().map(|b| b.images.clone()).collect();
    assert_eq!(images, [0..1, 1..2, 2..3]);
    assert_eq!(packed.blocks()[1].panels, 1..64);
}

#[test]
fn no_image_can_be_packed_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.packed");
    let none = PackedRegions::builder(16, Precision::Exact)
        .unwrap()
        .finish();
    assert_eq!((none.images(), none.blocks().len()), (0, 0));
    none.write(&path).unwrap();
    let mapped = PackedRegions::open(&path).unwrap();
    mapped.verify().unwrap();
    assert_eq!((mapped.images(), mapped.width()), (0, 16));
}

#[test]
fn nan_is_refused_by_name_and_padding_is_not_read() {
    let mut raw = vec![1.0f32; 2 * 3 * 4];
    raw[(3 + 2) * 4] = f32::NAN;
    let raw = Tensor::from_vec(raw, (2, 3, 4), &Device::Cpu).unwrap();
    let broken = Regions::normalized(&raw, vec![3, 3]).unwrap();
    let message = PackedRegions::pack(&broken, Precision::F32)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("regions: entry 1, fragment 2 is not finite"),
        "{message}"
    );
    let padded = Regions::normalized(&raw, vec![3, 2]).unwrap();
    PackedRegions::pack(&padded, Precision::F32).unwrap();
}

#[test]
fn a_batch_of_another_width_is_refused() {
    let mut builder = PackedWords::builder(8, Precision::F32).unwrap();
    let message = builder.push(&words(&[2], 9)).unwrap_err().to_string();
    assert!(message.contains("words: packed so far with width 8, found a batch of width 9"));
}

#[cfg(unix)]
#[test]
fn replacing_a_file_does_not_change_a_map_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.packed");
    let first = PackedWords::pack(&words(&[4, 2], 16), Precision::Exact).unwrap();
    first.write(&path).unwrap();
    let mapped = PackedWords::open(&path).unwrap();
    let second = PackedWords::pack(&words(&[1], 16), Precision::F32).unwrap();
    second.write(&path).unwrap();
    mapped.verify().unwrap();
    assert!(bytes!(mapped) == bytes!(first));
    assert_eq!(PackedWords::open(&path).unwrap().captions(), 1);
}

#[test]
fn files_that_are_missing_or_not_packed_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.packed");
    let message = |path: &Path| PackedWords::open(path).unwrap_err().to_string();
    let missing = message(&path);
    assert!(
        missing.starts_with("cannot open ") && missing.contains("a.packed"),
        "{missing}"
    );
    fs::write(&path, "").unwrap();
    let empty = message(&path);
    assert!(
        empty.contains("a.packed") && empty.contains("found nothing"),
        "{empty}"
    );
    fs::write(&path, "a caption a line\n".repeat(40)).unwrap();
    assert!(message(&path).contains("no file of packed fragments"));
    let regions = PackedRegions::pack(&regions(&[2], 4), Precision::F32).unwrap();
    regions.write(&path).unwrap();
    assert!(message(&path).contains("expected packed words, found packed regions"));
}

#[test]
fn writing_that_fails_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("taken");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("inside"), "").unwrap();
    let packed = PackedWords::pack(&words(&[2], 4), Precision::F32).unwrap();
    let message = packed.write(&target).unwrap_err().to_string();
    assert!(message.contains("taken"), "{message}");
    assert_eq!(names(directory.path()), ["taken"]);
    let nowhere = directory.path().join("missing").join("a.packed");
    let message = packed.write(&nowhere).unwrap_err().to_string();
    assert!(message.starts_with("cannot create "), "{message}");
}
