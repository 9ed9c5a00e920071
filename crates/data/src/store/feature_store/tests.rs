//! Tests of feature stores: writing and reading back, continuing a stopped write, and refused stores.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::dataset::Split;
use crate::npy::{write_f32, write_i64};
use crate::store::{
    Boxes, Element, Entry, Finished, Provenance, RegionStore, Shares, Source, StoreWriter,
    features_path,
};

const WIDTH: usize = 3;

fn extracted(encoder: &str) -> Provenance {
    Provenance::Extracted {
        encoder: encoder.to_owned(),
        weights: "w.safetensors".to_owned(),
        weights_sha256: "00".to_owned(),
        preprocessing: json!({"resize": {"width": 224}}),
        tool_version: "1".to_owned(),
    }
}

fn manifest(element: Element) -> Manifest {
    let columns = ["boxes", "sizes", "object_ids", "object_confidences"];
    let manifest = Manifest::new(WIDTH, element, 36, extracted("e")).with_columns(columns);
    Manifest {
        images_per_part: 3,
        ..manifest
    }
}

/// Image number `n`, with `1 + n % 4` regions; all its numbers depend on `n`.
fn entry(n: usize) -> Entry {
    let regions = 1 + n % 4;
    let number = |at: usize| (n * 100 + at) as f32 / 8.0;
    let corners = |r: usize| [r as f32, 0.0, 10.0 + r as f32, n as f32];
    let ids = (0..regions).map(|r| (n * 10 + r) as i64).collect();
    let confidences = (0..regions).map(|r| 1.0 / (1 + r) as f32).collect();
    let extras = [
        ("object_ids".to_owned(), Column::Integers(ids)),
        ("object_confidences".to_owned(), Column::Reals(confidences)),
    ];
    Entry {
        id: format!("image {n}"),
        size: Some(Size {
            height: 20 + n as u32,
            width: 40,
        }),
        boxes: Some((0..regions).map(corners).collect()),
        features: (0..regions * WIDTH).map(number).collect(),
        extras: BTreeMap::from(extras),
    }
}

/// Whether entry `n` of the list has features: entry 4 and the whole third part have none.
fn is_readable(n: usize) -> bool {
    n != 4 && !(6..9).contains(&n)
}

const LIST: usize = 11;

fn write(dir: &Path, manifest: &Manifest, list: std::ops::Range<usize>) -> Result<StoreWriter> {
    let (mut writer, _) = StoreWriter::create_or_continue(dir, "dev", manifest)?;
    for n in list {
        let id = format!("image {n}");
        if writer.already_has(&id)? {
            continue;
        }
        match is_readable(n) {
            true => writer.add(entry(n))?,
            false => writer.skip(&id, "no\tpicture")?,
        }
    }
    Ok(writer)
}

fn written(element: Element) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let writer = write(dir.path(), &manifest(element), 0..LIST).unwrap();
    let finished = writer.finish().unwrap();
    let (images, unreadable) = (7, 4);
    assert_eq!(finished, Finished { images, unreadable });
    dir
}

/// Every file of the store with its bytes.
fn files(dir: &TempDir) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(store_path(dir.path(), "dev")).unwrap();
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    };
    entries.map(file).collect()
}

fn open(dir: &TempDir) -> FeatureStore {
    FeatureStore::open(dir.path(), "dev").unwrap()
}

