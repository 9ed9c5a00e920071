//! The commands of this workspace: `train`, `study`, `evaluate`, `data`, `bench`, `fuzz`, `ci`, and
//! those that set up CUDA.
//!
//! It starts cargo and `uard`, and depends on neither candle nor another crate of this workspace, so
//! that it builds within half a minute of a fresh clone.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command that a person reads"
)]

mod backend;
mod bench;
mod ci;
mod cuda;
mod demo;
mod launch;
mod layers;
mod links;
mod package;
mod page;
mod parameters;
mod python;
mod sources;
mod style;
mod symbols;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use cuda::{Part, bundle};
use launch::{Folders, plan_data, plan_evaluate, plan_study, plan_train, start};

#[derive(Parser)]
#[command(
    name = "xtask",
    bin_name = "cargo xtask",
    about = "Trains, evaluates, benchmarks and checks this workspace",
    after_help = "Examples:\n  cargo xtask train                        \
                  the embedded data set, from nothing to runs/<name>/report.html\n  \
                  cargo xtask train --config configs/flickr8k.toml --data DIR\n  \
                  cargo xtask study --config configs/study-flickr8k.toml --data DIR\n  \
                  cargo xtask bench --suite kernels        all pairs against the peers\n  \
                  cargo xtask ci                           the whole gate\n  \
                  cargo xtask ci style layers              two of its steps"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Train, evaluate and write the report: `uard train` in a release build.
    #[command(
        after_help = "--device auto|cpu|cuda|metal   chooses the build and is passed on (cpu);\n\
                                               metal is unverified\n\
                      --config FILE                  the configuration (configs/scenes.toml)\n\
                      --compare RULE|none            another rule to train and compare (zero)\n\
                      Everything else goes to `uard train`: see `cargo xtask train -- --help`."
    )]
    Train(PassedOn),
    /// Show photo search: train on the embedded data set, index its pictures, ask five queries.
    Demo {
        /// Then open the page of the search in the browser, until Ctrl-C.
        #[arg(long)]
        serve: bool,
    },
    /// Train many settings with several seeds and compare them: `uard study` in a release build.
    #[command(
        after_help = "--device auto|cpu|cuda|metal   chooses the build and is passed on (cpu);\n\
                                               metal is unverified\n\
                      Everything else goes to `uard study`: see `cargo xtask study -- --help`."
    )]
    Study(PassedOn),
    /// Evaluate a checkpoint: `uard evaluate` in a release build.
    Evaluate(PassedOn),
    /// Write the embedded data set: `uard data scenes`, to data/scenes without --out.
    Data(PassedOn),
    /// Compare the speed of this workspace with its peers: `uard-bench` in a release build.
    #[command(
        after_help = "--criterion [FILTER]           run criterion's benches instead; what follows \
                      goes to criterion\n\
                      Everything else goes to `uard-bench`: see `cargo xtask bench -- --help`."
    )]
    Bench(PassedOn),
    /// Call `uard` with damaged files for some minutes: `uard-fuzz` in a build with overflow checks.
    #[command(after_help = "--minutes N       how long (5)\n\
                      --seed N          every input is drawn from it and its number\n\
                      --replay INPUT    runs one input alone and leaves its files in target/fuzz\n\
                      Everything goes to `uard-fuzz`: see `cargo xtask fuzz -- --help`.")]
    Fuzz(PassedOn),
    /// Check everything, cheapest first, and stop at the first failure.
    Ci {
        /// Only these steps, in their usual order.
        #[arg(value_enum)]
        steps: Vec<ci::Step>,
        /// Instead of the steps: build everything for CUDA, and start it without a GPU.
        #[arg(long, conflicts_with = "steps")]
        cuda: bool,
    },
    /// Set up nvcc and CUDA's libraries in target/cuda-toolkit, from NVIDIA's packages on PyPI.
    #[command(after_help = "PIP_INDEX_URL   another package index\n\
                      SSL_CERT_FILE   the certificates to trust, as a file of PEM")]
    CudaToolkit {
        /// Only NVRTC, which compiles our own kernels while a program runs: a tenth of the files.
        #[arg(long)]
        nvrtc_only: bool,
    },
    /// Build what scripts/gpu/check.sh runs on a machine with a GPU, into target/gpu-check.
    GpuBundle,
}

/// Arguments that are passed to the program of a task.
#[derive(clap::Args)]
struct PassedOn {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    match perform(task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> anyhow::Result<ExitCode> {
    let root = root();
    let folders = Folders {
        caller: std::env::current_dir()?,
        root: root.clone(),
    };
    match task {
        Task::Train(passed) => start(plan_train, passed.arguments, &folders),
        Task::Demo { serve } => demo::run(&root, serve).map(|()| ExitCode::SUCCESS),
        Task::Study(passed) => start(plan_study, passed.arguments, &folders),
        Task::Evaluate(passed) => start(plan_evaluate, passed.arguments, &folders),
        Task::Data(passed) => start(plan_data, passed.arguments, &folders),
        Task::Bench(passed) => bench::run(passed.arguments, &folders),
        Task::Fuzz(passed) => launch::fuzz(passed.arguments, &folders),
        Task::Ci { cuda: true, .. } => bundle::check(&root),
        Task::Ci { steps, .. } => ci::run(&root, &steps),
        Task::CudaToolkit { nvrtc_only: true } => cuda::run(&root, Part::Nvrtc),
        Task::CudaToolkit { .. } => cuda::run(&root, Part::Whole),
        Task::GpuBundle => bundle::run(&root),
    }
}

/// The repository root: the folder above this package.
///
/// Cargo sets the folder at run time, so that a moved checkout is found; a binary that was not started
/// by cargo uses the folder where it was built.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or(package.clone(), Path::to_path_buf)
}
