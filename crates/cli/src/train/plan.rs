//! The plan of `uard train`: its configuration, its data directory, and its runs with their directories.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use uard_attention::WeightRule;
use uard_scenes::{ScenesConfig, is_complete};
use uard_training::config::TrainConfig;

use crate::commands::write_scenes;
use crate::exit::wrong;
use crate::terminal::note;

/// The configurations inside the binary: name and TOML text.
const EMBEDDED: [(&str, &str); 5] = [
    (SCENES, include_str!("../../../../configs/scenes.toml")),
    (
        "flickr8k",
        include_str!("../../../../configs/flickr8k.toml"),
    ),
    (
        "flickr8k-minilm",
        include_str!("../../../../configs/flickr8k-minilm.toml"),
    ),
    (
        "flickr30k",
        include_str!("../../../../configs/flickr30k.toml"),
    ),
    ("coco", include_str!("../../../../configs/coco.toml")),
];

/// The configuration whose data can be drawn, so that it needs no data directory.
const SCENES: &str = "scenes";

/// A configuration and its name, which becomes the name of the run directory and of the report.
#[derive(Debug)]
pub struct NamedConfig {
    /// The name of the file without its extension.
    pub name: String,
    /// The settings, `--set` included.
    pub config: TrainConfig,
}

/// A data directory, and the directory of its pictures if it is another one.
#[derive(Debug)]
pub struct DataDirectory {
    /// The data directory.
    pub path: PathBuf,
    /// The directory of the pictures.
    pub pictures: Option<PathBuf>,
}

/// One run of the command.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The name: that of the rule, or `learned` for the rule `masked`.
    pub name: String,
    /// The configuration.
    pub config: TrainConfig,
    /// The run directory.
    pub directory: PathBuf,
}

/// Whether a configuration of this name is inside the binary.
pub fn is_embedded(name: &Path) -> bool {
    EMBEDDED.iter().any(|(known, _)| name == Path::new(known))
}

/// Reads a configuration from a file, or one of the embedded ones by its bare name.
pub fn read_config(config: &Path, sets: &[String]) -> anyhow::Result<NamedConfig> {
    let name = config
        .file_stem()
        .unwrap_or(config.as_os_str())
        .to_string_lossy()
        .into_owned();
    let embedded = EMBEDDED
        .iter()
        .find(|(known, _)| config == Path::new(known));
    let (text, origin) = match embedded {
        Some((known, text)) if !config.is_file() => (
            (*text).to_owned(),
            format!("embedded configuration {known}"),
        ),
        _ => {
            let read = uard_files::read_text(config);
            let text = read.with_context(|| {
                let names = EMBEDDED.map(|(name, _)| name).join(", ");
                format!(
                    "cannot read the configuration {} (embedded configurations are {names})",
                    config.display()
                )
            })?;
            (text, config.display().to_string())
        }
    };
    let mut config = TrainConfig::from_toml(&text, &origin)?;
    config.apply_sets(sets.iter().map(String::as_str))?;
    Ok(NamedConfig { name, config })
}

/// The run itself and those of `--compare`, in order, each rule once.
pub fn jobs(config: &TrainConfig, run: &Path, compare: &[WeightRule]) -> Vec<Job> {
    let mut jobs = vec![Job {
        name: job_name(config.matcher.rule),
        config: config.clone(),
        directory: run.to_path_buf(),
    }];
    for &rule in compare {
        if jobs.iter().any(|job| job.config.matcher.rule == rule) {
            continue;
        }
        let mut other = config.clone();
        other.matcher.rule = rule;
        if rule == WeightRule::Scan {
            // Without a value the rule takes SCAN's inverse temperatures, one for each side.
            other.matcher.inverse_temperature = None;
        }
        jobs.push(Job {
            name: job_name(rule),
            config: other,
            directory: run.join(format!("compare-{rule}")),
        });
    }
    jobs
}

/// Whether a run has begun in a directory, even without a checkpoint: `config.toml` is the first file
/// that a run writes.
pub fn has_begun(directory: &Path) -> bool {
    directory.join("config.toml").is_file()
}

/// The data directory: the given one, or that of the embedded scenes, which are drawn if they are not
/// there.
pub fn data_directory(given: Option<&Path>, name: &str) -> anyhow::Result<PathBuf> {
    match given {
        Some(data) => Ok(data.to_path_buf()),
        None if name == SCENES => embedded_scenes(Path::new("data/scenes")),
        None => Err(wrong(format!(
            "--data DIR is needed: only the configuration `{SCENES}` has embedded data, `{name}` has \
             none"
        ))),
    }
}

fn embedded_scenes(directory: &Path) -> anyhow::Result<PathBuf> {
    let default = ScenesConfig::default();
    if is_complete(directory, &default) {
        return Ok(directory.to_path_buf());
    }
    match read_scenes_config(directory).filter(|found| is_complete(directory, found)) {
        Some(ScenesConfig {
            train,
            dev,
            test,
            seed,
        }) => note(&format!(
            "training on the scenes in {}: {train} of train, {dev} of dev, {test} of test, seed {seed}",
            directory.display()
        )),
        None => write_scenes(&default, directory)?,
    }
    Ok(directory.to_path_buf())
}

/// The configuration that `uard data scenes` wrote to a directory.
fn read_scenes_config(directory: &Path) -> Option<ScenesConfig> {
    #[derive(Deserialize)]
    struct Written {
        config: ScenesConfig,
    }
    let text = uard_files::read(&directory.join("scenes.json")).ok()?;
    let written: Written = serde_json::from_slice(&text).ok()?;
    Some(written.config)
}

fn job_name(rule: WeightRule) -> String {
    match rule {
        WeightRule::Masked => "learned".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_configuration_is_valid() {
        for (name, _) in EMBEDDED {
            let read = read_config(Path::new(name), &["training.epochs=2".to_owned()]).unwrap();
            assert_eq!((read.name.as_str(), read.config.training.epochs), (name, 2));
        }
    }

    #[test]
    fn compared_runs_differ_in_the_rule_alone() {
        let config = read_config(Path::new(SCENES), &[]).unwrap().config;
        let rules = [
            WeightRule::Zero,
            WeightRule::Masked,
            WeightRule::Zero,
            WeightRule::Scan,
        ];
        let jobs = jobs(&config, Path::new("r"), &rules);
        let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
        assert_eq!(names, ["learned", "zero", "scan"]);
        assert_eq!(jobs[1].directory, Path::new("r/compare-zero"));
        let mut back = jobs[1].config.clone();
        back.matcher.rule = WeightRule::Masked;
        assert_eq!(back, config);
        assert_eq!(jobs[2].config.matcher.inverse_temperature, None);
    }

    #[test]
    fn a_configuration_without_embedded_data_needs_a_data_directory() {
        let error = data_directory(None, "coco").unwrap_err().to_string();
        assert!(error.contains("--data DIR"), "{error}");
    }
}