#[track_caller]
fn assert_refused<T>(outcome: Result<T>, parts: &[&str]) {
    let message = outcome.err().unwrap().to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn stored_images_are_read_back() {
    let dir = written(Element::F32);
    let store = open(&dir);
    store.verify().unwrap();
    assert_eq!(
        (store.images(), store.most_regions(), store.width()),
        (7, 4, WIDTH)
    );
    let stored: Vec<usize> = (0..LIST).filter(|&n| is_readable(n)).collect();
    for (image, &n) in stored.iter().enumerate() {
        let expected = entry(n);
        assert_eq!(store.ids().nth(image), Some(&expected.id[..]));
        assert_eq!(store.count(image).unwrap(), 1 + n % 4);
        assert_eq!(store.size(image).unwrap(), expected.size);
        assert_eq!(store.boxes(image).unwrap(), expected.boxes);
        for (name, column) in expected.extras {
            assert_eq!(store.extra(&name, image).unwrap(), Some(column));
        }
        assert_eq!(store.extra("counts", image).unwrap(), None);
        assert_eq!(store.extra("sizes", image).unwrap(), None);
    }
    assert!(store.count(7).is_err());
    let unreadable: Vec<&str> = store.unreadable().map(|entry| &entry.id[..]).collect();
    assert_eq!(unreadable, ["image 4", "image 6", "image 7", "image 8"]);
    let listed = &files(&dir)["unreadable.tsv"];
    assert!(listed.starts_with(b"image 4\tno picture\nimage 6\t"));
}

#[test]
fn a_store_and_an_array_of_the_same_numbers_give_the_same_split() {
    let dir = written(Element::F32);
    let array = tempfile::tempdir().unwrap();
    let mut padded = Vec::new();
    let mut counts = Vec::new();
    for n in (0..LIST).filter(|&n| is_readable(n)) {
        let features = entry(n).features;
        counts.push((features.len() / WIDTH) as i64);
        padded.extend(&features);
        // NaN as padding, to test that padding is not read.
        padded.resize(counts.len() * 4 * WIDTH, f32::NAN);
    }
    write_f32(&array.path().join("dev_ims.npy"), &[7, 4, WIDTH], &padded).unwrap();
    write_i64(&array.path().join("dev_counts.npy"), &[7], &counts).unwrap();
    for dir in [dir.path(), array.path()] {
        fs::write(dir.join("dev_caps.txt"), "a dog\n".repeat(14)).unwrap();
    }
    let ragged = Split::open(dir.path(), "dev").unwrap();
    let padded = Split::open(array.path(), "dev").unwrap();
    let all: Vec<usize> = (0..7).rev().collect();
    let read = |split: &Split| split.regions.read_batch(&all).unwrap();
    assert_eq!(read(&ragged), read(&padded));
    for image in 0..7 {
        assert_eq!(ragged.regions.count(image), padded.regions.count(image));
    }
    assert_eq!(ragged.image_of_caption, padded.image_of_caption);
    assert_eq!(ragged.ids[4], "image 5");
    let boxes = ragged.boxes.unwrap().read(4).unwrap();
    assert_eq!(Some(boxes), entry(5).boxes);
    assert!(ragged.regions.read(7, &mut [0.0; 4 * WIDTH]).is_err());
}

#[test]
fn the_array_is_read_if_there_is_a_store_too() {
    let dir = written(Element::F32);
    assert!(
        features_path(dir.path(), "dev")
            .unwrap()
            .ends_with("dev_store")
    );
    write_f32(&dir.path().join("dev_ims.npy"), &[1, 1, 2], &[0.5, 2.0]).unwrap();
    let regions = RegionStore::open(dir.path(), "dev").unwrap();
    assert_eq!(regions.images(), 1);
    assert!(Boxes::stored(&regions).is_none());
    assert!(features_path(dir.path(), "test").is_none());
}

#[test]
fn f16_rounds_and_refuses_numbers_beyond_its_range() {
    let dir = written(Element::F16);
    let regions = RegionStore::open(dir.path(), "dev").unwrap();
    let read = regions.read_batch(&[6]).unwrap();
    let expected = entry(10).features;
    for (found, expected) in read.iter().zip(&expected) {
        assert_eq!(*found, half::f16::from_f32(*expected).to_f32());
    }
    let mut large = entry(0);
    large.features[2] = 65505.0;
    let other = tempfile::tempdir().unwrap();
    let writer = StoreWriter::create_or_continue(other.path(), "dev", &manifest(Element::F16));
    assert_refused(
        writer.unwrap().0.add(large),
        &["image 0", "feature 2 is 65505", "f16 cannot hold"],
    );
}

#[test]
fn a_stopped_store_is_continued_to_the_same_bytes() {
    let whole = written(Element::F32);
    for stop in 0..=LIST {
        let dir = tempfile::tempdir().unwrap();
        let manifest = manifest(Element::F32);
        drop(write(dir.path(), &manifest, 0..stop).unwrap());
        assert_refused(
            FeatureStore::open(dir.path(), "dev"),
            &["dev_store: the store is not complete", "`uard extract`"],
        );
        let (_, stored) = StoreWriter::create_or_continue(dir.path(), "dev", &manifest).unwrap();
        assert_eq!(stored, stop / 3 * 3);
        let writer = write(dir.path(), &manifest, 0..LIST).unwrap();
        writer.finish().unwrap();
        assert!(files(&dir) == files(&whole), "stopped at {stop}");
    }
}

#[test]
fn short_last_part_of_an_unfinished_store_is_written_again() {
    let whole = written(Element::F32);
    let dir = written(Element::F32);
    let path = StoreFile::path(&store_path(dir.path(), "dev"));
    StoreFile::begun(&manifest(Element::F32), None)
        .write(&store_path(dir.path(), "dev"))
        .unwrap();
    assert!(fs::read(&path).unwrap() != files(&whole)["store.json"]);
    let writer = write(dir.path(), &manifest(Element::F32), 0..LIST).unwrap();
    writer.finish().unwrap();
    assert!(files(&dir) == files(&whole));
}

#[test]
fn a_complete_store_is_kept_and_refuses_more_images() {
    let dir = written(Element::F32);
    let before = files(&dir);
    let manifest = manifest(Element::F32);
    let again = write(dir.path(), &manifest, 0..LIST).unwrap();
    assert_eq!(again.finish().unwrap().images, 7);
    assert!(files(&dir) == before);
    assert_refused(
        write(dir.path(), &manifest, 0..LIST + 1),
        &["the store is complete", "`image 11` is not in it"],
    );
    let shorter = write(dir.path(), &manifest, 0..LIST - 1).unwrap();
    assert_refused(shorter.finish(), &["has 11 entries", "ended after 10"]);
    assert_refused(
        write(dir.path(), &manifest, 1..LIST),
        &[
            "image number 1 of the store is `image 0`",
            "now it is `image 1`",
        ],
    );
}

#[test]
fn another_manifest_is_refused_with_the_difference() {
    let dir = written(Element::F32);
    let begun = manifest(Element::F32);
    let refused = |other: Manifest, parts: &[&str]| {
        assert_refused(write(dir.path(), &other, 0..LIST), parts);
    };
    let with = |provenance: Provenance| Manifest {
        provenance,
        ..begun.clone()
    };
    refused(
        with(extracted("other")),
        &[
            "store.json",
            "provenance.encoder = \"e\"",
            "now it is \"other\"",
        ],
    );
    let mut preprocessing = extracted("e");
    if let Provenance::Extracted { preprocessing, .. } = &mut preprocessing {
        *preprocessing = json!({"resize": {"width": 299}});
    }
    refused(
        with(preprocessing),
        &["provenance.preprocessing.resize.width = 224", "299"],
    );
    refused(manifest(Element::F16), &["element = \"f32\"", "\"f16\""]);
    let sources = vec![Source {
        name: "a.tsv".to_owned(),
        bytes: 1,
        files: 1,
    }];
    let imported = Provenance::Imported {
        format: "npz".to_owned(),
        sources,
        tool_version: "1".to_owned(),
    };
    refused(with(imported), &["provenance.encoder", "now it is null"]);
    let reserved = Manifest {
        columns: BTreeSet::from(["regions".to_owned()]),
        ..begun.clone()
    };
    let fresh = tempfile::tempdir().unwrap();
    let refusal = StoreWriter::create_or_continue(fresh.path(), "dev", &reserved);
    assert_refused(refusal, &["no column may be called `regions`"]);
}

#[test]
fn an_image_that_cannot_be_stored_is_refused_and_nothing_of_it_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let begun = StoreWriter::create_or_continue(dir.path(), "dev", &manifest(Element::F32));
    let mut writer = begun.unwrap().0;
    writer.add(entry(3)).unwrap();
    let mut refused = |change: fn(&mut Entry), parts: &[&str]| {
        let mut changed = entry(1);
        change(&mut changed);
        assert_refused(writer.add(changed), parts);
    };
    refused(
        |e| e.id = "image 3".to_owned(),
        &["image 3", "already that of image number 1"],
    );
    refused(|e| e.id.clear(), &["id is empty"]);
    refused(|e| e.features.clear(), &["image 1", "no regions"]);
    refused(|e| e.features.truncate(5), &["5 numbers", "width 3"]);
    refused(
        |e| e.features[4] = f32::NAN,
        &["region 1: feature 1 is NaN"],
    );
    refused(
        |e| e.features.truncate(3),
        &["1 regions, but 2 entries of `boxes`"],
    );
    refused(
        |e| e.size = None,
        &["has boxes, object_confidences", "the store has boxes"],
    );
    refused(
        |e| e.boxes.as_mut().unwrap()[0][0] = f32::INFINITY,
        &["box 0", "finite"],
    );
    refused(
        |e| e.boxes.as_mut().unwrap()[1][0] = 12.0,
        &["box 1", "x1 <= x2"],
    );
    refused(
        |e| e.boxes.as_mut().unwrap()[1][2] = 41.5,
        &["outside", "height 21 and width 40"],
    );
    refused(
        |e| {
            e.size = Some(Size {
                height: 40,
                width: 5,
            })
        },
        &["outside", "height and width were exchanged"],
    );
    let reals = |e: &mut Entry| {
        let column = Column::Reals(vec![1.0, 2.0]);
        e.extras.insert("object_ids".to_owned(), column);
    };
    refused(
        reals,
        &["`object_ids` holds real numbers, expected integers"],
    );
    let nan = |e: &mut Entry| {
        let column = Column::Reals(vec![1.0, f32::NAN]);
        e.extras.insert("object_confidences".to_owned(), column);
    };
    refused(nan, &["`object_confidences` holds NaN"]);
    writer.add(entry(1)).unwrap();
    assert_eq!(writer.finish().unwrap().images, 2);
    assert_eq!(open(&dir).boxes(1).unwrap(), entry(1).boxes);
}

