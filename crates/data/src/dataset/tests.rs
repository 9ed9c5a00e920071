//! Tests of whole splits: files that fit each other, and files that are refused.

use super::*;
use crate::npy::write_f32;
use tempfile::TempDir;

/// A data directory with features `[images, 2, 3]` and these captions.
fn directory(rows: &[usize], captions: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<f32> = rows
        .iter()
        .flat_map(|&row| (0..6).map(move |i| (row * 6 + i) as f32))
        .collect();
    write_f32(
        &dir.path().join("dev_ims.npy"),
        &[rows.len(), 2, 3],
        &values,
    )
    .unwrap();
    put(&dir, "dev_caps.txt", &captions.join("\n"));
    dir
}

fn put(dir: &TempDir, name: &str, text: &str) {
    std::fs::write(dir.path().join(name), text).unwrap();
}

fn open(dir: &TempDir) -> Split {
    Split::open(dir.path(), "dev").unwrap()
}

#[track_caller]
fn assert_refused(dir: &TempDir, parts: &[&str]) {
    let message = Split::open(dir.path(), "dev").unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn a_split_needs_only_features_and_captions() {
    let split = open(&directory(&[0, 1], &["a", "b", "c", "d"]));
    assert_eq!((split.images(), split.name.as_str()), (2, "dev"));
    assert_eq!(split.image_of_caption, [0, 0, 1, 1]);
    assert_eq!(split.ids, ["0", "1"]);
    assert!(split.boxes.is_none() && split.alignments.is_none());
    assert_eq!(split.image_file(0), None);
}

#[test]
fn the_images_of_a_split_can_be_opened_without_captions() {
    let dir = directory(&[0, 1], &["a", "b"]);
    put(&dir, "dev_ids.txt", "x\ny\n");
    std::fs::remove_file(dir.path().join("dev_caps.txt")).unwrap();
    assert_refused(&dir, &["dev_caps.txt"]);
    let split = Split::open_images(dir.path(), "dev").unwrap();
    assert_eq!((split.images(), split.captions.len()), (2, 0));
    assert_eq!(split.ids, ["x", "y"]);
    let missing = Split::open_images(dir.path(), "test").unwrap_err();
    assert!(missing.to_string().contains("test_ims.npy"), "{missing}");
}

#[test]
fn copies_are_merged_only_where_captions_and_rows_are_as_many() {
    let merged = open(&directory(&[0, 0, 1, 1], &["a", "b", "c", "d"]));
    assert_eq!(merged.images(), 2);
    assert_eq!(merged.image_of_caption, [0, 0, 1, 1]);
    let apart = open(&directory(&[0, 0, 1, 1], &["a"; 8]));
    assert_eq!(apart.images(), 4);
    let distinct = open(&directory(&[0, 1, 2, 3], &["a", "b", "c", "d"]));
    assert_eq!(distinct.image_of_caption, [0, 1, 2, 3]);
}

#[test]
fn a_map_replaces_the_order_and_prevents_merging() {
    let dir = directory(&[0, 0, 1], &["a", "b", "c"]);
    put(&dir, "dev_map.txt", "2\n1\n2\n");
    let split = open(&dir);
    assert_eq!(split.images(), 3);
    assert_eq!(split.image_of_caption, [2, 1, 2]);
}

#[test]
fn captions_that_are_no_multiple_of_images_are_refused_with_both_files() {
    assert_refused(
        &directory(&[0, 1], &["a", "b", "c"]),
        &[
            "dev_caps.txt has 3 captions",
            "dev_ims.npy has 2 images",
            "dev_map.txt",
        ],
    );
}

#[test]
fn missing_directory_and_files_are_named() {
    let message = Split::open(Path::new("no/such"), "dev")
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("no/such: no such directory"),
        "{message}"
    );
    let dir = directory(&[0], &["a"]);
    std::fs::remove_file(dir.path().join("dev_caps.txt")).unwrap();
    assert_refused(
        &dir,
        &["dev_caps.txt: no such file", "split `dev` needs captions"],
    );
    std::fs::remove_file(dir.path().join("dev_ims.npy")).unwrap();
    assert_refused(&dir, &["dev_ims.npy: no such file", "region features"]);
}

#[test]
fn ids_are_read_for_images_rows_or_captions() {
    let ids = |rows: &[usize], captions: usize, text: &str| {
        let dir = directory(rows, &vec!["a"; captions]);
        put(&dir, "dev_ids.txt", text);
        open(&dir).ids
    };
    assert_eq!(ids(&[0, 1], 4, "x.jpg\r\ny.jpg\r\n"), ["x.jpg", "y.jpg"]);
    assert_eq!(ids(&[0, 0, 1, 1], 4, "x\nx\ny\ny"), ["x", "y"]);
    assert_eq!(ids(&[0, 1], 4, "x\nx\ny\ny"), ["x", "y"]);
    let dir = directory(&[0, 1], &["a"; 4]);
    put(&dir, "dev_ids.txt", "x\n");
    assert_refused(&dir, &["dev_ids.txt: expected 2 ids", "or 4", "found 1"]);
}

#[test]
fn ids_of_captions_that_contradict_their_order_are_refused() {
    let dir = directory(&[0, 1], &["a"; 4]);
    put(&dir, "dev_ids.txt", "x\ny\nx\ny\n");
    let says = [
        "dev_ids.txt lines 1 and 2: captions of image 0",
        "`x` and `y`",
        "dev_map.txt",
    ];
    assert_refused(&dir, &says);
    put(&dir, "dev_map.txt", "0\n1\n0\n1\n");
    assert_eq!(open(&dir).ids, ["x", "y"]);
    // Every caption has its own id, so the ids do not name images.
    std::fs::remove_file(dir.path().join("dev_map.txt")).unwrap();
    put(&dir, "dev_ids.txt", "x0\nx1\ny0\ny1\n");
    assert_eq!(open(&dir).ids, ["x0", "y0"]);
}

