//! A published dump of region features becomes a data directory, or a sentence that says why not.

// The functions beside the tests are test code as well.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod uard;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use uard::{refused, succeeded, uard};
use uard_features::dataset::Split;

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
