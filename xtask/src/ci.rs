//! `cargo xtask ci`: runs every check and test, the cheapest first, and stops at the first failure.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::ValueEnum;

use crate::cuda::{self, Part, stand_in};
use crate::launch::{cargo, expect_success, name, succeeds};
use crate::{layers, links, package, page, parameters, python, sources, style, symbols};

/// The features that are off by default and need nothing but Rust.
const OPTIONAL: [&str; 2] = ["--features", "uard-cli/hdf5,uard-attention/nn"];

/// The steps of the gate, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Step {
    /// `cargo fmt --check`.
    Format,
    /// The dependencies between packages, against the table of layers.
    Layers,
    /// The style rules that can be checked automatically.
    Style,
    /// The relative links of the documents, and the files, symbols and crates that they name.
    Links,
    /// Downloads NVRTC, which compiles our own CUDA kernels in tests.
    Cuda,
    /// Sets up the tools that test the page in a browser, where one is installed.
    Page,
    /// Sets up the interpreter that tests the Python package, where one is installed.
    Python,
    /// Clippy on every target and feature, benches and CUDA included; warnings are errors.
    Clippy,
    /// Unit, integration and doc tests.
    Test,
    /// The documentation; warnings are errors.
    Docs,
    /// Packages the crates that others depend on, and checks them with the newest dependencies.
    Package,
    /// Checks the same crates with the oldest Rust that they state, where it is installed.
    OldestRust,
    /// Licences, advisories and duplicates, where cargo-deny is installed.
    Deny,
    /// Unused dependencies, where cargo-machete is installed.
    Unused,
}

