//! Tests of `uard threshold`, `recall` and `score` on small arrays.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::uard;

use std::path::Path;

use serde_json::Value;
use uard::{random_array, refused, run, succeeded, uard};
use uard_data::npy::{read_f32, write_f32, write_i64};

/// Tolerance for the table of docs/method.md: half a unit of the last of its six digits, and
/// rounding.
const PRINTED: f64 = 1e-6;

/// The largest difference of f32 from f64 for a few dozen fragments.
const PARITY: f32 = 1e-5;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The mean and the Bessel-corrected standard deviation of some samples.
#[derive(Clone, Copy)]
struct Moments {
    mean: f64,
    std: f64,
}

const fn moments(mean: f64, std: f64) -> Moments {
    Moments { mean, std }
}

/// Writes two samples with exactly these moments.
fn write_samples(path: &Path, Moments { mean, std }: Moments) {
    let half = std / 2f64.sqrt();
    write_f32(path, &[2], &[(mean - half) as f32, (mean + half) as f32]).unwrap();
}

fn threshold(relevant: Moments, irrelevant: Moments, penalty: f64) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let (p, n) = (
        directory.path().join("P.npy"),
        directory.path().join("N.npy"),
    );
    write_samples(&p, relevant);
    write_samples(&n, irrelevant);
    let (p, n) = (text(&p), text(&n));
    let command = format!("threshold --relevant {p} --irrelevant {n} --penalty {penalty}");
    succeeded(&run(&command));
    json(&succeeded(&run(&format!("{command} --format json"))))
}

#[test]
fn threshold_meets_the_table_of_the_method() {
    let rows = [
        (moments(0.6, 0.15), moments(0.2, 0.1), 1.0, 0.374971),
        (moments(0.6, 0.15), moments(0.2, 0.1), 2.0, 0.399567),
        (moments(0.6, 0.1), moments(0.2, 0.15), 1.0, 0.425029),
        (moments(0.6, 0.1), moments(0.2, 0.15), 2.0, 0.450912),
        (moments(0.55, 0.12), moments(0.25, 0.12), 1.0, 0.400000),
        (moments(0.55, 0.12), moments(0.25, 0.12), 2.0, 0.433271),
        (moments(0.4, 0.2), moments(0.3, 0.1), 2.0, 0.470167),
    ];
    for (relevant, irrelevant, penalty, expected) in rows {
        let found = threshold(relevant, irrelevant, penalty);
        let t = found["threshold"].as_f64().unwrap();
        assert!((t - expected).abs() < PRINTED, "{t} {expected}");
        assert!((found["relevant"]["mean"].as_f64().unwrap() - relevant.mean).abs() < PRINTED);
        assert!((found["irrelevant"]["std"].as_f64().unwrap() - irrelevant.std).abs() < PRINTED);
        assert_eq!(found["irrelevant"]["count"], 2);
        assert!(found["error_probability"].as_f64().unwrap() > 0.0);
        assert!(found.get("reason").is_none());
    }
}

#[test]
fn no_threshold_is_null_with_a_reason() {
    let found = threshold(moments(0.3, 0.1), moments(0.28, 0.2), 4.0);
    assert!(found["threshold"].is_null() && found["error_probability"].is_null());
    assert_eq!(found["reason"], "the distributions do not cross");
    let found = threshold(moments(0.3, 0.0), moments(0.2, 0.1), 1.0);
    assert_eq!(found["reason"], "a distribution has no spread");
}

#[test]
fn samples_that_are_not_finite_are_refused_with_their_file() {
    let directory = tempfile::tempdir().unwrap();
    let (p, n) = (
        directory.path().join("P.npy"),
        directory.path().join("N.npy"),
    );
    write_f32(&p, &[3], &[0.1, f32::NAN, 0.2]).unwrap();
    write_f32(&n, &[2], &[0.1, 0.2]).unwrap();
    let command = format!(
        "threshold --relevant {} --irrelevant {}",
        text(&p),
        text(&n)
    );
    refused(&run(&command), &["P.npy", "sample 1 is NaN"]);
    let command = format!(
        "threshold --relevant {} --irrelevant {}",
        text(&n),
        text(&n)
    );
    refused(&run(&format!("{command} --penalty -1")), &["--penalty -1"]);
}