#[test]
fn box_may_reach_out_of_its_image_by_a_pixel() {
    let dir = tempfile::tempdir().unwrap();
    let begun = StoreWriter::create_or_continue(dir.path(), "dev", &manifest(Element::F32));
    let mut writer = begun.unwrap().0;
    let mut at_the_edge = entry(0);
    at_the_edge.boxes = Some(vec![[-1.0, -1.0, 41.0, 21.0]]);
    writer.add(at_the_edge).unwrap();
    writer.finish().unwrap();
}

#[test]
fn damaged_parts_are_refused_and_named() {
    let dir = written(Element::F32);
    let store = store_path(dir.path(), "dev");
    let path = part_path(&store, 1);
    let good = fs::read(&path).unwrap();
    let refused = |bytes: &[u8], parts: &[&str]| {
        fs::write(&path, bytes).unwrap();
        assert_refused(FeatureStore::open(dir.path(), "dev"), &["part-000001"]);
        assert_refused(FeatureStore::open(dir.path(), "dev"), parts);
    };
    refused(&good[..good.len() - 4], &["damaged", "truncated"]);
    refused(&good[..4], &["damaged", "truncated"]);
    refused(b"<html>404</html>", &["damaged"]);
    refused(
        &fs::read(part_path(&store, 0)).unwrap(),
        &["part 0 under another name"],
    );
    let mut other_entry = entry(3);
    other_entry.features[0] += 1.0;
    let other = tempfile::tempdir().unwrap();
    let begun = StoreWriter::create_or_continue(other.path(), "dev", &manifest(Element::F32));
    let mut writer = begun.unwrap().0;
    for entry in [
        entry(0),
        entry(1),
        entry(2),
        other_entry,
        entry(4),
        entry(5),
    ] {
        writer.add(entry).unwrap();
    }
    let stranger = part_path(&store_path(other.path(), "dev"), 1);
    refused(&fs::read(stranger).unwrap(), &["a part of another store"]);
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&path, &flipped).unwrap();
    assert_refused(open(&dir).verify(), &["part-000001", "SHA-256"]);
    let store = open(&dir);
    // The images of the damaged part are refused, every time; the others are read.
    let refused_images = || -> Vec<usize> {
        let images = 0..store.images();
        images
            .filter(|&image| store.feature_bytes(image).is_err())
            .collect()
    };
    let damaged = refused_images();
    assert!((1..store.images()).contains(&damaged.len()), "{damaged:?}");
    assert_refused(store.feature_bytes(damaged[0]), &["part-000001", "SHA-256"]);
    assert_eq!(refused_images(), damaged);
    fs::remove_file(&path).unwrap();
    assert_refused(
        FeatureStore::open(dir.path(), "dev"),
        &["cannot open", "part-000001"],
    );
    fs::write(&path, &good).unwrap();
    open(&dir).verify().unwrap();
}

