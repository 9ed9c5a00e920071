//! Tests of `RegionStore`: counts, copies of images, and refused files.

use super::*;
use crate::npy::{header, write_f32, write_i64};
use tempfile::TempDir;

/// Features `[images, 2, 3]` of which each number is its index divided by 8.
fn values(images: usize) -> Vec<f32> {
    (0..images * 6).map(|i| i as f32 / 8.0).collect()
}

fn directory(shape: [usize; 3], values: &[f32]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_f32(&dir.path().join("dev_ims.npy"), &shape, values).unwrap();
    dir
}

fn open(dir: &TempDir) -> RegionStore {
    RegionStore::open(dir.path(), "dev").unwrap()
}

fn repeated(images: usize, copies: usize) -> TempDir {
    let rows = values(images);
    let rows = rows.chunks(6).flat_map(|row| row.repeat(copies));
    directory([images * copies, 2, 3], &rows.collect::<Vec<_>>())
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn images_read_alone_and_in_a_batch_alike() {
    let dir = directory([4, 2, 3], &values(4));
    let store = open(&dir);
    assert_eq!((store.images(), store.regions(), store.width()), (4, 2, 3));
    assert_eq!(store.count(3), 2);
    let batch = store.read_batch(&[2, 0, 2]).unwrap();
    for (index, image) in [2, 0, 2].into_iter().enumerate() {
        let mut alone = [0.0; 6];
        store.read(image, &mut alone).unwrap();
        assert_eq!(alone[..], values(4)[image * 6..][..6]);
        assert_eq!(batch[index * 6..][..6], alone);
    }
    assert!(store.read_batch(&[]).unwrap().is_empty());
}

#[test]
fn rows_beyond_the_count_are_zero_even_where_the_file_has_nan() {
    let mut stored = values(2);
    stored[3] = f32::NAN;
    let dir = directory([2, 2, 3], &stored);
    write_i64(&dir.path().join("dev_counts.npy"), &[2], &[1, 2]).unwrap();
    let store = open(&dir);
    assert_eq!((store.count(0), store.count(1)), (1, 2));
    let batch = store.read_batch(&[0, 1]).unwrap();
    assert_eq!(batch[..3], stored[..3]);
    assert_eq!(batch[3..6], [0.0; 3]);
    assert_eq!(batch[6..], stored[6..]);
}

#[test]
fn nan_and_infinity_name_file_image_and_region() {
    for (bad, text) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        let mut stored = values(3);
        stored[2 * 6 + 4] = bad;
        let dir = directory([3, 2, 3], &stored);
        let message = open(&dir).read_batch(&[0, 2]).unwrap_err().to_string();
        assert_says(
            &message,
            &[
                "dev_ims.npy: image 2, region 1: feature 1 is",
                text,
                "expected a finite number",
            ],
        );
    }
}

#[test]
fn counts_below_one_or_above_the_stored_regions_are_refused() {
    let dir = directory([2, 2, 3], &values(2));
    let path = dir.path().join("dev_counts.npy");
    let refusal = || {
        RegionStore::open(dir.path(), "dev")
            .unwrap_err()
            .to_string()
    };
    for bad in [0, 3, -1] {
        write_i64(&path, &[2], &[2, bad]).unwrap();
        let expected =
            format!("dev_counts.npy: image 1 has a count of {bad} regions, expected 1 to 2");
        assert_says(&refusal(), &[&expected]);
    }
    write_i64(&path, &[3], &[2, 2, 2]).unwrap();
    assert_says(
        &refusal(),
        &[
            "dev_counts.npy: expected shape (2,), found (3,)",
            "dev_ims.npy",
        ],
    );
    write_f32(&path, &[2], &[2.0, 2.0]).unwrap();
    assert_says(
        &refusal(),
        &["dev_counts.npy: expected dtype an integer", "found '<f4'"],
    );
}

#[test]
fn a_missing_image_and_a_buffer_of_wrong_length_are_refused() {
    let dir = directory([2, 2, 3], &values(2));
    let store = open(&dir);
    let message = store.read(2, &mut [0.0; 6]).unwrap_err().to_string();
    assert_says(&message, &["image 2 was requested, the file has 2"]);
    assert!(store.read(0, &mut [0.0; 5]).is_err());
}

#[test]
fn runs_of_equal_rows_become_images_whatever_their_length() {
    for copies in [2, 3, 4, 5, 7] {
        let dir = repeated(3, copies);
        let mut store = open(&dir);
        assert_eq!(store.merge_copies().unwrap(), copies);
        assert_eq!((store.images(), store.rows()), (3, 3 * copies));
        assert_eq!(store.read_batch(&[0, 1, 2]).unwrap(), values(3));
        assert!(store.read(3, &mut [0.0; 6]).is_err());
    }
}

#[test]
fn one_image_with_its_copies_is_one_image() {
    let dir = repeated(1, 5);
    let mut store = open(&dir);
    assert_eq!(store.merge_copies().unwrap(), 5);
    assert_eq!(store.images(), 1);
}

#[test]
fn equal_neighbours_are_two_images_with_half_the_copies() {
    let mut rows = values(1).repeat(4);
    rows.extend(values(2)[6..].repeat(2));
    let dir = directory([6, 2, 3], &rows);
    let mut store = open(&dir);
    assert_eq!(store.merge_copies().unwrap(), 2);
    assert_eq!(store.images(), 3);
}

#[test]
fn rows_are_not_merged_unless_all_are_in_runs() {
    let mut rows = values(1).repeat(2);
    rows.extend(&values(3)[6..]);
    let dir = directory([4, 2, 3], &rows);
    let mut store = open(&dir);
    assert_eq!(store.merge_copies().unwrap(), 1);
    assert_eq!(store.images(), 4);
}

#[test]
fn constant_file_keeps_its_rows() {
    for rows in [6, 300] {
        let dir = directory([rows, 2, 3], &vec![0.0; rows * 6]);
        let mut store = open(&dir);
        assert_eq!(store.merge_copies().unwrap(), 1);
        assert_eq!(store.images(), rows);
    }
}

#[test]
fn single_images_are_read_from_a_sparse_file_of_coco_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dev_ims.npy");
    std::fs::write(&path, header("<f4", &[113_287, 36, 2048])).unwrap();
    let header = std::fs::metadata(&path).unwrap().len();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(header + 113_287 * 36 * 2048 * 4).unwrap();
    let mut store = open(&dir);
    assert_eq!(store.merge_copies().unwrap(), 1);
    assert_eq!(
        store.read_batch(&[113_286, 0]).unwrap().len(),
        2 * 36 * 2048
    );
}

#[test]
fn boxes_must_fit_their_regions() {
    let dir = repeated(2, 3);
    let path = dir.path().join("dev_boxes.npy");
    let mut store = open(&dir);
    store.merge_copies().unwrap();
    for rows in [2, 6] {
        let corners: Vec<f32> = (0..rows * 8).map(|i| (i / 8) as f32).collect();
        write_f32(&path, &[rows, 2, 4], &corners).unwrap();
        let boxes = Boxes::open(path.clone(), &store).unwrap();
        assert_eq!(boxes.read(1).unwrap(), [[(rows / 2) as f32; 4]; 2]);
        assert!(boxes.read(2).is_err());
    }
    write_f32(&path, &[2, 2, 5], &[0.0; 20]).unwrap();
    let message = Boxes::open(path, &store).unwrap_err().to_string();
    assert_says(
        &message,
        &["dev_boxes.npy: expected shape (2, 2, 4), found (2, 2, 5)"],
    );
}