/// Two images of two captions each; a caption of the first image is most similar to the second.
fn similarities(directory: &Path) -> String {
    let path = directory.join("S.npy");
    write_f32(&path, &[2, 4], &[0.9, 0.1, 0.2, 0.3, 0.8, 0.2, 0.7, 0.6]).unwrap();
    text(&path).to_owned()
}

#[test]
fn recall_has_the_documented_fields_in_percent() {
    let directory = tempfile::tempdir().unwrap();
    let path = similarities(directory.path());
    let found = json(&succeeded(&run(&format!(
        "recall --similarities {path} --format json"
    ))));
    assert_eq!(found["image_to_text"]["r1"], 50.0);
    assert_eq!(found["image_to_text"]["r5"], 100.0);
    assert_eq!(found["image_to_text"]["mean_rank"], 1.5);
    assert_eq!(found["text_to_image"]["r1"], 75.0);
    assert_eq!(found["text_to_image"]["median_rank"], 1.0);
    assert_eq!(found["rsum"], 525.0);
    assert_eq!(
        (&found["images"], &found["captions"]),
        (&2.into(), &4.into())
    );
    assert!(found["protocol"].as_str().unwrap().contains("single model"));
    assert!(succeeded(&run(&format!("recall --similarities {path}"))).contains("525.0"));
}

#[test]
fn recall_follows_a_map_and_counts_folds() {
    let directory = tempfile::tempdir().unwrap();
    let path = similarities(directory.path());
    let map = directory.path().join("map.txt");
    std::fs::write(&map, "1\n0\n0\n1\n").unwrap();
    let command = format!(
        "recall --similarities {path} --map {} --format json",
        text(&map)
    );
    let found = json(&succeeded(&run(&command)));
    assert_eq!(found["image_to_text"]["r1"], 50.0);
    let found = json(&succeeded(&run(&format!(
        "recall --similarities {path} --folds 2 --format json"
    ))));
    assert_eq!(found["text_to_image"]["r1"], 100.0);
    std::fs::write(&map, "1\n0\n").unwrap();
    refused(&run(&command), &["4 captions"]);
    std::fs::write(&map, "1\n0\n0\n7\n").unwrap();
    refused(&run(&command), &["map.txt", "line 4", "\"7\""]);
}

