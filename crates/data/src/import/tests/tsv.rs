//! Tests of TSV dumps of both column orders, and of refused files.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn base64(bytes: impl IntoIterator<Item = u8>) -> String {
    STANDARD.encode(bytes.into_iter().collect::<Vec<u8>>())
}

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

fn floats(values: &[f32]) -> String {
    base64(values.iter().flat_map(|value| value.to_le_bytes()))
}

fn column(column: &Column) -> String {
    match column {
        Column::Integers(values) => base64(values.iter().flat_map(|value| value.to_le_bytes())),
        Column::Reals(values) => floats(values),
    }
}

/// The columns of an image in butd's order.
fn butd(entry: &Entry) -> Vec<String> {
    let (size, boxes) = (entry.size.unwrap(), entry.boxes.as_ref().unwrap());
    vec![
        entry.id.clone(),
        size.width.to_string(),
        size.height.to_string(),
        boxes.len().to_string(),
        floats(boxes.as_flattened()),
        floats(&entry.features),
    ]
}

/// The columns of an image in LXMERT's order.
fn lxmert(entry: &Entry) -> Vec<String> {
    let extra = |name| column(&entry.extras[name]);
    let mut columns = butd(entry);
    columns.swap(1, 2);
    let classes = [
        extra("object_ids"),
        extra("object_confidences"),
        extra("attribute_ids"),
        extra("attribute_confidences"),
    ];
    columns.splice(3..3, classes);
    columns
}

fn file(lines: &[Vec<String>]) -> (TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump.tsv");
    let text: String = lines
        .iter()
        .map(|columns| columns.join("\t") + "\n")
        .collect();
    fs::write(&path, text).unwrap();
    (dir, vec![path])
}

fn butd_lines() -> Vec<Vec<String>> {
    (0..IMAGES).map(|n| butd(&image(n))).collect()
}

fn lxmert_lines() -> Vec<Vec<String>> {
    (0..IMAGES).map(|n| lxmert(&classified(n))).collect()
}

#[track_caller]
fn refused(format: Format, lines: &[Vec<String>], parts: &[&str]) {
    let (_dir, paths) = file(lines);
    let mut expected = vec!["dump.tsv line "];
    expected.extend(parts);
    assert_refused(imported(format, &paths, Layout::Store), &expected);
}

#[test]
fn both_column_orders_give_the_same_images() {
    let (_dir, paths) = file(&butd_lines());
    let out = imported(Format::ButdTsv, &paths, Layout::Store).unwrap();
    assert_eq!(
        entries(out.path()),
        (0..IMAGES).map(image).collect::<Vec<_>>()
    );
    let (_dir, paths) = file(&lxmert_lines());
    let out = imported(Format::LxmertTsv, &paths, Layout::Store).unwrap();
    let expected: Vec<Entry> = (0..IMAGES).map(classified).collect();
    assert_eq!(entries(out.path()), expected);
    let store = FeatureStore::open(out.path(), "dev").unwrap();
    let Provenance::Imported {
        format, sources, ..
    } = &store.manifest().provenance
    else {
        panic!("an import is one");
    };
    assert_eq!(
        (&format[..], &sources[0].name[..]),
        ("lxmert-tsv", "dump.tsv")
    );
    assert_eq!(sources[0].bytes, fs::metadata(&paths[0]).unwrap().len());
}

#[test]
fn several_files_are_one_list() {
    let lines = butd_lines();
    let (_one, mut paths) = file(&lines[..2]);
    let (_two, more) = file(&lines[2..]);
    paths.extend(more);
    let out = imported(Format::ButdTsv, &paths, Layout::Store).unwrap();
    assert_eq!(
        entries(out.path()),
        (0..IMAGES).map(image).collect::<Vec<_>>()
    );
    let twice = [&paths[..1], &paths[..1]].concat();
    assert_refused(
        imported(Format::ButdTsv, &twice, Layout::Store),
        &[
            "dump.tsv line 1: image `img_0`",
            "already that of image number 1",
        ],
    );
}

#[test]
fn line_ends_do_not_change_the_images() {
    let (dir, paths) = file(&butd_lines());
    let text = fs::read_to_string(&paths[0]).unwrap();
    for text in [
        text.replace('\n', "\r\n"),
        text.trim_end().to_owned(),
        format!("{text}\n\n"),
    ] {
        fs::write(dir.path().join("dump.tsv"), text).unwrap();
        let out = imported(Format::ButdTsv, &paths, Layout::Store).unwrap();
        assert_eq!(entries(out.path()).len(), IMAGES);
    }
}

#[test]
fn a_file_that_ends_within_its_last_line_is_reported_as_truncated() {
    let (dir, paths) = file(&butd_lines());
    let whole = fs::read(&paths[0]).unwrap();
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .unwrap()
        + 1;
    for end in last + 1..whole.len() - 1 {
        fs::write(dir.path().join("dump.tsv"), &whole[..end]).unwrap();
        assert_refused(
            imported(Format::ButdTsv, &paths, Layout::Store),
            &["dump.tsv line 5: the file ends within this line, so it is truncated"],
        );
    }
}