#[test]
fn an_image_that_occurs_twice_is_refused() {
    let dir = directory(&[0, 1, 2], &["a"; 6]);
    put(&dir, "dev_ids.txt", "x\ny\nx\n");
    assert_refused(&dir, &["`x` is the id of images 0 and 2", "Keep it once"]);
    put(&dir, "dev_ids.txt", "x\nx\ny\ny\nx\nx\n");
    assert_refused(&dir, &["`x` is the id of images 0 and 2"]);
}

#[test]
fn rows_that_repeat_up_to_rounding_give_a_warning() {
    let warning = |rows: &[f32]| {
        let dir = directory(&[0], &vec!["a"; rows.len()]);
        let values: Vec<f32> = rows
            .iter()
            .flat_map(|row| (1..=6).map(move |feature| row * feature as f32))
            .collect();
        write_f32(
            &dir.path().join("dev_ims.npy"),
            &[rows.len(), 2, 3],
            &values,
        )
        .unwrap();
        let split = open(&dir);
        assert_eq!(split.images(), rows.len());
        split.warning
    };
    let near = warning(&[1.0, 1.0001, 3.0, 3.0002, 5.0, 5.0001]).unwrap();
    assert!(
        near.contains("each 2 rows") && near.contains("array[::2]"),
        "{near}"
    );
    assert_eq!(warning(&[1.0, 1.0001, 3.0, 3.1, 5.0, 5.0001]), None);
    assert_eq!(warning(&[1.0, 2.0, 3.0]), None);
    assert_eq!(warning(&[1.0]), None);
}

#[test]
fn lines_of_a_token_file_are_refused_with_advice() {
    let dir = directory(&[0], &["1000_ab.jpg#0\tA dog .", "1000_ab.jpg#1\tA cat ."]);
    assert_refused(
        &dir,
        &[
            "dev_caps.txt line 1: `1000_ab.jpg#0",
            "uard import --captions",
        ],
    );
    open(&directory(&[0], &["the #1\tdog", "a # b"]));
}

#[test]
fn pictures_are_found_with_or_without_extension_and_never_outside_the_directory() {
    let dir = directory(&[0, 1, 2, 3], &["a"; 8]);
    put(&dir, "dev_ids.txt", "1.2.jpg\n7\n3.jpg\n../dev_ims.npy\n");
    std::fs::create_dir(dir.path().join("images")).unwrap();
    for name in ["images/1.2.jpg", "images/7.png", "images/3.png"] {
        put(&dir, name, "");
    }
    let split = open(&dir);
    let found = |image| {
        split
            .image_file(image)
            .map(|path| path.file_name().unwrap().to_owned())
    };
    assert_eq!(found(0).unwrap(), "1.2.jpg");
    assert_eq!(found(1).unwrap(), "7.png");
    assert_eq!(found(2).unwrap(), "3.png");
    assert_eq!(found(3), None);
    assert_eq!(found(4), None);
    let elsewhere = split.with_images_dir(dir.path().join("nowhere"));
    assert_eq!(elsewhere.image_file(0), None);
}

#[test]
fn alignments_must_fit_words_and_regions() {
    let dir = directory(&[0], &["a kite.", "owl"]);
    let name = "dev_alignments.json";
    put(&dir, name, r#"{"captions": [[[1, [0, 1]], [2, []]], []]}"#);
    let alignments = open(&dir).alignments.unwrap();
    assert_eq!(alignments.captions[0], [(1, vec![0, 1]), (2, vec![])]);
    let again = dir.path().join("again.json");
    alignments.write_json(&again).unwrap();
    let read = Alignments::read_json(&again, &["a kite.".into(), "owl".into()], |_| 2);
    assert_eq!(read.unwrap(), alignments);

    put(&dir, name, r#"{"captions": [[]]}"#);
    assert_refused(
        &dir,
        &["dev_alignments.json: expected alignments of 2 captions, found 1"],
    );
    put(&dir, name, r#"{"captions": [[], [[1, [0]]]]}"#);
    assert_refused(&dir, &["caption 1 aligns word 1, expected one below 1"]);
    put(&dir, name, r#"{"captions": [[[0, [2]]], []]}"#);
    assert_refused(&dir, &["caption 0 aligns region 2, expected one below 2"]);
    put(&dir, name, "{}");
    assert_refused(&dir, &["dev_alignments.json: expected {\"captions\""]);
}

#[test]
fn hash_changes_with_captions_ids_order_and_features() {
    let hash = |dir: &TempDir| open(dir).data_hash().unwrap();
    let base = directory(&[0, 1], &["a", "b", "c", "d"]);
    let first = hash(&base);
    assert_eq!(first, hash(&directory(&[0, 1], &["a", "b", "c", "d"])));
    assert_ne!(first, hash(&directory(&[0, 1], &["a", "b", "d", "c"])));
    assert_ne!(first, hash(&directory(&[0, 2], &["a", "b", "c", "d"])));
    put(&base, "dev_ids.txt", "x\ny");
    let named = hash(&base);
    assert_ne!(first, named);
    put(&base, "dev_map.txt", "0\n1\n0\n1");
    assert_ne!(named, hash(&base));
}

#[test]
fn spread_takes_first_and_last_and_at_most_the_given_number() {
    assert_eq!(spread(3, 256).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(spread(1, 256).collect::<Vec<_>>(), [0]);
    let many: Vec<_> = spread(113_287, 256).collect();
    assert_eq!((many.len(), many[0], many[255]), (256, 0, 113_286));
    assert!(many.is_sorted_by(|a, b| a < b));
}