#[test]
fn recall_counts_judgements_by_coco_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let path = similarities(directory.path());
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        text(&path).to_owned()
    };
    let ids = file("ids.txt", "7\t70\n7\t71\n9\t90\n9\t91\n");
    // Rows: 0.9 0.1 0.2 0.3 and 0.8 0.2 0.7 0.6.
    let images = file("images.json", r#"{"7": [70, 90, 91]}"#);
    let captions = file("captions.json", r#"{"70": [9], "91": [9, 7]}"#);
    let command = |ids: &str, captions: &str| {
        format!(
            "recall --similarities {path} --caption-ids {ids} --judgements {images} {captions} \
             --format json"
        )
    };
    let found = json(&succeeded(&run(&command(&ids, &captions))));
    assert_eq!(found["image_to_text"]["queries"], 1);
    assert_eq!(found["image_to_text"]["map_at_r"], 100.0);
    assert_eq!(found["text_to_image"]["queries"], 2);
    assert_eq!(found["text_to_image"]["map_at_r"], 50.0);
    assert_eq!(found["text_to_image"]["r1"], 50.0);
    assert_eq!(found["text_to_image"]["r5"], 100.0);
    let table = command(&ids, &captions).replace(" --format json", "");
    assert!(succeeded(&run(&table)).contains("mAP@R"));
    let foreign = file("foreign.json", r#"{"72": [9]}"#);
    refused(&run(&command(&ids, &foreign)), &["foreign.json", "72"]);
    let list = file("list.json", "[1, 2]");
    refused(&run(&command(&ids, &list)), &["list.json", "391895"]);
    for (wrong, named) in [
        ("7\t70\n", "4 captions"),
        ("7\t70\n7\t71\n9\t90\n9 91\n", "line 4"),
        ("7\t70\n7\t71\n9\t90\n9\t70\n", "caption 70"),
        ("7\t70\n9\t71\n9\t90\n9\t91\n", "--map"),
    ] {
        let wrong = file("wrong.txt", wrong);
        refused(&run(&command(&wrong, &captions)), &["wrong.txt", named]);
    }
    let both = format!("{} --folds 2", command(&ids, &captions));
    refused(&run(&both), &["--folds"]);
}

/// An array of f64 as numpy writes it.
fn write_f64(path: &Path, shape: &[usize], values: &[f64]) {
    let sizes: Vec<String> = shape.iter().map(|size| format!("{size},")).collect();
    let mut header = format!(
        "{{'descr': '<f8', 'fortran_order': False, 'shape': ({}), }}",
        sizes.join(" ")
    );
    header = format!("{header:117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(header.bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn recall_ranks_f64_without_rounding() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("S.npy");
    let similarities = [2e-9, 1e-9, 0.0, 3e-9].map(|more| 1000.0 + more);
    write_f64(&path, &[2, 2], &similarities);
    let path = text(&path);
    let command = format!("recall --similarities {path} --format json");
    let found = json(&succeeded(&run(&command)));
    assert_eq!(found["rsum"], 600.0);
    // The mean of an ensemble is not rounded either.
    let command = format!("recall --similarities {path} --similarities {path} --format json");
    assert_eq!(json(&succeeded(&run(&command)))["rsum"], 600.0);
}

#[test]
fn recall_refuses_repeated_images_and_merges_them_on_request() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("S.npy");
    let rows = [[0.9, 0.1, 0.2, 0.3], [0.8, 0.2, 0.7, 0.6]];
    let repeated = [rows[0], rows[0], rows[1], rows[1]].concat();
    write_f32(&path, &[4, 4], &repeated).unwrap();
    let command = format!("recall --similarities {} --format json", text(&path));
    refused(
        &run(&command),
        &["2 of 4 rows", "row 1 equals row 0", "--repeated-images 2"],
    );
    let found = json(&succeeded(&run(&format!("{command} --repeated-images 2"))));
    assert_eq!(
        (&found["images"], &found["rsum"]),
        (&2.into(), &525.0.into())
    );
    let found = json(&succeeded(&run(&format!("{command} --repeated-images 1"))));
    assert_eq!(found["images"], 4);
    refused(
        &run(&format!("{command} --repeated-images 4")),
        &["--repeated-images", "rows 0 and 2 differ"],
    );
    refused(
        &run(&format!("{command} --repeated-images 3")),
        &["divides 4"],
    );
    // All images one after the other, and then all of them again.
    write_f32(
        &path,
        &[4, 4],
        &[rows[0], rows[1], rows[0], rows[1]].concat(),
    )
    .unwrap();
    refused(&run(&command), &["row 2 equals row 0", "keep one row"]);
    // One repeated image gives a note, and is not refused.
    let other = [0.3, 0.4, 0.1, 0.2];
    write_f32(&path, &[4, 4], &[rows[0], rows[1], rows[0], other].concat()).unwrap();
    let output = run(&command);
    succeeded(&output);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("note: 1 of 4 rows"), "{said}");
}

#[test]
fn recall_refuses_a_matrix_that_looks_transposed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("S.npy");
    random_array(&path, &[4, 2], 3);
    let command = format!("recall --similarities {}", text(&path));
    refused(&run(&command), &["4 rows and 2 columns looks transposed"]);
    let map = directory.path().join("map.txt");
    std::fs::write(&map, "1\n0\n0\n1\n").unwrap();
    let command = format!("{command} --map {}", text(&map));
    refused(&run(&command), &["map.txt", "looks transposed"]);
}

#[test]
fn recall_reads_a_map_with_a_byte_order_mark_and_empty_lines_at_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = similarities(directory.path());
    let map = directory.path().join("map.txt");
    let command = format!("recall --similarities {path} --map {}", text(&map));
    std::fs::write(&map, "\u{feff}0\r\n0\r\n1\r\n1\r\n\r\n").unwrap();
    assert!(succeeded(&run(&command)).contains("525.0"));
    std::fs::write(&map, b"\xff\xfe0\0\n\0").unwrap();
    refused(&run(&command), &["map.txt", "save the file as UTF-8"]);
}