#[test]
fn other_column_order_is_named() {
    let says = [
        "line 1: expected 10 columns",
        "found 6",
        "--format butd-tsv",
    ];
    refused(Format::LxmertTsv, &butd_lines(), &says);
    let says = [
        "line 1: expected 6 columns",
        "found 10",
        "--format lxmert-tsv",
    ];
    refused(Format::ButdTsv, &lxmert_lines(), &says);
    let mut lines = lxmert_lines();
    lines[3].swap(1, 2);
    let says = [
        "line 4: image `img_3`: box 0",
        "height and width were exchanged",
    ];
    refused(Format::LxmertTsv, &lines, &says);
}

#[test]
fn damaged_columns_are_named() {
    let refused = |column: usize, text: &str, parts: &[&str]| {
        let mut lines = lxmert_lines();
        lines[2][column] = text.to_owned();
        let mut expected = vec!["line 3: "];
        expected.extend(parts);
        refused(Format::LxmertTsv, &lines, &expected);
    };
    refused(
        1,
        "tall",
        &["`height`: expected a number of pixels, found `tall`"],
    );
    refused(7, "0", &["`num_boxes` is 0"]);
    refused(7, "-1", &["`num_boxes`", "found `-1`"]);
    refused(
        7,
        "5",
        &["`objects_id` decodes to 32 bytes, expected 40 (5 regions x 8)"],
    );
    // A count whose size in bytes overflows.
    refused(7, "18446744073709551615", &["`objects_id` decodes to 32"]);
    refused(3, "AAAA", &["`objects_id` decodes to 3 bytes"]);
    refused(8, "AA!A", &["`boxes` is not base64", "offset 2"]);
    refused(
        8,
        "AAAA",
        &["`boxes` decodes to 3 bytes, expected 4 regions x 4 numbers x 4"],
    );
    refused(
        9,
        &floats(&[0.0; 20]),
        &["`features` decodes to 80 bytes, expected 4 regions x 6"],
    );
    refused(9, "", &["`features` decodes to 0 bytes"]);
    let mut values = image(2).features;
    values[7] = f32::NAN;
    refused(
        9,
        &floats(&values),
        &["image `img_2`: region 1: feature 1 is NaN"],
    );
    refused(
        0,
        "img_1",
        &["image `img_1`: its id is already that of image number 2"],
    );
}

/// Seeded uniform numbers from 0 to 3, the range of many features.
fn values(count: usize) -> Vec<f32> {
    let mut draws = ChaCha8Rng::seed_from_u64(5);
    (0..count).map(|_| draws.random_range(0.0..3.0)).collect()
}

/// The lines of the dump, with these bytes as the features of the first image.
fn with_features(bytes: &[u8]) -> Vec<Vec<String>> {
    let mut lines = butd_lines();
    lines[0][5] = STANDARD.encode(bytes);
    lines
}

#[test]
fn numbers_of_another_type_are_refused_in_any_width() {
    let f16 = |values: &[f32]| -> Vec<u8> {
        let halves = values.iter();
        halves
            .flat_map(|&v| half::f16::from_f32(v).to_le_bytes())
            .collect()
    };
    let f64 = |values: &[f32]| -> Vec<u8> {
        let doubles = values.iter().enumerate();
        doubles
            .flat_map(|(at, &v)| (f64::from(v) * (1.0 + 1e-9 * at as f64)).to_le_bytes())
            .collect()
    };
    for width in [48, 100, 2048] {
        let wide = values(2 * width);
        let relu: Vec<f32> = wide.iter().map(|v| (v - 1.0).max(0.0)).collect();
        let large: Vec<f32> = wide.iter().map(|v| 1.0 + v * 7.0).collect();
        for features in [&wide, &relu, &large] {
            let says = ["line 1: `features` holds numbers of f16, expected f32"];
            refused(Format::ButdTsv, &with_features(&f16(features)), &says);
            let says = ["line 1: `features` holds numbers of f64, expected f32"];
            refused(Format::ButdTsv, &with_features(&f64(features)), &says);
        }
    }
    let ones = [1.0f64; 12].map(f64::to_le_bytes);
    let says = ["`features` holds numbers of f64"];
    refused(Format::ButdTsv, &with_features(ones.as_flattened()), &says);
    // From the second line on the width is known, and the length shows the number type.
    let mut lines = butd_lines();
    lines[2][5] = STANDARD.encode(f16(&image(2).features));
    refused(
        Format::ButdTsv,
        &lines,
        &["line 3: `features` holds numbers of f16"],
    );
    let boxes = image(0).boxes.unwrap();
    let mut lines = butd_lines();
    lines[0][4] = STANDARD.encode(f16(boxes.as_flattened()));
    refused(Format::ButdTsv, &lines, &["`boxes` holds numbers of f16"]);
}

