//! Runs the tests of the Python package with the library that Cargo has built for them.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter with NumPy and pytest; `cargo xtask ci python` installs it.
const PYTHON: &str = "UARD_PYTHON";

#[test]
#[allow(clippy::print_stdout, reason = "says why nothing is tested")]
fn the_package_passes_its_tests() {
    let Some(python) = std::env::var_os(PYTHON) else {
        println!("skipped: {PYTHON} is not set");
        return;
    };
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("uard");
    fs::create_dir(&package).unwrap();
    for file in fs::read_dir(manifest.join("python/uard")).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), package.join(file.file_name())).unwrap();
        }
    }
    let extension = if cfg!(windows) { ".pyd" } else { ".abi3.so" };
    fs::copy(library(), package.join(format!("_uard{extension}"))).unwrap();
    let tests = Command::new(python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .arg(manifest.join("tests"))
        .env("PYTHONPATH", folder.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("RAY_USAGE_STATS_ENABLED", "0")
        .status();
    assert!(tests.unwrap().success(), "a test in Python failed");
}

/// The library of this package, which Cargo builds beside its tests.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap();
    folder.join(format!("{DLL_PREFIX}_uard{DLL_SUFFIX}"))
}