#[test]
fn part_that_is_cut_anywhere_is_refused_and_never_panics() {
    let dir = written(Element::F32);
    let path = part_path(&store_path(dir.path(), "dev"), 0);
    let good = fs::read(&path).unwrap();
    for end in 0..good.len() {
        fs::write(&path, &good[..end]).unwrap();
        assert!(FeatureStore::open(dir.path(), "dev").is_err(), "{end}");
    }
}

#[test]
fn manifest_of_another_format_or_with_unknown_keys_is_refused() {
    let dir = written(Element::F32);
    let path = StoreFile::path(&store_path(dir.path(), "dev"));
    let text = fs::read_to_string(&path).unwrap();
    let refused = |text: &str, parts: &[&str]| {
        fs::write(&path, text).unwrap();
        assert_refused(FeatureStore::open(dir.path(), "dev"), parts);
    };
    let newer = text.replacen(
        "\"format_version\": 1",
        "\"format_version\": 2, \"more\": 0",
        1,
    );
    refused(&newer, &["store.json", "format 2", "reads format 1"]);
    let unknown = text.replacen("\"width\"", "\"colour\": 0, \"width\"", 1);
    refused(&unknown, &["store.json", "colour"]);
    refused(
        &text[..text.len() / 2],
        &["store.json", "manifest of a feature store"],
    );
    let fewer = text.replacen("\"images\": 7", "\"images\": 8", 1);
    assert_ne!(fewer, text);
    refused(&fewer, &["lists 8 images, its parts have 7"]);
}

