//! Tests of reading and writing arrays, and of refused files.

use std::fs::File;

use super::*;

const AXES: &str = "images, regions, features";

fn header(version: u8, alignment: usize, dict: &str) -> Vec<u8> {
    let before = if version == 1 { 10 } else { 12 };
    let length = (before + dict.len() + 1).next_multiple_of(alignment) - before;
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((length as u16).to_le_bytes()),
        _ => bytes.extend((length as u32).to_le_bytes()),
    }
    bytes.extend(format!("{dict:length$}").bytes());
    bytes
}

fn dict(descr: &str, shape: &str) -> String {
    format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}")
}

fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dev_ims.npy");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn refusal(bytes: &[u8]) -> String {
    let (_dir, path) = file(bytes);
    let message = MappedArray::open(&path, AXES).unwrap_err().to_string();
    assert!(message.contains("dev_ims.npy: "), "{message}");
    message
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn every_version_padding_and_float_type_gives_the_same_numbers() {
    let values = [0.5f32, -1.0, 2.0, 0.25, 0.0, 8.0];
    let encoded: [(&str, Vec<u8>); 3] = [
        (
            "'<f2'",
            values
                .iter()
                .flat_map(|&v| f16::from_f32(v).to_le_bytes())
                .collect(),
        ),
        (
            "'<f4'",
            values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        (
            "'<f8'",
            values
                .iter()
                .flat_map(|&v| f64::from(v).to_le_bytes())
                .collect(),
        ),
    ];
    for (descr, data) in &encoded {
        for (version, alignment) in [(1, 16), (1, 64), (2, 16), (2, 64), (3, 64)] {
            let mut bytes = header(version, alignment, &dict(descr, "(3, 1, 2)"));
            bytes.extend(data);
            let (_dir, path) = file(&bytes);
            let array = MappedArray::open(&path, AXES).unwrap();
            assert_eq!(array.shape(), [3, 1, 2]);
            let mut read = [0.0f32; 4];
            array.read_rows(1, &mut read).unwrap();
            assert_eq!(read, values[2..]);
            let mut doubles = [0.0f64; 2];
            array.read_rows(2, &mut doubles).unwrap();
            assert_eq!(doubles, [0.0, 8.0]);
            assert_eq!(read_f32(&path).unwrap().values, values);
        }
    }
}

#[test]
fn f64_is_read_without_rounding() {
    let mut bytes = header(1, 64, &dict("'<f8'", "(1, 1, 2)"));
    let values = [1000.0 + 1e-9, 1e-300];
    bytes.extend(values.iter().flat_map(|v: &f64| v.to_le_bytes()));
    let (_dir, path) = file(&bytes);
    let mut read = [0.0f64; 2];
    let array = MappedArray::open(&path, AXES).unwrap();
    array.read_rows(0, &mut read).unwrap();
    assert_eq!(read, values);
}

#[cfg(unix)]
#[test]
fn an_array_is_read_from_a_pipe() {
    let mut bytes = header(1, 64, &dict("'<f4'", "(1, 1, 2)"));
    bytes.extend([1.0f32, 2.0].iter().flat_map(|v| v.to_le_bytes()));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe.npy");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let writer = {
        let path = path.clone();
        std::thread::spawn(move || std::fs::write(path, bytes).unwrap())
    };
    let array = MappedArray::open(&path, AXES).unwrap();
    writer.join().unwrap();
    let mut read = [0.0f32; 2];
    array.read_rows(0, &mut read).unwrap();
    assert_eq!(read, [1.0, 2.0]);
}

#[test]
fn written_arrays_read_back_for_every_rank() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npy");
    for shape in [&[6][..], &[2, 3], &[1, 2, 3], &[0, 4], &[]] {
        let count = shape.iter().product::<usize>();
        let floats: Vec<f32> = (0..count).map(|i| i as f32 / 4.0).collect();
        write_f32(&path, shape, &floats).unwrap();
        let expected = Array {
            shape: shape.to_vec(),
            values: floats,
        };
        assert_eq!(read_f32(&path).unwrap(), expected);
        assert_eq!(
            std::fs::read(&path).unwrap()[..128]
                .iter()
                .filter(|&&b| b == b'\n')
                .count(),
            1
        );
        let integers: Vec<i64> = (0..count as i64).map(|i| -i).collect();
        write_i64(&path, shape, &integers).unwrap();
        let expected = Array {
            shape: shape.to_vec(),
            values: integers,
        };
        assert_eq!(read_i64(&path).unwrap(), expected);
    }
}

#[test]
fn integers_of_every_size_read_as_i64() {
    for (descr, data) in [
        ("'|i1'", vec![255]),
        ("'<i2'", vec![255, 255]),
        ("'<i4'", vec![255; 4]),
        ("'<i8'", vec![255; 8]),
    ] {
        let mut bytes = header(1, 64, &dict(descr, "(1,)"));
        bytes.extend(data);
        let (_dir, path) = file(&bytes);
        assert_eq!(read_i64(&path).unwrap().values, [-1], "{descr}");
    }
    let mut bytes = header(1, 64, &dict("'<u8'", "(1L,)"));
    bytes.extend([255; 8]);
    let (_dir, path) = file(&bytes);
    assert_says(&read_i64(&path).unwrap_err().to_string(), &["below 2^63"]);
}