enum Outcome {
    Passed,
    /// The step was not run, for this reason.
    Skipped(&'static str),
}

/// Runs the named steps, or all of them.
pub fn run(root: &Path, chosen: &[Step]) -> anyhow::Result<ExitCode> {
    let steps = in_order(chosen);
    let begun = Instant::now();
    let mut lines = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let name = name(step);
        println!("[{}/{}] {name}", at + 1, steps.len());
        let step_begun = Instant::now();
        let outcome = step.perform(root);
        let taken = seconds(step_begun.elapsed());
        match outcome {
            Ok(Outcome::Passed) => lines.push(format!("  {name:<8} passed in {taken}")),
            Ok(Outcome::Skipped(reason)) => {
                println!("skipped: {reason}");
                lines.push(format!("  {name:<8} skipped: {reason}"));
            }
            Err(error) => {
                println!("{name} failed after {taken}: {error:#}");
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    println!("{}", lines.join("\n"));
    println!("all steps done in {}", seconds(begun.elapsed()));
    Ok(ExitCode::SUCCESS)
}

impl Step {
    fn perform(self, root: &Path) -> anyhow::Result<Outcome> {
        match self {
            Self::Format => passes(
                cargo(root).args(["fmt", "--all", "--check"]),
                "`cargo fmt --all` mends it",
            ),
            Self::Layers => report(&layers::check(root)?),
            Self::Style => report(&style_findings(root)?),
            Self::Links => report(&link_findings(root)?),
            Self::Cuda => nvrtc(root),
            Self::Page => Ok(match page::set_up(root) {
                Ok(()) => Outcome::Passed,
                Err(missing) => Outcome::Skipped(missing),
            }),
            Self::Python => Ok(match python::set_up(root) {
                Ok(()) => Outcome::Passed,
                Err(missing) => Outcome::Skipped(missing),
            }),
            Self::Clippy => passes(
                checked(root, &["clippy", "--all-targets"])?.args(["--", "-D", "warnings"]),
                "mend what clippy names above",
            ),
            Self::Test => test(root),
            Self::Docs => passes(
                checked(root, &["doc", "--no-deps"])?.env("RUSTDOCFLAGS", "-Dwarnings"),
                "mend what rustdoc names above",
            ),
            Self::Package => match package::check(root)? {
                true => Ok(Outcome::Passed),
                false => Ok(Outcome::Skipped(
                    "the newest dependencies, because the registry cannot be reached; the packages were made",
                )),
            },
            Self::OldestRust => match package::check_oldest_rust(root)? {
                true => Ok(Outcome::Passed),
                false => Ok(Outcome::Skipped(concat!(
                    "rustup has no toolchain of this name: rustup toolchain install ",
                    env!("CARGO_PKG_RUST_VERSION"),
                    " --profile minimal"
                ))),
            },
            Self::Deny => deny(root),
            Self::Unused => unused(root),
        }
    }
}

/// Downloads NVRTC if it is not there yet. Needs no GPU and no installed CUDA.
fn nvrtc(root: &Path) -> anyhow::Result<Outcome> {
    if let Err(reason) = cuda::supported() {
        return Ok(Outcome::Skipped(reason));
    }
    cuda::set_up(root, Part::Nvrtc)?;
    Ok(Outcome::Passed)
}

/// A cargo command (clippy or doc) on the whole workspace; it links nothing. On systems for which
/// NVIDIA has packages it also checks the code for CUDA, with a script in place of `nvcc`
/// (`stand_in`). Both commands then use the target folder of `stand_in`.
fn checked(root: &Path, subcommand: &[&str]) -> anyhow::Result<Command> {
    let mut command = cargo(root);
    command
        .args(subcommand)
        .args(["--workspace", "--locked"])
        .args(OPTIONAL);
    if cuda::supported().is_ok() {
        stand_in::add_cuda(&mut command, root)?;
    }
    Ok(command)
}

fn test(root: &Path) -> anyhow::Result<Outcome> {
    let mut command = cargo(root);
    command
        .args(["test", "--workspace", "--locked"])
        .args(OPTIONAL)
        // Property tests of the gate draw the same cases every time; plain `cargo test` draws others.
        .env("PROPTEST_RNG_SEED", "0");
    if let Some(folder) = shared_folder(root) {
        command.env("UARD_SHARED", folder);
    }
    if let Some(home) = cuda::found(root, Part::Nvrtc) {
        command
            .env(
                "LD_LIBRARY_PATH",
                cuda::first_on("LD_LIBRARY_PATH", home.join("lib"))?,
            )
            .env("UARD_NVRTC", "required");
    }
    page::add_tools(&mut command, root)?;
    python::add_interpreter(&mut command, root)?;
    passes(&mut command, "the failing test is named above")
}

fn in_order(chosen: &[Step]) -> Vec<Step> {
    Step::value_variants()
        .iter()
        .copied()
        .filter(|step| chosen.is_empty() || chosen.contains(step))
        .collect()
}

fn style_findings(root: &Path) -> anyhow::Result<Vec<String>> {
    let files = sources::rust(root)?;
    let mut found: Vec<String> = files.iter().flat_map(style::check).collect();
    found.extend(files.iter().flat_map(parameters::check));
    found.extend(style::tests_that_never_run(&files));
    Ok(found)
}

fn link_findings(root: &Path) -> anyhow::Result<Vec<String>> {
    let (documents, files) = (sources::markdown(root)?, sources::rust(root)?);
    let code = symbols::Code::new(&files);
    let findings = documents.iter().flat_map(|document| {
        let mut found = links::check(root, document);
        found.extend(symbols::check(document, &code));
        found
    });
    Ok(findings.collect())
}

/// Runs a command whose output is the step's output.
fn passes(command: &mut Command, advice: &str) -> anyhow::Result<Outcome> {
    expect_success(command, advice)?;
    Ok(Outcome::Passed)
}

fn report(findings: &[String]) -> anyhow::Result<Outcome> {
    for finding in findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(Outcome::Passed),
        1 => bail!("one finding, above"),
        count => bail!("{count} findings, above"),
    }
}

fn deny(root: &Path) -> anyhow::Result<Outcome> {
    if !succeeds(cargo(root).args(["deny", "--version"])) {
        return Ok(Outcome::Skipped("cargo-deny is not installed"));
    }
    passes(
        cargo(root).args(["deny", "--locked", "check", "bans", "licenses", "sources"]),
        "deny.toml says what is allowed",
    )?;
    if !succeeds(cargo(root).args(["deny", "--locked", "fetch", "db"])) {
        return Ok(Outcome::Skipped(
            "advisories, whose database cannot be reached; the rest passed",
        ));
    }
    passes(
        cargo(root).args(["deny", "--locked", "check", "advisories"]),
        "deny.toml says what is allowed",
    )
}

fn unused(root: &Path) -> anyhow::Result<Outcome> {
    // Where the variable is set, cargo-machete does not take itself for a subcommand of cargo.
    let machete = |arguments: &[&str]| {
        let mut command = cargo(root);
        command.env_remove("CARGO_PKG_NAME").arg("machete");
        command.args(arguments);
        command
    };
    if !succeeds(&mut machete(&["--version"])) {
        return Ok(Outcome::Skipped("cargo-machete is not installed"));
    }
    passes(
        &mut machete(&["--with-metadata"]),
        "remove what is named above from its Cargo.toml",
    )
}

/// The folder of published features and photos for tests; without it such tests do nothing.
fn shared_folder(root: &Path) -> Option<PathBuf> {
    if std::env::var_os("UARD_SHARED").is_some() {
        return None;
    }
    root.join("../shared")
        .canonicalize()
        .ok()
        .filter(|folder| folder.is_dir())
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn chosen_steps_run_in_the_order_of_the_gate() {
        assert_eq!(
            in_order(&[Step::Docs, Step::Format]),
            [Step::Format, Step::Docs]
        );
        assert_eq!(in_order(&[]), Step::value_variants());
    }

    #[test]
    fn a_finding_fails_the_step() {
        assert!(report(&[]).is_ok());
        assert!(report(&["x".to_owned()]).is_err());
    }

    #[test]
    fn a_failing_command_fails_the_step() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(passes(cargo(here).arg("--version").stdout(Stdio::null()), "").is_ok());
        let unknown = passes(
            cargo(here).arg("no-such-command").stderr(Stdio::null()),
            "advice",
        );
        assert_eq!(
            unknown.err().map(|error| error.to_string()).as_deref(),
            Some("advice")
        );
    }

    #[test]
    fn this_repository_has_its_rust_files_listed() {
        let found = sources::rust(&crate::root()).unwrap();
        assert!(found.iter().any(|source| source.path == "xtask/src/ci.rs"));
    }
}
