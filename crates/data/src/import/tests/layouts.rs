//! Tests of both layouts: a feature store and SCAN's arrays of one dump hold the same numbers.

use super::*;
use crate::dataset::Split;
use crate::npy::{write_f32, write_i64};

/// A SCAN directory of all images, padded with NaN.
fn scan() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut features, mut boxes, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..IMAGES {
        let entry = image(n);
        counts.push(entry.boxes.as_ref().unwrap().len() as i64);
        features.extend(entry.features);
        features.resize((n + 1) * 4 * WIDTH, f32::NAN);
        boxes.extend(entry.boxes.unwrap().as_flattened());
        boxes.resize((n + 1) * 4 * 4, 7.0);
    }
    let path = |name: &str| dir.path().join(name);
    write_f32(&path("dev_ims.npy"), &[IMAGES, 4, WIDTH], &features).unwrap();
    write_f32(&path("dev_boxes.npy"), &[IMAGES, 4, 4], &boxes).unwrap();
    write_i64(&path("dev_counts.npy"), &[IMAGES], &counts).unwrap();
    let ids: String = (0..IMAGES).map(|n| format!("img_{n}\n")).collect();
    fs::write(path("dev_ids.txt"), ids).unwrap();
    dir
}

fn imported_scan(dir: &Path, layout: Layout) -> Result<TempDir> {
    imported(Format::Scan, &[dir.to_owned()], layout)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = entries.map(|e| name(e).into_string().unwrap()).collect();
    names.sort();
    names
}

fn split(dir: &TempDir) -> Split {
    fs::write(
        dir.path().join("dev_caps.txt"),
        "a dog\na cat\n".repeat(IMAGES),
    )
    .unwrap();
    Split::open(dir.path(), "dev").unwrap()
}

#[test]
fn scan_directory_becomes_a_store_without_its_padding() {
    let dir = scan();
    let out = imported_scan(dir.path(), Layout::Store).unwrap();
    let expected = |n| Entry {
        size: None,
        ..image(n)
    };
    assert_eq!(
        entries(out.path()),
        (0..IMAGES).map(expected).collect::<Vec<_>>()
    );
    assert_eq!(names(out.path()), ["dev_store"]);
}

#[test]
fn both_layouts_open_as_the_same_split() {
    let dir = scan();
    let store = imported_scan(dir.path(), Layout::Store).unwrap();
    let array = imported_scan(dir.path(), Layout::Scan).unwrap();
    let again = imported_scan(array.path(), Layout::Store).unwrap();
    let expected = [
        "dev_boxes.npy",
        "dev_counts.npy",
        "dev_ids.txt",
        "dev_ims.npy",
    ];
    assert_eq!(names(array.path()), expected);
    let all: Vec<usize> = (0..IMAGES).collect();
    let splits = [&dir, &store, &array, &again].map(split);
    for other in &splits[1..] {
        let read = |split: &Split| split.regions.read_batch(&all).unwrap();
        assert_eq!(read(other), read(&splits[0]));
        assert_eq!(other.ids, splits[0].ids);
        for &image in &all {
            let count = splits[0].regions.count(image);
            assert_eq!(other.regions.count(image), count);
            let boxes = |split: &Split| split.boxes.as_ref().unwrap().read(image).unwrap();
            assert_eq!(boxes(other)[..count], boxes(&splits[0])[..count]);
        }
    }
}

#[test]
fn images_with_equal_numbers_of_regions_need_no_counts_and_f16_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    write_f32(
        &dir.path().join("dev_ims.npy"),
        &[2, 1, 3],
        &[0.1, 1.0, 2.0, 3.0, 4.0, 5.0],
    )
    .unwrap();
    let out = tempfile::tempdir().unwrap();
    let mut dump = open(Format::Scan, &[dir.path().to_owned()], "dev").unwrap();
    let to = Destination {
        element: Element::F16,
        ..destination(out.path(), Layout::Scan)
    };
    import(Format::Scan, &mut *dump, &to, &mut |_, _| {}).unwrap();
    assert_eq!(names(out.path()), ["dev_ids.txt", "dev_ims.npy"]);
    assert_eq!(
        fs::read_to_string(out.path().join("dev_ids.txt")).unwrap(),
        "0\n1\n"
    );
    let regions = crate::store::RegionStore::open(out.path(), "dev").unwrap();
    assert_eq!(regions.element().name(), "float16");
    let rounded = half::f16::from_f32(0.1).to_f32();
    let expected = [rounded, 1.0, 2.0, 3.0, 4.0, 5.0];
    assert_eq!(regions.read_batch(&[0, 1]).unwrap(), expected);
}

#[test]
fn images_stored_once_for_each_caption_are_imported_once() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<f32> = [1.0, 2.0]
        .iter()
        .flat_map(|&v| [v; 6].repeat(5))
        .enumerate()
        .map(|(at, v)| v + (at % 6) as f32)
        .collect();
    write_f32(&dir.path().join("dev_ims.npy"), &[10, 2, 3], &rows).unwrap();
    fs::write(
        dir.path().join("dev_ids.txt"),
        "a\na\na\na\na\nb\nb\nb\nb\nb\n",
    )
    .unwrap();
    fs::write(dir.path().join("dev_caps.txt"), "a dog\n".repeat(10)).unwrap();
    let out = imported_scan(dir.path(), Layout::Store).unwrap();
    let ids: Vec<String> = entries(out.path())
        .into_iter()
        .map(|entry| entry.id)
        .collect();
    assert_eq!(ids, ["a", "b"]);
    fs::remove_file(dir.path().join("dev_caps.txt")).unwrap();
    assert_refused(
        imported_scan(dir.path(), Layout::Store),
        &[
            "dev_ims.npy image 1: image `a`",
            "already that of image number",
        ],
    );
}

#[test]
fn existing_features_are_not_overwritten_or_hidden() {
    let dir = scan();
    let to = |layout| {
        let mut dump = open(Format::Scan, &[dir.path().to_owned()], "dev")?;
        import(
            Format::Scan,
            &mut *dump,
            &destination(dir.path(), layout),
            &mut |_, _| {},
        )
    };
    for layout in [Layout::Store, Layout::Scan] {
        assert_refused(
            to(layout),
            &["dev_ims.npy is there already", "another --out"],
        );
    }
}

#[test]
fn directories_without_a_valid_scan_split_are_refused() {
    let dir = scan();
    fs::write(dir.path().join("dev_ids.txt"), "one\n").unwrap();
    assert_refused(
        imported_scan(dir.path(), Layout::Store),
        &["dev_ids.txt", "5 ids", "found 1"],
    );
    assert_refused(
        open(Format::Scan, &[dir.path().to_owned()], "train").map(|_| ()),
        &["train_ims.npy: no such file"],
    );
}

#[cfg(not(feature = "hdf5"))]
#[test]
fn hdf5_in_a_build_without_it_is_refused_with_advice() {
    let outcome = open(Format::Hdf5, &["a.hdf5".into()], "dev").map(|_| ());
    assert_refused(outcome, &["without HDF5", "--features hdf5"]);
}
