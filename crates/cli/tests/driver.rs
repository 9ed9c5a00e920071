//! Tests of the errors of `uard` if the NVIDIA driver is too old or finds no GPU.
//!
//! In place of the driver the tests use a small library, which they compile with `cc`; without a C
//! compiler the tests are skipped. With the feature `cuda` they are not built, because the program then
//! loads the installed driver.

#![cfg(all(target_os = "linux", feature = "cuda-kernels", not(feature = "cuda")))]
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
#![allow(clippy::print_stdout, reason = "a test says why it was skipped")]

use crate::uard;

use std::path::Path;
use std::process::{Command, Output};

use uard::{random_array, succeeded, uard};

/// `CUDA_ERROR_NO_DEVICE` of `cuda.h`.
const NO_DEVICE: i32 = 100;

/// A folder with a `libcuda.so` whose driver version is `version` and whose `cuInit` returns `init`;
/// `None` without a C compiler.
fn driver(version: i32, init: i32) -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("driver.c");
    let text = format!(
        "int cuDriverGetVersion(int *version) {{ *version = {version}; return 0; }}\n\
         int cuInit(unsigned flags) {{ return {init}; }}\n\
         int cuDeviceGet(int *device, int number) {{ return {NO_DEVICE}; }}\n\
         int cuGetErrorName(int error, const char **name) {{ *name = \"CUDA_ERROR_NO_DEVICE\"; return 0; }}\n\
         int cuGetErrorString(int error, const char **text) {{ *text = \"no GPU\"; return 0; }}\n"
    );
    std::fs::write(&source, text).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(folder.path().join("libcuda.so"))
        .arg(&source)
        .output();
    match compiled {
        Ok(output) if output.status.success() => Some(folder),
        _ => {
            println!("skipped: no C compiler called cc");
            None
        }
    }
}

/// Runs `uard` with only this folder in `LD_LIBRARY_PATH`.
fn run(folder: &Path, arguments: &str) -> Output {
    uard()
        .args(arguments.split_whitespace())
        .env("LD_LIBRARY_PATH", folder)
        .output()
        .unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Asserts that commands on the GPU fail with exit code 1 and a line with this reason, and that
/// `--device auto` uses the CPU.
fn assert_gpu_is_unavailable(folder: &Path, reason: &str) {
    let data = tempfile::tempdir().unwrap();
    let path = |name: &str| data.path().join(name).display().to_string();
    random_array(&data.path().join("R.npy"), &[2, 3, 4], 1);
    random_array(&data.path().join("W.npy"), &[2, 2, 4], 2);
    let score = format!(
        "score --kernel cuda --regions {} --words {} --threshold 0.2 --out {}",
        path("R.npy"),
        path("W.npy"),
        path("S.npy")
    );
    for arguments in ["self-test --device cuda --quick", &score] {
        let done = run(folder, arguments);
        let said = errors(&done);
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(said.starts_with("error: --"), "{said}");
        assert!(said.contains(reason), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 2);
    let done = run(folder, "self-test --device auto --quick");
    succeeded(&done);
    let said = errors(&done);
    assert!(said.starts_with("device cpu: "), "{said}");
    assert!(said.contains(reason), "{said}");
}

#[test]
fn a_driver_of_cuda_11_is_too_old() {
    if let Some(folder) = driver(11_080, 0) {
        let reason = "the NVIDIA driver is for CUDA 11.8, and 12.0 or newer is needed";
        assert_gpu_is_unavailable(folder.path(), reason);
    }
}

#[test]
fn a_driver_without_a_gpu_is_reported() {
    if let Some(folder) = driver(13_000, NO_DEVICE) {
        assert_gpu_is_unavailable(folder.path(), "the NVIDIA driver sees no GPU");
    }
}

/// If NVRTC is in the system's own library folders, the error names the missing GPU instead.
#[test]
fn a_driver_without_nvrtc_is_refused() {
    if let Some(folder) = driver(13_000, 0) {
        let said = errors(&run(folder.path(), "self-test --device cuda --quick"));
        let reason = match said.contains("sees no GPU") {
            true => "the NVIDIA driver sees no GPU",
            false => "libnvrtc was not found",
        };
        assert_gpu_is_unavailable(folder.path(), reason);
    }
}
