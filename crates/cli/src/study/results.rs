//! Reads the results of finished runs, and checks that they fit the study's configuration and data.

use std::collections::BTreeMap;
use std::path::Path;

use uard_model::{Checkpoint, CheckpointDirectory};
use uard_report::study::StudyRun;
use uard_training::checkpoint::expect_config;
use uard_training::config::TrainConfig;

use super::plan::{RunKey, Study};
use crate::exit::wrong;
use crate::records::read_json;
use crate::train::jobs::SplitsOnDevice;
use crate::train::plan::has_begun;

/// The file of a run's result, in its directory.
pub const FILE: &str = "result.json";

/// The finished runs.
pub type Results = BTreeMap<RunKey, StudyRun>;

/// Refuses a directory in which a run of the study has begun.
pub fn refuse_to_overwrite(study: &Study, root: &Path) -> anyhow::Result<()> {
    for key in study.run_keys() {
        let directory = study.directory(root, key);
        let begun = CheckpointDirectory::of_run(&directory).newest()?.is_some();
        if begun || directory.join(FILE).exists() {
            return Err(wrong(format!(
                "{} already holds a run of this study: continue it with --resume, choose another \
                 directory with --run DIR, or remove this one",
                directory.display()
            )));
        }
    }
    Ok(())
}

/// Reads the results of finished runs. Refuses runs of another configuration, finished or not, and a
/// directory without any run of the study.
pub fn read_all(study: &Study, root: &Path) -> anyhow::Result<Results> {
    let mut results = Results::new();
    let mut has_runs = false;
    for key in study.run_keys() {
        let directory = study.directory(root, key);
        let file = directory.join(FILE);
        has_runs |= has_begun(&directory) || file.exists();
        if let Some(run) = read_json::<StudyRun>(&file)? {
            check_config(study, key, &run, &file)?;
            results.insert(key, run);
        } else if let Some(newest) = CheckpointDirectory::of_run(&directory).newest()? {
            expect_config(&Checkpoint::open(&newest)?, &study.config(key))?;
        }
    }
    match has_runs {
        true => Ok(results),
        false => Err(wrong(format!(
            "{} holds no run of this study to resume: leave out --resume to start the study there, or \
             give its directory with --run DIR",
            root.display()
        ))),
    }
}

/// Refuses results that were computed on other data than the opened splits.
pub fn check_data(
    study: &Study,
    root: &Path,
    results: &Results,
    splits: &SplitsOnDevice,
) -> anyhow::Result<()> {
    let reported = splits.reported();
    let (train_hash, reported_hash) = (splits.train.data_hash()?, reported.data_hash()?);
    for (key, run) in results {
        let hashes = [
            ("train", &run.run.data_hash, &train_hash),
            (
                reported.name.as_str(),
                &run.evaluation_data_hash,
                &reported_hash,
            ),
        ];
        if let Some((split, stored, given)) = hashes.iter().find(|(_, one, other)| one != other) {
            return Err(wrong(format!(
                "{} was made with other data of {split}: its data had sha256 {stored}, the data of \
                 --data have {given}; give the data directory that the study started with, or choose \
                 another directory with --run DIR",
                study.directory(root, *key).join(FILE).display()
            )));
        }
    }
    Ok(())
}

fn check_config(study: &Study, key: RunKey, run: &StudyRun, file: &Path) -> anyhow::Result<()> {
    let stored = TrainConfig::from_toml(&run.run.config, &file.display().to_string())?;
    let thresholds = [run.asked, study.setting(key).plan.threshold];
    let [in_result, in_study] = match stored.difference(&study.config(key))? {
        None if thresholds[0] == thresholds[1] => return Ok(()),
        // Written as in the file of a study.
        None => thresholds.map(|threshold| match threshold {
            Some(threshold) => format!("threshold = {threshold}"),
            None => "no `of`".to_owned(),
        }),
        Some(lines) => lines,
    };
    Err(wrong(format!(
        "{} was made with another configuration: it has `{in_result}`, the study has `{in_study}`; \
         remove {} or give the setting another name",
        file.display(),
        file.parent().unwrap_or(file).display()
    )))
}
