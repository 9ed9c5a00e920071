//! A stand-in for `nvcc`, with which the code for CUDA is type-checked where there is no CUDA.
//!
//! The build scripts below candle ask `nvcc` for its version and let it write one file for each
//! kernel. A script that answers and writes empty files is enough for clippy and rustdoc, which
//! link nothing.
//! What it leaves must never meet a real build, so it has a target folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::{COMPUTE_CAPABILITY, RELEASE, first_on};

/// Below the root.
const FOLDER: &str = "target/cuda-check";

/// Only macros and build scripts run.
const UNOPTIMISED: [&str; 4] = [
    "--config",
    "profile.dev.opt-level=0",
    "--config",
    "profile.dev.package.\"*\".opt-level=0",
];

/// Adds the feature `cuda` of both programs to a cargo command that links nothing.
///
/// # Errors
/// When the stand-in for `nvcc` cannot be written.
pub fn add_cuda(command: &mut Command, root: &Path) -> anyhow::Result<()> {
    let target = root.join(FOLDER);
    let compiler = write(&target.join("stand-in"))?;
    let folder = compiler.parent().unwrap_or(&target).to_path_buf();
    command
        .args(["--features", "uard-cli/cuda,uard-benches/cuda"])
        .args(UNOPTIMISED)
        .arg("--target-dir")
        .arg(&target)
        .env("PATH", first_on("PATH", folder)?)
        .env("NVCC", &compiler)
        .env("CUDA_HOME", target.join("stand-in"))
        .env("CUDA_COMPUTE_CAP", COMPUTE_CAPABILITY);
    Ok(())
}

fn write(home: &Path) -> anyhow::Result<PathBuf> {
    let compiler = home.join("bin/nvcc");
    let writing = || format!("writing {}", compiler.display());
    fs::create_dir_all(home.join("bin")).with_context(writing)?;
    // Written anew it would count as changed, and everything would be checked again.
    let text = script();
    if fs::read_to_string(&compiler).is_ok_and(|there| there == text) {
        return Ok(compiler);
    }
    fs::write(&compiler, text).with_context(writing)?;
    super::unpack::make_program(&compiler).with_context(writing)?;
    Ok(compiler)
}

/// The fourth line of the answer is where cudarc looks for the release.
fn script() -> String {
    format!(
        r#"#!/bin/sh
# Stands in for nvcc while Rust is type-checked: answers, and writes empty files. See
# xtask/src/cuda/stand_in.rs. Never link what was built with it.
if [ "$1" = --version ]; then
    echo "nvcc: a stand-in"
    echo "compiles nothing"
    echo "for type checks"
    echo "Cuda compilation tools, release {RELEASE}, V{RELEASE}.0"
    exit 0
fi
while [ $# -gt 0 ]; do
    case "$1" in
    -o) shift; : > "$1" ;;
    --output-directory) shift; folder=$1 ;;
    --ptx) ptx=yes ;;
    *.cu) source=$1 ;;
    esac
    shift
done
if [ "$ptx" = yes ]; then
    name=${{source##*/}}
    : > "$folder/${{name%.cu}}.ptx"
fi
"#
    )
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn it_answers_and_writes_what_build_scripts_wait_for() {
        let home = tempfile::tempdir().unwrap();
        let compiler = write(home.path()).unwrap();
        let asked = Command::new(&compiler).arg("--version").output().unwrap();
        let answer = String::from_utf8(asked.stdout).unwrap();
        let fourth = answer.lines().nth(3).unwrap();
        assert_eq!(fourth.split(", ").nth(1), Some("release 13.0"));
        let out = home.path().join("x.o");
        let kernels = ["-c", "-o", out.to_str().unwrap(), "src/x.cu"];
        let folder = ["--ptx", "--output-directory", home.path().to_str().unwrap()];
        for arguments in [&kernels[..], &[&folder[..], &["src/y.cu"]].concat()] {
            let status = Command::new(&compiler).args(arguments).status().unwrap();
            assert!(status.success());
        }
        assert!(out.is_file());
        assert!(home.path().join("y.ptx").is_file());
    }
}