#[test]
fn f32_is_read_even_if_it_was_rounded_before() {
    let wide = values(2 * 512);
    let rounded = |v: &f32| half::f16::from_f32(*v).to_f32();
    let kinds: [Vec<f32>; 5] = [
        wide.clone(),
        wide.iter().map(rounded).collect(),
        wide.iter().map(|v| (v * 10.0).floor()).collect(),
        wide.iter().map(|v| (v - 2.0).max(0.0) / 1000.0).collect(),
        vec![0.1; 2 * 512],
    ];
    for features in kinds {
        let mut line = butd(&image(0));
        line[5] = floats(&features);
        let (_dir, paths) = file(&[line]);
        let out = imported(Format::ButdTsv, &paths, Layout::Store).unwrap();
        assert_eq!(entries(out.path())[0].features, features);
    }
}

#[test]
fn boxes_in_fractions_of_the_image_are_refused() {
    let mut lines = butd_lines();
    lines[0][4] = floats(&[0.0, 0.1, 0.9, 1.0, 0.2, 0.2, 1.0001, 0.4]);
    let says = [
        "all boxes lie within 0 to 1",
        "height 20 and width 50",
        "multiply x",
    ];
    refused(Format::ButdTsv, &lines, &says);
    // Zeros, which stand for unknown boxes, are accepted.
    lines[0][4] = floats(&[0.0; 8]);
    let (_dir, paths) = file(&lines);
    imported(Format::ButdTsv, &paths, Layout::Store).unwrap();
}

#[test]
fn columns_that_python_printed_as_bytes_are_read() {
    let printed = |quote: char| -> Vec<Vec<String>> {
        let column = |text: &String| format!("b{quote}{text}{quote}");
        let lines = butd_lines();
        let lines = lines.iter();
        lines
            .map(|line| line.iter().map(column).collect())
            .collect()
    };
    for quote in ['\'', '"'] {
        let (_dir, paths) = file(&printed(quote));
        let out = imported(Format::ButdTsv, &paths, Layout::Store).unwrap();
        assert_eq!(entries(out.path())[3], image(3));
    }
}

#[test]
fn compressed_files_and_failed_downloads_are_recognised() {
    for (text, said) in [
        (&b"\x1f\x8b\x08\0\0"[..], "gunzip"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "git lfs pull",
        ),
        (b"\n<!doctype html>\n", "a web page"),
    ] {
        let (dir, paths) = file(&[]);
        fs::write(dir.path().join("dump.tsv"), text).unwrap();
        let parts = ["dump.tsv: expected a TSV of region features, found", said];
        assert_refused(imported(Format::ButdTsv, &paths, Layout::Store), &parts);
    }
}

#[test]
fn the_first_line_must_have_a_multiple_of_its_regions() {
    let mut lines = butd_lines();
    lines[0][5] = floats(&[1.0; 13]);
    let says = ["line 1: `features` decodes to 52 bytes, expected a multiple of 2 regions x 4"];
    refused(Format::ButdTsv, &lines, &says);
}

#[test]
fn a_line_beyond_the_limit_is_refused() {
    let (dir, paths) = file(&[]);
    let file = fs::File::options()
        .write(true)
        .open(dir.path().join("dump.tsv"))
        .unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    assert_refused(
        imported(Format::ButdTsv, &paths, Layout::Store),
        &["dump.tsv line 1: the line has more than 67108864 bytes"],
    );
}

#[test]
fn file_without_images_and_no_file_are_refused() {
    let (_dir, paths) = file(&[]);
    assert_refused(
        imported(Format::ButdTsv, &paths, Layout::Store),
        &["dump.tsv: no images there"],
    );
    assert_refused(
        imported(Format::ButdTsv, &["no/such.tsv".into()], Layout::Store),
        &["cannot open no/such.tsv"],
    );
}

#[test]
fn a_stopped_import_is_continued_with_the_same_dump_only() {
    let (_dir, paths) = file(&butd_lines());
    let whole = imported(Format::ButdTsv, &paths, Layout::Store).unwrap();
    let mut broken = butd_lines();
    broken[4][5].truncate(8);
    let (dir, paths) = file(&broken);
    let out = tempfile::tempdir().unwrap();
    let to = destination(out.path(), Layout::Store);
    let import_again = || {
        let mut dump = open(Format::ButdTsv, &paths, "dev")?;
        import(Format::ButdTsv, &mut *dump, &to, &mut |_, _| {})
    };
    assert_refused(import_again(), &["line 5", "`features`"]);
    // The file has another size now, so it is another dump.
    let (repaired, _) = file(&butd_lines());
    fs::copy(
        repaired.path().join("dump.tsv"),
        dir.path().join("dump.tsv"),
    )
    .unwrap();
    assert_refused(import_again(), &["provenance.sources", "now it is"]);
    fs::remove_dir_all(out.path().join("dev_store")).unwrap();
    assert_eq!(import_again().unwrap().images, IMAGES);
    assert_eq!(import_again().unwrap().images, IMAGES);
    let part = "dev_store/part-000000.safetensors";
    let bytes = |dir: &TempDir| fs::read(dir.path().join(part)).unwrap();
    assert!(bytes(&out) == bytes(&whole));
}
