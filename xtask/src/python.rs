//! The interpreter that tests the Python package: a virtual environment with NumPy, pytest, and Ray where it
//! can be installed. It sees the packages of the system, so that PyTorch is tested where that is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::launch::succeeds;

const PACKAGES: [&str; 2] = ["numpy>=1.24", "pytest>=8"];

/// There are no wheels of it for the newest Python; then its tests are skipped.
const RAY: [&str; 1] = ["ray[data]>=2.40"];

/// The variable that names the interpreter; the test of `uard-python` runs the tests in Python if it is set.
const PYTHON: &str = "UARD_PYTHON";

/// Makes the environment in `target/python-tools`, unless it is there.
///
/// # Errors
/// What is missing, and how to install it.
pub fn set_up(root: &Path) -> Result<(), &'static str> {
    let interpreter = interpreter(root);
    if is_complete(&interpreter) && has(&interpreter, "ray.data") {
        return Ok(());
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--system-site-packages"]);
    if !succeeds(venv.arg(folder(root))) {
        return Err("no Python with venv is installed: apt install python3-venv");
    }
    if !install(&interpreter, &PACKAGES) || !is_complete(&interpreter) {
        return Err("pip cannot install NumPy and pytest; is its index reachable?");
    }
    if !install(&interpreter, &RAY) {
        eprintln!("note: pip cannot install Ray, so that `uard.ray` is not tested");
    }
    Ok(())
}

fn install(interpreter: &Path, packages: &[&str]) -> bool {
    let mut pip = Command::new(interpreter);
    pip.args(["-m", "pip", "install", "--quiet"]).args(packages);
    succeeds(&mut pip)
}

/// Gives the tests the interpreter, if the environment is complete.
pub fn add_interpreter(command: &mut Command, root: &Path) -> anyhow::Result<()> {
    let interpreter = interpreter(root);
    if is_complete(&interpreter) {
        // Not canonical: behind the link is the interpreter of the system, without the packages.
        let absolute = std::path::absolute(interpreter).context("the folder of Python")?;
        command.env(PYTHON, absolute);
    }
    Ok(())
}

fn folder(root: &Path) -> PathBuf {
    root.join("target/python-tools")
}

fn interpreter(root: &Path) -> PathBuf {
    let program = if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    };
    folder(root).join(program)
}

fn is_complete(interpreter: &Path) -> bool {
    has(interpreter, "numpy, pytest")
}

fn has(interpreter: &Path, modules: &str) -> bool {
    succeeds(Command::new(interpreter).args(["-c", &format!("import {modules}")]))
}