#[test]
fn truncated_file_is_refused_with_both_sizes() {
    let mut bytes = header(1, 64, &dict("'<f4'", "(113287, 36, 2048)"));
    bytes.extend([0; 100]);
    assert_says(
        &refusal(&bytes),
        &[
            "truncated: shape (113287, 36, 2048) of float32 needs 33409695744 bytes",
            "the file has 100",
        ],
    );
}

#[test]
fn longer_file_is_refused_with_both_sizes() {
    let mut bytes = header(1, 64, &dict("'<f2'", "(1, 2, 3)"));
    bytes.extend([0; 13]);
    assert_says(
        &refusal(&bytes),
        &["too long", "(1, 2, 3) of float16 needs 12 bytes", "has 13"],
    );
}

#[test]
fn wrong_rank_is_refused_with_the_axes() {
    let mut bytes = header(1, 64, &dict("'<f4'", "(2, 3)"));
    bytes.extend([0; 24]);
    assert_says(
        &refusal(&bytes),
        &[
            "expected 3 axes (images, regions, features)",
            "found 2 in shape (2, 3)",
        ],
    );
}

#[test]
fn object_array_is_refused_with_advice() {
    let bytes = header(1, 64, &dict("'|O'", "(5,)"));
    assert_says(
        &refusal(&bytes),
        &[
            "object array (dtype '|O')",
            "expected '<f2', '<f4' or '<f8'",
            "numpy.stack",
        ],
    );
}

#[test]
fn other_dtypes_and_orders_are_refused() {
    let open = |descr: &str| refusal(&header(1, 64, &dict(descr, "(1, 1, 1)")));
    assert_says(
        &open("'>f4'"),
        &["expected little-endian", "found big-endian '>f4'"],
    );
    assert_says(
        &open("'<i4'"),
        &["expected dtype '<f2', '<f4' or '<f8', found '<i4'"],
    );
    assert_says(&open("[('x', '<f4')]"), &["found '[('x', '<f4')]'"]);
    let fortran = dict("'<f4'", "(1, 1, 1)").replace("False", "True");
    assert_says(
        &refusal(&header(1, 64, &fortran)),
        &["expected C order, found Fortran order"],
    );
    let (_dir, path) = file(&header(1, 64, &dict("'<f4'", "(0,)")));
    assert_says(
        &read_i64(&path).unwrap_err().to_string(),
        &["expected dtype an integer"],
    );
}

#[test]
fn empty_axis_is_refused() {
    assert_says(
        &refusal(&header(1, 64, &dict("'<f4'", "(0, 36, 8)"))),
        &["shape (0, 36, 8) is empty"],
    );
}

#[test]
fn broken_headers_are_refused_and_never_panic() {
    assert_says(&refusal(b""), &["found an empty file"]);
    assert_says(
        &refusal(b"<html>404</html>"),
        &["expected an npy file, found a web page"],
    );
    assert_says(&refusal(b"not numbers"), &["begins with `not nu`"]);
    assert_says(
        &refusal(b"\x1f\x8b\x08\0"),
        &["compressed by gzip", "gunzip"],
    );
    assert_says(&refusal(b"\x93NUMPY\x09\x00aaaa"), &["format version is 9"]);
    assert_says(
        &refusal(b"\x93NUMPY\x01\x00\xff\xffab"),
        &["ends within the header"],
    );
    assert_says(&refusal(b"\x93NUMPY\x02"), &["ends within the header"]);
    assert_says(&refusal(&header(1, 64, "{}")), &["lacks `descr`"]);
    assert_says(
        &refusal(&header(1, 64, &dict("'<f4'", "(-1, 2, 3)"))),
        &["lacks `shape`"],
    );
    let huge = dict(
        "'<f8'",
        "(18446744073709551615, 18446744073709551615, 18446744073709551615)",
    );
    assert_says(&refusal(&header(1, 64, &huge)), &["truncated"]);
    let whole = header(2, 64, &dict("'<f4'", "(1, 1, 1)"));
    for end in 0..whole.len() {
        refusal(&whole[..end]);
    }
}

#[test]
fn missing_file_is_named() {
    let message = MappedArray::open(Path::new("no/such.npy"), AXES)
        .unwrap_err()
        .to_string();
    assert_says(&message, &["cannot open no/such.npy"]);
}

#[test]
fn row_of_a_sparse_file_of_coco_size_reads_without_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train_ims.npy");
    let shape = [113_287, 36, 2048];
    std::fs::write(&path, write::header("<f4", &shape)).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(128 + shape.iter().product::<usize>() as u64 * 4)
        .unwrap();
    let array = MappedArray::open(&path, AXES).unwrap();
    let mut row = vec![1.0; array.row_len()];
    array.read_rows(113_286, &mut row).unwrap();
    assert!(row.iter().all(|&value| value == 0.0));
    let past = array.read_rows(113_287, &mut row).unwrap_err().to_string();
    assert_says(&past, &["image 113287 was requested, the file has 113287"]);
}

#[test]
fn writer_refuses_another_count_than_its_shape() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npy");
    let message = write_f32(&path, &[2, 2], &[0.0; 3])
        .unwrap_err()
        .to_string();
    assert_says(
        &message,
        &["s.npy: shape (2, 2) holds 4 numbers, 3 were written"],
    );
}
