//! `uard data`: writes the embedded data set of drawn scenes, to train on without any download.

use std::path::{Path, PathBuf};

use anyhow::Context;
use uard_scenes::{self, ScenesConfig};

use crate::terminal::{advance, bar, note};

/// The embedded data sets.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Draw scenes: pictures, captions, region features and true alignments.
    Scenes(Arguments),
}

/// Arguments of `uard data scenes`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    uard data scenes --out data/scenes\n  \
    uard data scenes --out data/small --train 200 --dev 50 --test 50 --seed 1")]
pub struct Arguments {
    /// Directory to write to; scenes that it already holds are replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of scenes to train on.
    #[arg(long, value_name = "N", default_value_t = ScenesConfig::default().train)]
    train: usize,
    /// Number of scenes that choose the best epoch.
    #[arg(long, value_name = "N", default_value_t = ScenesConfig::default().dev)]
    dev: usize,
    /// Number of scenes that the results are reported on.
    #[arg(long, value_name = "N", default_value_t = ScenesConfig::default().test)]
    test: usize,
    /// Seed of the random draws.
    #[arg(long, value_name = "S", default_value_t = ScenesConfig::default().seed)]
    seed: u64,
}

/// Writes the data set.
pub fn run(command: &Command) -> anyhow::Result<()> {
    let Command::Scenes(arguments) = command;
    let config = ScenesConfig {
        train: arguments.train,
        dev: arguments.dev,
        test: arguments.test,
        seed: arguments.seed,
    };
    write_scenes(&config, &arguments.out)
}

/// Draws scenes into a directory, with a progress bar.
pub fn write_scenes(config: &ScenesConfig, out: &Path) -> anyhow::Result<()> {
    if let Some(parent) = out.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
    }
    let bar = bar(config.scenes(), "scenes");
    uard_scenes::write(config, out, &|done, total| advance(&bar, done, total))?;
    bar.finish_and_clear();
    note(&format!(
        "{} scenes written to {}",
        config.scenes(),
        out.display()
    ));
    Ok(())
}
