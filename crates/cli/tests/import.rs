//! Tests of `uard import`: data directories from dumps of features and captions, and refused dumps.

// Clippy's exception for tests does not cover the helper functions of this file.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use crate::uard;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use uard::{random_array, refused, succeeded, uard};
use uard_data::dataset::Split;

fn fixture() -> Option<PathBuf> {
    let shared = std::env::var_os("UARD_SHARED").map(PathBuf::from);
    if shared.is_none() {
        println!("skipped: UARD_SHARED is not set");
    }
    Some(shared?.join("fixtures/bua_train2014_obj36_10imgs.tsv"))
}

fn import(format: &str, dump: &Path, out: &Path, more: &[&str]) -> Output {
    let mut command = uard();
    command.args(["import", "--format", format, "--split", "dev"]);
    command.arg("--out").arg(out).args(more).arg(dump);
    command.output().unwrap()
}

#[test]
fn a_real_dump_becomes_a_split_in_either_layout() {
    let Some(dump) = fixture() else { return };
    let out = tempfile::tempdir().unwrap();
    let [store, scan] = ["store", "scan"].map(|layout| {
        let out = out.path().join(layout);
        succeeded(&import("lxmert-tsv", &dump, &out, &["--layout", layout]));
        fs::write(out.join("dev_caps.txt"), "a caption\n".repeat(20)).unwrap();
        Split::open(&out, "dev").unwrap()
    });
    for split in [&store, &scan] {
        let regions = &split.regions;
        assert_eq!(
            (split.images(), regions.regions(), regions.width()),
            (10, 36, 2048)
        );
        let values = regions.read_batch(&[0, 9]).unwrap();
        assert!(values.iter().all(|value| (0.0..100.0).contains(value)));
        assert_eq!(split.boxes.as_ref().unwrap().read(3).unwrap().len(), 36);
    }
    assert_eq!(store.ids, scan.ids);
    let all: Vec<usize> = (0..10).collect();
    let (stored, padded) = (&store.regions, &scan.regions);
    assert_eq!(
        stored.read_batch(&all).unwrap(),
        padded.read_batch(&all).unwrap()
    );
}

#[test]
fn a_dump_that_is_cut_or_of_another_format_is_refused_with_line_and_reason() {
    let Some(dump) = fixture() else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    refused(
        &import("butd-tsv", &dump, &out, &[]),
        &["line 1", "lxmert-tsv"],
    );
    let whole = fs::read(&dump).unwrap();
    let cut = folder.path().join("cut.tsv");
    fs::write(&cut, &whole[..whole.len() - 1000]).unwrap();
    let cut = import("lxmert-tsv", &cut, &folder.path().join("cut"), &[]);
    refused(&cut, &["line 10", "truncated"]);
}

#[test]
fn features_and_captions_are_imported_together_and_what_does_not_match_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    random_array(&at("dev_ims.npy"), &[3, 2, 4], 1);
    fs::write(at("dev_ids.txt"), "c\na\nb\n").unwrap();
    let tokens = "a.jpg#0\tA dog .\na.jpg#1\tTwo dogs .\nc.jpg#0\tA cat .\nz.jpg#0\tAn owl .\n";
    fs::write(at("all.token"), tokens).unwrap();
    let out = at("out");
    let captions = at("all.token");
    let more = ["--captions", captions.to_str().unwrap()];
    let output = import("scan", folder.path(), &out, &more);
    succeeded(&output);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the dump has no boxes"), "{said}");
    assert!(
        said.contains("3 captions of 2 images of split dev"),
        "{said}"
    );
    assert!(
        said.contains("1 images without features, 1 without captions"),
        "{said}"
    );
    let split = Split::open(&out, "dev").unwrap();
    assert_eq!(split.image_of_caption, [0, 1, 1]);
    assert_eq!(split.captions[0], "A cat .");
    let again = run_captions(&captions, &out, &["--split", "dev"]);
    refused(&again, &["dev_caps.txt is there already"]);
}

#[test]
fn captions_alone_become_lists_of_photographs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("train.1.en"), "A dog .\nA cat .\n").unwrap();
    fs::write(at("images.txt"), "1.jpg\n2.jpg\n").unwrap();
    let out = at("out");
    let refusal = run_captions(&at("train.1.en"), &out, &[]);
    refused(&refusal, &["train.1.en", "--image-list"]);
    let list = at("images.txt");
    let output = run_captions(
        &at("train.1.en"),
        &out,
        &["--image-list", list.to_str().unwrap()],
    );
    succeeded(&output);
    assert_eq!(
        fs::read_to_string(out.join("train_caps.txt")).unwrap(),
        "A dog .\nA cat .\n"
    );
    assert_eq!(
        fs::read_to_string(out.join("train_ids.txt")).unwrap(),
        "1.jpg\n2.jpg\n"
    );
    refused(&uard::run("import --out x"), &["--format"]);
}

fn run_captions(captions: &Path, out: &Path, more: &[&str]) -> Output {
    let mut command = uard();
    command.arg("import").arg("--captions").arg(captions);
    command.arg("--out").arg(out).args(more).output().unwrap()
}