#[test]
fn store_without_images_cannot_be_finished() {
    let dir = tempfile::tempdir().unwrap();
    let writer = write(dir.path(), &manifest(Element::F32), 6..9).unwrap();
    assert_refused(
        writer.finish(),
        &["no image could be stored; 3 were unreadable"],
    );
}

/// Writes one share of the list, whose images are those of `list`.
fn write_share(dir: &Path, manifest: &Manifest, share: &str, list: &[String]) -> Result<Finished> {
    let record = share
        .parse::<Share>()?
        .of_list(list.iter().map(String::as_str))?;
    let (mut writer, _) =
        StoreWriter::create_or_continue_share(dir, "dev", manifest, Some(&record))?;
    for n in record.share.range(list.len()) {
        match is_readable(n) {
            true => writer.add(entry(n))?,
            false => writer.skip(&list[n], "no\tpicture")?,
        }
    }
    writer.finish()
}

fn list() -> Vec<String> {
    (0..LIST).map(|n| format!("image {n}")).collect()
}

fn written_shares(manifest: &Manifest, of: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for number in 1..=of {
        write_share(dir.path(), manifest, &format!("{number}/{of}"), &list()).unwrap();
    }
    dir
}

fn join(shares: &TempDir, to: &TempDir, most: usize) -> Result<Option<Finished>> {
    let stop = AtomicBool::new(false);
    let shares = Shares::open(&[shares.path().to_owned()], "dev")?;
    assert_eq!(shares.entries(), LIST);
    let mut on_entries = |written| stop.store(written >= most, Ordering::Relaxed);
    shares.join(to.path(), "dev", &mut on_entries, &stop)
}

