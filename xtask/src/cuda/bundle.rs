//! Builds the programs with CUDA on a machine without a GPU, to be run on one with a GPU, and checks
//! that they start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::Instant;

use anyhow::{Context, ensure};

use super::{Part, environment, set_up};
use crate::launch::{cargo, expect_success};

/// The folder below the root that `scripts/gpu/check.sh` reads.
const FOLDER: &str = "target/gpu-check";

const PROGRAMS: [&str; 2] = ["uard", "uard-bench"];

/// Size limit of each program, in bytes, so that an unexpected growth is noticed.
const LARGEST: u64 = 60_000_000;

/// `cargo xtask gpu-bundle`.
///
/// # Errors
/// When the toolkit cannot be set up or the build fails.
pub fn run(root: &Path) -> anyhow::Result<ExitCode> {
    let home = set_up(root, Part::Whole)?;
    let folder = build(root, &home)?;
    println!(
        "{} is ready; on the machine with the GPU: scripts/gpu/check.sh OUT",
        folder.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// `cargo xtask ci --cuda`: builds the bundle and starts its programs without a GPU.
///
/// # Errors
/// When the build fails, a program does not start, or `--device cuda` does not fail with the driver's
/// error.
pub fn check(root: &Path) -> anyhow::Result<ExitCode> {
    let home = set_up(root, Part::Whole)?;
    let folder = build(root, &home)?;
    let uard = folder.join(PROGRAMS[0]);
    for program in PROGRAMS {
        let output = start(&folder.join(program), &["--help"], &home)?;
        ensure!(
            output.status.success(),
            "{program} does not start: {}",
            error_text(&output)
        );
    }
    let version = start(&uard, &["--version"], &home)?;
    ensure!(
        version.status.success(),
        "uard does not start: {}",
        error_text(&version)
    );
    expect_driver_error(&start(&uard, &TRAIN, &home)?)?;
    println!("both programs start, and uard reports the missing CUDA driver");
    Ok(ExitCode::SUCCESS)
}

/// A command that uses the GPU at once.
const TRAIN: [&str; 5] = ["train", "--config", "scenes", "--device", "cuda"];

/// Checks that a run failed with an error of the CUDA driver, and did not crash or run on the CPU.
fn expect_driver_error(output: &Output) -> anyhow::Result<()> {
    let text = error_text(output);
    ensure!(
        output.status.code() == Some(1),
        "`uard train --device cuda` without a GPU: an error was expected: {}: {text}",
        output.status
    );
    ensure!(
        text.contains("`cuda` cannot be used") && text.contains("CUDA_ERROR"),
        "`uard train --device cuda` without a GPU: the driver's reason was expected: {text}"
    );
    println!("{}", text.lines().next().unwrap_or_default());
    Ok(())
}

fn error_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts a program in an empty folder, with the libraries of the toolkit and the stub of the driver.
fn start(program: &Path, arguments: &[&str], home: &Path) -> anyhow::Result<Output> {
    let folder = program.with_extension("run");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut folders = home.join("lib").into_os_string();
    folders.push(":");
    folders.push(home.join("lib/stubs"));
    let output = Command::new(program)
        .args(arguments)
        .current_dir(&folder)
        .env("LD_LIBRARY_PATH", folders)
        .output()
        .with_context(|| format!("starting {}", program.display()));
    fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    output
}

fn build(root: &Path, home: &Path) -> anyhow::Result<PathBuf> {
    let begun = Instant::now();
    let mut command = cargo(root);
    command
        .args(["build", "--release", "--locked"])
        .args([
            "--package",
            "uard-cli",
            "--package",
            "uard-benches",
            "--bins",
        ])
        .args(["--features", "uard-cli/cuda,uard-benches/cuda"])
        .envs(environment(home)?);
    expect_success(&mut command, "the build with CUDA failed: see above")?;
    println!("built in {:.0} s", begun.elapsed().as_secs_f64());
    let folder = root.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    for name in PROGRAMS {
        strip(&root.join("target/release").join(name), &folder.join(name))?;
    }
    Ok(folder)
}

/// Copies a program without its debug symbols.
fn strip(from: &Path, to: &Path) -> anyhow::Result<()> {
    let status = Command::new("strip")
        .arg("-o")
        .arg(to)
        .arg(from)
        .status()
        .context("starting strip, which comes with the linker (binutils)")?;
    ensure!(status.success(), "strip refused {}", from.display());
    let bytes = fs::metadata(to)
        .with_context(|| format!("reading {}", to.display()))?
        .len();
    println!("{}: {:.1} MB", to.display(), bytes as f64 / 1e6);
    ensure!(
        bytes < LARGEST,
        "{} has more than {} MB: find out what was added, or raise LARGEST in \
         xtask/src/cuda/bundle.rs and give the reason",
        to.display(),
        LARGEST / 1_000_000
    );
    Ok(())
}
