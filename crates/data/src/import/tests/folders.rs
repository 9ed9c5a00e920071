//! Tests of dumps with a file for each image.

use std::io::Write;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::npy::{write_f32, write_i64};

fn npz(path: &Path, arrays: &[(&str, Vec<u8>)]) {
    let mut zip = ZipWriter::new(fs::File::create(path).unwrap());
    for (name, bytes) in arrays {
        // numpy.savez stores, numpy.savez_compressed deflates.
        let method = match arrays.len() % 2 {
            0 => zip::CompressionMethod::Stored,
            _ => zip::CompressionMethod::Deflated,
        };
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(format!("{name}.npy"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

fn reals(shape: &[usize], values: &[f32]) -> Vec<u8> {
    npy(|path| write_f32(path, shape, values))
}

fn number(value: usize) -> Vec<u8> {
    npy(|path| write_i64(path, &[], &[value as i64]))
}

fn arrays(entry: &Entry) -> BTreeMap<&'static str, Vec<u8>> {
    let boxes = entry.boxes.as_ref().unwrap();
    let size = entry.size.unwrap();
    let regions = boxes.len();
    BTreeMap::from([
        ("x", reals(&[regions, WIDTH], &entry.features)),
        ("bbox", reals(&[regions, 4], boxes.as_flattened())),
        ("num_bbox", number(regions)),
        ("image_h", number(size.height as usize)),
        ("image_w", number(size.width as usize)),
        (
            "info",
            b"\x93NUMPY\x01\x00 a pickle that nobody reads".to_vec(),
        ),
    ])
}

/// A folder of npz files, and one file of another kind.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..IMAGES {
        write(&dir, n, &arrays(&image(n)));
    }
    fs::write(dir.path().join("README.md"), "features").unwrap();
    dir
}

fn write(dir: &TempDir, n: usize, arrays: &BTreeMap<&'static str, Vec<u8>>) {
    let arrays: Vec<_> = arrays
        .iter()
        .map(|(&name, bytes)| (name, bytes.clone()))
        .collect();
    npz(&dir.path().join(format!("img_{n}.npz")), &arrays);
}

fn imported_npz(dir: &TempDir) -> Result<TempDir> {
    imported(Format::Npz, &[dir.path().to_owned()], Layout::Store)
}

fn cocobu() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["cocobu_att", "cocobu_box"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    for n in 0..IMAGES {
        let entry = image(n);
        let boxes = entry.boxes.unwrap();
        let features = reals(&[boxes.len(), WIDTH], &entry.features);
        npz(
            &dir.path().join(format!("cocobu_att/{n}.npz")),
            &[("feat", features)],
        );
        let path = dir.path().join(format!("cocobu_box/{n}.npy"));
        write_f32(&path, &[boxes.len(), 4], boxes.as_flattened()).unwrap();
    }
    dir
}

fn imported_cocobu(dir: &TempDir) -> Result<TempDir> {
    imported(Format::Cocobu, &[dir.path().to_owned()], Layout::Store)
}

#[test]
fn npz_files_give_their_images() {
    let dir = folder();
    let out = imported_npz(&dir).unwrap();
    assert_eq!(
        entries(out.path()),
        (0..IMAGES).map(image).collect::<Vec<_>>()
    );
    // Files that are named are read in the order given.
    let paths = [3, 1].map(|n| dir.path().join(format!("img_{n}.npz")));
    let out = imported(Format::Npz, &paths, Layout::Store).unwrap();
    assert_eq!(entries(out.path()), [image(3), image(1)]);
}

#[test]
fn npz_with_regions_as_columns_is_transposed() {
    let dir = folder();
    let entry = image(4);
    let regions = entry.boxes.as_ref().unwrap().len();
    let turned: Vec<f32> = (0..WIDTH * regions)
        .map(|at| entry.features[at % regions * WIDTH + at / regions])
        .collect();
    let mut changed = arrays(&entry);
    changed.insert("x", reals(&[WIDTH, regions], &turned));
    write(&dir, 4, &changed);
    let out = imported_npz(&dir).unwrap();
    assert_eq!(entries(out.path())[4], entry);
}

#[test]
fn files_named_by_numbers_come_in_the_order_of_the_numbers() {
    let dir = tempfile::tempdir().unwrap();
    for (n, name) in ["10", "9", "b", "a1"].iter().enumerate() {
        let arrays: Vec<_> = arrays(&image(n)).into_iter().collect();
        npz(&dir.path().join(format!("{name}.npz")), &arrays);
    }
    let out = imported_npz(&dir).unwrap();
    let ids: Vec<String> = entries(out.path())
        .into_iter()
        .map(|entry| entry.id)
        .collect();
    assert_eq!(ids, ["9", "10", "a1", "b"]);
}

#[test]
fn images_in_a_subfolder_are_refused_and_named() {
    let dir = folder();
    fs::create_dir(dir.path().join("notes")).unwrap();
    imported_npz(&dir).unwrap();
    fs::create_dir(dir.path().join("val2014")).unwrap();
    fs::copy(
        dir.path().join("img_2.npz"),
        dir.path().join("val2014/img_9.npz"),
    )
    .unwrap();
    assert_refused(imported_npz(&dir), &["val2014", "name each folder"]);
}

#[test]
fn damaged_npz_files_are_named() {
    let dir = folder();
    let refused = |array: &'static str, content: Option<Vec<u8>>, parts: &[&str]| {
        let mut changed = arrays(&image(2));
        match content {
            Some(content) => changed.insert(array, content),
            None => changed.remove(array),
        };
        write(&dir, 2, &changed);
        assert_refused(imported_npz(&dir), &["img_2.npz"]);
        assert_refused(imported_npz(&dir), parts);
    };
    let missing = "the array `x` or `feat` or `features` is missing; the file has bbox.npy, ";
    refused("x", None, &[missing]);
    refused("num_bbox", Some(number(0)), &["`num_bbox` is 0"]);
    refused(
        "num_bbox",
        Some(number(3)),
        &["`x` has shape [4, 6], expected (3, F)"],
    );
    refused(
        "bbox",
        Some(reals(&[2, 4], &[0.0; 8])),
        &["`bbox` has shape [2, 4], expected (4, 4)"],
    );
    refused(
        "image_h",
        Some(npy(|path| write_i64(path, &[2], &[1, 1]))),
        &["`image_h`"],
    );
    refused(
        "image_h",
        Some(number(3)),
        &["image `img_2`", "outside the image of height 3"],
    );
    refused(
        "x",
        Some(b"\x93NUMPY".to_vec()),
        &["img_2.npz/x", "not an npy file"],
    );
    refused(
        "x",
        Some(reals(&[4, 6], &[f32::INFINITY; 24])),
        &["feature 0 is inf"],
    );
    let path = dir.path().join("img_2.npz");
    write(&dir, 2, &arrays(&image(2)));
    let whole = fs::read(&path).unwrap();
    for end in (7..whole.len()).step_by(7) {
        fs::write(&path, &whole[..end]).unwrap();
        assert_refused(imported_npz(&dir), &["img_2.npz: not a whole npz file"]);
    }
}

