//! `uard study`: trains many settings with several seeds, and compares them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use uard_core::device::{self, DeviceChoice};
use uard_files::DirectoryLock;

use super::{Format, Outcome};
use crate::interrupt;
use crate::study::file;
use crate::study::results::{Results, check_data, read_all, refuse_to_overwrite};
use crate::study::runner::Runner;
use crate::study::table::study_table;
use crate::terminal::{note, print, print_json};
use crate::train::jobs::SplitsOnDevice;

/// Arguments of `uard study`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The file lists settings and seeds; configs/study-flickr8k.toml explains its keys. \
    Runs are trained one after another: all settings with the first seed, then all with the second, \
    and so on. Each run has the directory DIR/<setting>/seed-<N> with the files of `uard train` and \
    result.json. After each run DIR/study.txt, study.json and study.html show all runs so far.\n\
    The first Ctrl-C finishes the current step and saves, the second exits at once. --resume \
    continues, and trains no finished run again.\n\n\
    Examples:\n  \
    uard study --config configs/study-flickr8k.toml --data DIR\n  \
    uard study --config configs/study-flickr8k.toml --data DIR --resume --format json"
)]
pub struct Arguments {
    /// A TOML file of settings and seeds.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Directory of the study. Default: runs/NAME, where NAME is the name of the file without .toml.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Continues the study where it stopped.
    #[arg(long)]
    resume: bool,
    /// The device of candle's tensors: auto, cpu, cuda, or metal (candle's backend, unverified by this
    /// project).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// The format of the printed result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Trains the runs that are not finished yet, and prints the results of all.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let study = file::read(&arguments.config)?;
    let root = match &arguments.run {
        Some(run) => run.clone(),
        None => Path::new("runs").join(&study.name),
    };
    let results = match arguments.resume {
        true => read_all(&study, &root)?,
        false => {
            refuse_to_overwrite(&study, &root)?;
            Results::new()
        }
    };
    let _lock = DirectoryLock::acquire(&root)
        .with_context(|| format!("cannot write the study in {}", root.display()))?;
    let opened = device::open(arguments.device)?;
    note(&format!("device {}", opened.reason));
    let data = SplitsOnDevice::open(&arguments.data, &study.split, opened.device)?;
    check_data(&study, &root, &results, &data)?;
    let mut runner = Runner::open(&study, &root, &data, results)?;
    if !runner.run(interrupt::watch())? {
        note("stopped; the same command with --resume continues");
        return Ok(Outcome::Stopped);
    }
    let record = runner.write()?;
    note(&format!("report: {}", root.join("study.html").display()));
    match arguments.format {
        Format::Json => print_json(&record)?,
        Format::Table => print(&study_table(&record))?,
    }
    Ok(Outcome::Done)
}