#[test]
fn recall_refuses_matrices_that_cannot_be_ranked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("S.npy");
    let command = format!("recall --similarities {}", text(&path));
    refused(&run(&command), &["S.npy", "cannot open"]);
    write_f32(&path, &[2, 3], &[0.0; 6]).unwrap();
    refused(&run(&command), &["--map", "3 captions for 2 images"]);
    write_f32(&path, &[2, 2, 2], &[0.0; 8]).unwrap();
    refused(&run(&command), &["expected 2 axes", "(2, 2, 2)"]);
    write_f32(&path, &[1, 2], &[0.0, f32::NAN]).unwrap();
    refused(&run(&command), &["S.npy", "caption 1", "NaN"]);
}

/// Ragged regions and words in files: five images, seven captions.
struct Fragments {
    directory: tempfile::TempDir,
}

impl Fragments {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mut regions = random_array(&at("R.npy"), &[5, 6, 8], 1);
        // Padding may hold anything: image 1 has one region.
        regions[(6 + 1) * 8] = f32::NAN;
        write_f32(&at("R.npy"), &[5, 6, 8], &regions).unwrap();
        random_array(&at("W.npy"), &[7, 4, 8], 2);
        write_i64(&at("RC.npy"), &[5], &[6, 1, 3, 2, 5]).unwrap();
        write_i64(&at("WC.npy"), &[7], &[4, 1, 2, 3, 4, 1, 2]).unwrap();
        Self { directory }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, more: &str) -> String {
        let at = |name: &str| text(&self.at(name)).to_owned();
        format!(
            "score --regions {} --words {} --region-counts {} --word-counts {} --out {} {more}",
            at("R.npy"),
            at("W.npy"),
            at("RC.npy"),
            at("WC.npy"),
            at("S.npy")
        )
    }

    fn score(&self, more: &str) -> Vec<f32> {
        succeeded(&run(&self.command(more)));
        let array = read_f32(&self.at("S.npy")).unwrap();
        assert_eq!(array.shape, [5, 7]);
        array.values
    }
}

#[test]
fn score_of_every_rule_and_side_agrees_with_the_reference() {
    let fragments = Fragments::new();
    for rule in ["masked", "nearest", "zero", "scan", "maxsim"] {
        for sides in ["both", "words", "regions"] {
            let more = format!("--rule {rule} --sides {sides} --threshold 0.2");
            let reference = fragments.score(&format!("{more} --kernel reference"));
            for kernel in ["auto", "tensor", "scalar", "amx"] {
                let more = format!("{more} --kernel {kernel}");
                for (found, reference) in fragments.score(&more).iter().zip(&reference) {
                    assert!(
                        (found - reference).abs() < PARITY,
                        "{more}: {found} {reference}"
                    );
                }
            }
            // No query has more than ten candidates, so `exact` equals f32 everywhere.
            let f32 = fragments.score(&more);
            assert_eq!(fragments.score(&format!("{more} --precision exact")), f32);
        }
    }
}

#[test]
fn score_normalises_rows() {
    let fragments = Fragments::new();
    let before = fragments.score("--threshold 0.2");
    let words = read_f32(&fragments.at("W.npy")).unwrap();
    let longer: Vec<f32> = words.values.iter().map(|value| 8.0 * value).collect();
    write_f32(&fragments.at("W.npy"), &words.shape, &longer).unwrap();
    let after = fragments.score("--threshold 0.2");
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(a, b)| (a - b).abs() < PARITY)
    );
}

#[test]
fn score_does_not_depend_on_the_length_of_rows() {
    let fragments = Fragments::new();
    let before = fragments.score("--threshold 0.2");
    let array = read_f32(&fragments.at("W.npy")).unwrap();
    let near = |after: Vec<f32>, what: &str| {
        for (before, after) in before.iter().zip(after) {
            assert!((before - after).abs() < PARITY, "{what}: {before} {after}");
        }
    };
    for scale in [1e20, 1e30, 1e-13, 1e-37] {
        let scaled: Vec<f32> = array.values.iter().map(|value| value * scale).collect();
        write_f32(&fragments.at("W.npy"), &array.shape, &scaled).unwrap();
        for kernel in ["auto", "tensor", "reference"] {
            let after = fragments.score(&format!("--threshold 0.2 --kernel {kernel}"));
            near(after, &format!("{scale:e} {kernel}"));
        }
    }
    for scale in [1e-300, 1e300, 1.0] {
        let values = array.values.iter().map(|&value| f64::from(value) * scale);
        let values: Vec<f64> = values.collect();
        write_f64(&fragments.at("W.npy"), &array.shape, &values);
        near(
            fragments.score("--threshold 0.2"),
            &format!("{scale:e} f64"),
        );
    }
    // A zero row has no direction, in f64 too.
    write_f64(
        &fragments.at("W.npy"),
        &array.shape,
        &vec![0.0; array.values.len()],
    );
    assert!(fragments.score("--threshold 0.2").iter().all(|&s| s == 0.0));
}