#[test]
fn folder_without_npz_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert_refused(
        imported_npz(&dir),
        &["no images there", "an npz file for each image"],
    );
}

#[test]
fn cocobu_gives_features_with_their_boxes() {
    let dir = cocobu();
    let out = imported_cocobu(&dir).unwrap();
    let expected = |n: usize| Entry {
        id: n.to_string(),
        size: None,
        ..image(n)
    };
    assert_eq!(
        entries(out.path()),
        (0..IMAGES).map(expected).collect::<Vec<_>>()
    );
}

#[test]
fn features_without_boxes_and_sizes_are_images() {
    let dir = cocobu();
    fs::remove_dir_all(dir.path().join("cocobu_box")).unwrap();
    let out = imported_cocobu(&dir).unwrap();
    let expected = |n: usize| Entry {
        id: n.to_string(),
        size: None,
        boxes: None,
        ..image(n)
    };
    let expected: Vec<Entry> = (0..IMAGES).map(expected).collect();
    assert_eq!(entries(out.path()), expected);
    for name in ["x", "feat", "features"] {
        let dir = tempfile::tempdir().unwrap();
        for (n, entry) in expected.iter().enumerate() {
            let shape = [entry.features.len() / WIDTH, WIDTH];
            let features = reals(&shape, &entry.features);
            npz(&dir.path().join(format!("{n}.npz")), &[(name, features)]);
        }
        // macOS writes such a file beside each file.
        fs::write(dir.path().join("._0.npz"), b"\0\x05\x16\x07").unwrap();
        let out = imported_npz(&dir).unwrap();
        assert_eq!(entries(out.path()), expected);
    }
}

#[test]
fn files_of_another_kind_are_recognised() {
    let dir = folder();
    let path = dir.path().join("img_2.npz");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    for (bytes, said) in [
        (pointer.as_bytes(), "git lfs pull"),
        (b"<html>", "a web page"),
        (b"\x1f\x8b\x08", "gunzip"),
        (b"", "an empty file"),
    ] {
        fs::write(&path, bytes).unwrap();
        let parts = ["img_2.npz: expected an npz file, found", said];
        assert_refused(imported_npz(&dir), &parts);
    }
}

#[test]
fn an_array_that_decompresses_beyond_the_limit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut bomb = reals(&[1, 1 << 20], &vec![0.0; 1 << 20]);
    bomb.resize(65 << 20, 0);
    npz(&dir.path().join("a.npz"), &[("x", bomb)]);
    let size = fs::metadata(dir.path().join("a.npz")).unwrap().len();
    assert!(size < 1 << 20, "{size}");
    assert_refused(
        imported_npz(&dir),
        &["a.npz: `x` has more than 67108864 bytes"],
    );
}

#[test]
fn cocobu_with_boxes_that_do_not_fit_is_refused() {
    let dir = cocobu();
    let path = dir.path().join("cocobu_box/2.npy");
    write_f32(&path, &[1, 4], &[0.0; 4]).unwrap();
    assert_refused(
        imported_cocobu(&dir),
        &["cocobu_box/2.npy", "expected (4, 4)"],
    );
    fs::remove_file(&path).unwrap();
    assert_refused(imported_cocobu(&dir), &["cocobu_box/2.npy"]);
    let feat = reals(&[0, WIDTH], &[]);
    npz(&dir.path().join("cocobu_att/2.npz"), &[("feat", feat)]);
    assert_refused(imported_cocobu(&dir), &["2.npz: `feat` has shape [0, 6]"]);
    let two = [dir.path().to_owned(), dir.path().to_owned()];
    assert_refused(
        imported(Format::Cocobu, &two, Layout::Store),
        &["cocobu: expected one directory, 2 paths were given"],
    );
}
