//! Tests of reading files of weights, whole and damaged.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

fn safetensors(tensors: &[(&str, &[f32])]) -> Vec<u8> {
    let bytes: BTreeMap<&str, Vec<u8>> = tensors
        .iter()
        .map(|(name, numbers)| {
            (
                *name,
                numbers.iter().flat_map(|n| n.to_le_bytes()).collect(),
            )
        })
        .collect();
    let views = bytes.iter().map(|(name, bytes)| {
        let shape = vec![bytes.len() / 4];
        (
            *name,
            TensorView::new(safetensors::Dtype::F32, shape, bytes).unwrap(),
        )
    });
    safetensors::serialize(views, None).unwrap()
}

/// The pickle of `{"w": …}`, a tensor of one axis with `size` numbers; `rest` are the opcodes after
/// its size.
fn pickle(size: i32, rest: &[u8]) -> Vec<u8> {
    let mut pickle = b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    pickle.extend(b"X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu");
    pickle.extend(b"K\x02tQK\0J");
    pickle.extend(size.to_le_bytes());
    pickle.push(b'\x85');
    pickle.extend(rest);
    pickle.extend(b"tRs.");
    pickle
}

/// The opcodes of a stride of 1, no gradient and no hooks.
const REST: &[u8] = b"K\x01\x85\x89}";

/// Writes an archive as `torch.save` does.
fn archive(
    dir: &TempDir,
    pickle: &[u8],
    numbers: &[f32],
    method: zip::CompressionMethod,
) -> PathBuf {
    let path = dir.path().join("pytorch_model.bin");
    let mut zip = ZipWriter::new(fs::File::create(&path).unwrap());
    let options = SimpleFileOptions::default().compression_method(method);
    zip.start_file("a/data.pkl", options).unwrap();
    zip.write_all(pickle).unwrap();
    zip.start_file("a/data/0", options).unwrap();
    for number in numbers {
        zip.write_all(&number.to_le_bytes()).unwrap();
    }
    zip.finish().unwrap();
    path
}

#[track_caller]
fn assert_says<T>(outcome: Result<T>, parts: &[&str]) {
    let message = outcome.err().unwrap().to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn weights_in_several_files_are_read_through_their_index() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(
        at("model-1.safetensors"),
        safetensors(&[("a", &[1.0, 2.0])]),
    )
    .unwrap();
    fs::write(at("model-2.safetensors"), safetensors(&[("b", &[3.0])])).unwrap();
    let index = |b: &str| {
        let text = format!(
            r#"{{"metadata": {{"total_size": 12}}, "weight_map": {{"a": "model-1.safetensors", "b": "{b}"}}}}"#
        );
        fs::write(at("model.safetensors.index.json"), text).unwrap();
        Weights::open_folder(dir.path())
    };
    let weights = index("model-2.safetensors").unwrap();
    assert_eq!(weights.numbers("a", &[2]).unwrap(), [1.0, 2.0]);
    assert_eq!(weights.numbers("b", &[1]).unwrap(), [3.0]);
    assert!(weights.has("b") && !weights.has("c"));
    assert_says(
        weights.numbers("b", &[2]),
        &["model-2.safetensors", "(2,), found (1,)"],
    );
    assert_says(
        weights.numbers("c", &[2]),
        &["index.json", "`c` is missing"],
    );
    let whole = sha256(&at("model.safetensors.index.json")).unwrap();
    fs::write(at("model-2.safetensors"), safetensors(&[("b", &[4.0])])).unwrap();
    assert_ne!(sha256(&at("model.safetensors.index.json")).unwrap(), whole);
    assert_says(index("model-3.safetensors"), &["model-3.safetensors"]);
    assert_says(
        index("../model-1.safetensors"),
        &["names `../model-1", "beside it"],
    );
    assert_says(
        index("model.safetensors.index.json"),
        &["names `model.safetensors.index.json`"],
    );
}

#[test]
fn a_pickle_with_a_larger_shape_than_its_archive_has_bytes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let stored = zip::CompressionMethod::Stored;
    let save = |pickle: &[u8], method| archive(&dir, pickle, &[0.5, -1.0], method);
    let weights = Weights::open(&save(&pickle(2, REST), stored)).unwrap();
    assert_eq!(weights.numbers("w", &[2]).unwrap(), [0.5, -1.0]);
    let size = i32::MAX;
    let weights = Weights::open(&save(&pickle(size, REST), stored)).unwrap();
    assert_says(
        weights.numbers("w", &[2]),
        &["expected shape (2,), found (2147483647,)"],
    );
    assert_says(
        weights.numbers("w", &[size as usize]),
        &["pytorch_model.bin", "[2147483647]", "the 8 bytes"],
    );
    let deflated = save(&pickle(2, REST), zip::CompressionMethod::Deflated);
    assert_says(Weights::open(&deflated), &["is compressed", "stores"]);
}

#[test]
fn a_pickle_on_which_candle_panics_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    // A tensor whose stride is missing.
    let stored = zip::CompressionMethod::Stored;
    let path = archive(&dir, &pickle(2, b""), &[0.5, -1.0], stored);
    assert_says(
        Weights::open(&path),
        &["pytorch_model.bin", "its reader fails"],
    );
}

#[test]
fn errors_for_other_files_say_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    for (bytes, said) in [
        (
            &b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."[..],
            "before PyTorch 1.6",
        ),
        (b"\x80\x03}q\0.", "torch.save(torch.load("),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "git lfs pull",
        ),
        (b"<!DOCTYPE html>", "a web page"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0", "gunzip"),
        (b"", "an empty file"),
        (b"neither", "no weights can be read"),
    ] {
        fs::write(&path, bytes).unwrap();
        assert_says(Weights::open(&path), &["model.safetensors", said]);
    }
}

#[test]
fn dtypes_that_need_a_scale_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scaled.safetensors");
    for (dtype, bytes) in [("F8_E4M3", 8), ("F8_E8M0", 8), ("F4", 4), ("F6_E2M3", 6)] {
        let header =
            format!(r#"{{"w":{{"dtype":"{dtype}","shape":[8],"data_offsets":[0,{bytes}]}}}}"#);
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.bytes());
        file.resize(file.len() + bytes, 0);
        fs::write(&path, file).unwrap();
        let weights = Weights::open(&path).unwrap();
        assert_says(
            weights.numbers("w", &[8]),
            &["scaled.safetensors", "`w`", "expected numbers of f16"],
        );
    }
}