#[cfg(unix)]
#[test]
fn score_reads_a_pipe_and_refuses_directories_and_devices() {
    use std::process::Stdio;
    let fragments = Fragments::new();
    let before = fragments.score("--threshold 0.2");
    let at = |name: &str| text(&fragments.at(name)).to_owned();
    let command = fragments.command("--threshold 0.2");
    let piped = command.replace(&at("R.npy"), "/dev/stdin");
    let mut child = uard();
    child.args(piped.split_whitespace()).stdin(Stdio::piped());
    let mut child = child.stderr(Stdio::piped()).spawn().unwrap();
    let bytes = std::fs::read(fragments.at("R.npy")).unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &bytes).unwrap();
    succeeded(&child.wait_with_output().unwrap());
    assert_eq!(read_f32(&fragments.at("S.npy")).unwrap().values, before);
    let folder = text(fragments.directory.path()).to_owned();
    for (name, found) in [
        (folder.as_str(), "a directory"),
        ("/dev/null", "a character device"),
    ] {
        for array in ["R.npy", "RC.npy"] {
            refused(&run(&command.replace(&at(array), name)), &[name, found]);
        }
    }
    let map = format!("recall --similarities {} --map {folder}", at("S.npy"));
    refused(&run(&map), &[&folder, "a directory"]);
}

#[test]
fn score_refuses_bad_fragments_and_leaves_the_old_result() {
    let fragments = Fragments::new();
    fragments.score("--threshold 0.2");
    let before = std::fs::read(fragments.at("S.npy")).unwrap();
    let score = || run(&fragments.command("--threshold 0.2"));
    refused(&run(&fragments.command("")), &["--threshold"]);
    refused(
        &run(&fragments.command("--threshold NaN")),
        &["--threshold NaN"],
    );
    refused(
        &run(&fragments.command("--threshold 0.2 --rule soft")),
        &["masked, nearest, zero, scan"],
    );
    refused(
        &run(&fragments.command("--threshold 0.2 --kernel fast")),
        &["auto, reference, tensor, scalar, avx2, avx512, amx or cuda"],
    );
    refused(
        &run(&fragments.command("--threshold 0.2 --kernel tensor --precision bf16")),
        &["--kernel tensor --precision bf16: tensor computes in f32, not in bf16"],
    );
    refused(
        &run(&fragments.command("--threshold 0.2 --inverse-temperature 0")),
        &["inverse_temperature"],
    );
    write_i64(&fragments.at("RC.npy"), &[5], &[6, 0, 3, 2, 5]).unwrap();
    refused(
        &score(),
        &[
            "RC.npy",
            "image 1 has a count of 0 regions, expected 1 to 6",
        ],
    );
    write_i64(&fragments.at("RC.npy"), &[4], &[6, 1, 3, 2]).unwrap();
    refused(&score(), &["RC.npy", "expected shape (5,)"]);
    write_f32(&fragments.at("RC.npy"), &[5], &[6.0; 5]).unwrap();
    refused(&score(), &["RC.npy", "integer"]);
    write_i64(&fragments.at("RC.npy"), &[5], &[6, 2, 3, 2, 5]).unwrap();
    refused(&score(), &["R.npy", "image 1, region 1, number 0 is NaN"]);
    random_array(&fragments.at("R.npy"), &[5, 6, 9], 1);
    refused(&score(), &["width 9", "width 8"]);
    assert_eq!(std::fs::read(fragments.at("S.npy")).unwrap(), before);
}
