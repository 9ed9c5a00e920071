//! Checks the crates that others can depend on: as packages, with the newest dependencies, and with
//! the oldest Rust that they state.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::launch::{cargo, expect_success, succeeds};

/// The published crates, each after those that it depends on.
const PUBLISHED: [&str; 5] = [
    "uard-files",
    "uard-linalg",
    "uard-relevance",
    "uard-core",
    "uard-attention",
];

/// The oldest Rust that builds the published crates, and their version: the workspace states both,
/// for xtask too.
const OLDEST_RUST: &str = env!("CARGO_PKG_RUST_VERSION");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The folder, below the root, of the packages and of what is built from them.
const FOLDER: &str = "target/package-check";

/// Makes the packages, and checks a crate that depends on them as they are packed, with the newest
/// version of every dependency. `false` if the registry cannot be reached, so that only the packages
/// were made.
///
/// cargo's own verification would compile candle once more, which takes minutes; the check of the
/// dependent reads the same files.
///
/// # Errors
/// When a package lacks a file or a version, or does not compile.
pub fn check(root: &Path) -> anyhow::Result<bool> {
    let folder = root.join(FOLDER);
    let mut command = cargo(root);
    command
        .args([
            "package",
            "--locked",
            "--allow-dirty",
            "--no-verify",
            "--quiet",
        ])
        .args(PUBLISHED.iter().flat_map(|name| ["-p", name]))
        .env("CARGO_TARGET_DIR", &folder);
    expect_success(&mut command, "mend what cargo package names above")?;
    for name in PUBLISHED {
        let mut command = Command::new("tar");
        command
            .current_dir(folder.join("package"))
            .args(["-xzf", &format!("{name}-{VERSION}.crate")]);
        expect_success(&mut command, "tar refused a package")?;
    }
    let dependent = folder.join("dependent");
    write_dependent(&folder, &dependent)?;
    if !resolves(&dependent)? {
        return Ok(false);
    }
    let mut command = cargo(&dependent);
    command
        .args(["check", "--quiet"])
        .env("CARGO_TARGET_DIR", &folder);
    expect_success(
        &mut command,
        "the packages do not compile with the newest dependencies: see above",
    )?;
    Ok(true)
}

/// Chooses the newest version of every dependency of a crate. `false` if the registry cannot be
/// reached.
fn resolves(crate_folder: &Path) -> anyhow::Result<bool> {
    let mut command = cargo(crate_folder);
    let output = command.arg("generate-lockfile").output();
    let output = output.context("starting cargo generate-lockfile")?;
    let message = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && message.contains("failed to download") {
        return Ok(false);
    }
    ensure!(
        output.status.success(),
        "no newest versions fit the packages together:\n{message}"
    );
    Ok(true)
}

/// Checks the published crates with [`OLDEST_RUST`]. `false` if that toolchain is not installed.
///
/// # Errors
/// When one does not build.
pub fn check_oldest_rust(root: &Path) -> anyhow::Result<bool> {
    let rustup = || {
        let mut command = Command::new("rustup");
        command
            .current_dir(root)
            .args(["run", OLDEST_RUST, "cargo"])
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO");
        command
    };
    if !succeeds(rustup().arg("--version")) {
        return Ok(false);
    }
    let mut command = rustup();
    command
        .args([
            "check",
            "--locked",
            "--quiet",
            "--features",
            "uard-attention/nn",
        ])
        .args(PUBLISHED.iter().flat_map(|name| ["-p", name]))
        .arg("--target-dir")
        .arg(root.join("target/oldest-rust"));
    expect_success(
        &mut command,
        "the crates do not compile with the oldest Rust: see above",
    )?;
    Ok(true)
}

/// Writes a crate outside of the workspace, without a lock file, in which the packages replace the
/// published crates of the registry.
fn write_dependent(folder: &Path, dependent: &Path) -> anyhow::Result<()> {
    let patches: Vec<String> = PUBLISHED
        .iter()
        .map(|name| {
            let package = folder.join(format!("package/{name}-{VERSION}"));
            format!("{name} = {{ path = {package:?} }}\n")
        })
        .collect();
    let manifest = format!(
        "[package]\nname = \"dependent\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         uard-attention = {{ version = \"{VERSION}\", features = [\"nn\"] }}\n\
         uard-relevance = \"{VERSION}\"\n\n[patch.crates-io]\n{}",
        patches.concat()
    );
    let write = |path: &str, text: &str| {
        let path = dependent.join(path);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    fs::create_dir_all(dependent.join("src")).context("making the folder of a crate")?;
    if dependent.join("Cargo.lock").exists() {
        fs::remove_file(dependent.join("Cargo.lock")).context("removing a lock file")?;
    }
    write("Cargo.toml", &manifest)?;
    write(
        "src/main.rs",
        "fn main() {\n    let matcher = uard_attention::Matcher::new(Default::default());\n    \
         println!(\"{matcher:?}\");\n}\n",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stated_rust_and_version_are_those_of_the_workspace() {
        let manifest = fs::read_to_string(crate::root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("rust-version = \"{OLDEST_RUST}\"")));
        for name in PUBLISHED {
            let versioned = format!("{name} = {{ path = ");
            let line = manifest.lines().find(|line| line.starts_with(&versioned));
            let line = line.unwrap_or_default();
            assert!(
                line.contains(&format!("version = \"{VERSION}\"")),
                "{name}: {line}"
            );
        }
    }
}