#[test]
fn joined_shares_have_the_bytes_of_one_store() {
    for element in [Element::F32, Element::F16] {
        // With as many shares as entries, some have no image.
        for of in [1, 2, 4, LIST] {
            let shares = written_shares(&manifest(element), of);
            let joined = tempfile::tempdir().unwrap();
            assert_eq!(join(&shares, &joined, 5).unwrap(), None);
            let finished = join(&shares, &joined, usize::MAX).unwrap().unwrap();
            assert_eq!(finished.images, 7);
            assert_eq!(files(&joined), files(&written(element)));
        }
    }
}

#[test]
fn a_share_is_a_store_unless_it_has_no_image() {
    let shares = written_shares(&manifest(Element::F32), LIST);
    let third = FeatureStore::open(shares.path(), "dev-3-of-11").unwrap();
    assert_eq!(third.ids().collect::<Vec<_>>(), ["image 2"]);
    let fifth = FeatureStore::open(shares.path(), "dev-5-of-11");
    assert_refused(fifth, &["dev-5-of-11_store", "no image could be stored"]);
}

#[test]
fn shares_that_do_not_belong_together_are_refused() {
    let manifest = manifest(Element::F32);
    let joined = tempfile::tempdir().unwrap();
    let shares = tempfile::tempdir().unwrap();
    assert_refused(join(&shares, &joined, 0), &["no part of dev is here"]);
    write_share(shares.path(), &manifest, "1/3", &list()).unwrap();
    assert_refused(join(&shares, &joined, 0), &["2/3, 3/3", "missing"]);
    let mut other = list();
    other[0] = "another".to_owned();
    for (share, list) in [("2/3", &list()), ("3/3", &other)] {
        write_share(shares.path(), &manifest, share, list).unwrap();
    }
    assert_refused(join(&shares, &joined, 0), &["dev-3-of-3", "list"]);
    fs::remove_dir_all(shares.path().join("dev-3-of-3_store")).unwrap();
    let settings = Manifest {
        provenance: extracted("other"),
        ..manifest.clone()
    };
    write_share(shares.path(), &settings, "3/3", &list()).unwrap();
    assert_refused(join(&shares, &joined, 0), &["provenance.encoder"]);
    write_share(shares.path(), &manifest, "1/2", &list()).unwrap();
    assert_refused(join(&shares, &joined, 0), &["dev-1-of-2", "dev-1-of-3"]);
    assert!(!store_path(joined.path(), "dev").exists());
}

#[test]
fn a_store_of_other_features_is_not_continued_by_a_join() {
    let shares = written_shares(&manifest(Element::F32), 2);
    let joined = tempfile::tempdir().unwrap();
    let mut writer = write(joined.path(), &manifest(Element::F32), 0..0).unwrap();
    for n in 0..3 {
        let mut other = entry(n);
        other.features[0] += if n == 1 { 1.0 } else { 0.0 };
        writer.add(other).unwrap();
    }
    drop(writer);
    assert_refused(
        join(&shares, &joined, usize::MAX),
        &["dev_store", "`image 1`", "not those of the parts"],
    );
}

#[test]
fn a_share_is_not_continued_with_another_list() {
    let manifest = manifest(Element::F32);
    let dir = tempfile::tempdir().unwrap();
    write_share(dir.path(), &manifest, "1/2", &list()).unwrap();
    let mut other = list();
    other.push("one more".to_owned());
    let record = "1/2"
        .parse::<Share>()
        .unwrap()
        .of_list(other.iter().map(String::as_str))
        .unwrap();
    let begun = StoreWriter::create_or_continue_share(dir.path(), "dev", &manifest, Some(&record));
    assert_refused(
        begun,
        &["dev-1-of-2_store", "the list of images has changed"],
    );
}
