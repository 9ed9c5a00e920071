//! A stand-in for `nvcc`, so that clippy and rustdoc can check the code for CUDA without a toolkit.
//!
//! The build scripts of candle's dependencies run `nvcc` for its version and for one output file of
//! each kernel. A script that prints a version and writes empty files is enough for clippy and
//! rustdoc, which link nothing. Its outputs must never be used in a real build, so it has a target
//! folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::{COMPUTE_CAPABILITY, RELEASE, first_on};

/// The target folder, below the root.
const FOLDER: &str = "target/cuda-check";

/// Options that switch optimisation off, because only macros and build scripts run.
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
    // Writing the file again would change its time, and cargo would check everything again.
    let text = script();
    if fs::read_to_string(&compiler).is_ok_and(|there| there == text) {
        return Ok(compiler);
    }
    fs::write(&compiler, text).with_context(writing)?;
    super::unpack::make_program(&compiler).with_context(writing)?;
    Ok(compiler)
}

/// The script that stands in for `nvcc`. cudarc reads the release from the fourth line of the
/// script's answer to `--version`.
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
    fn it_prints_a_version_and_writes_the_files_that_build_scripts_need() {
        let home = tempfile::tempdir().unwrap();
        let compiler = write(home.path()).unwrap();
        let output = Command::new(&compiler).arg("--version").output().unwrap();
        let version = String::from_utf8(output.stdout).unwrap();
        let fourth = version.lines().nth(3).unwrap();
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
