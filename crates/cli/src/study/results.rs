//! Results of the runs that are done, and whether they belong to what the study asks for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use uard_training::checkpoint::{Checkpoint, CheckpointDirectory};
use uard_training::config::{EvaluationThreshold, TrainConfig};
use uard_training::study::StudyRun;

use super::plan::{Place, Study};
use crate::exit::wrong;
use crate::records::{read_json, write_json};
use crate::train::jobs::Ground;
use crate::train::plan::has_begun;

/// The result of a run, in its directory.
const FILE: &str = "result.json";

/// Runs that are done.
pub type Results = BTreeMap<Place, StudyRun>;

/// Refuses a directory in which a run of the study has begun.
pub fn refuse_to_overwrite(study: &Study, root: &Path) -> anyhow::Result<()> {
    for place in study.places() {
        let directory = study.directory(root, place);
        let begun = CheckpointDirectory::of_run(&directory).newest()?.is_some();
        if begun || directory.join(FILE).exists() {
            return Err(wrong(format!(
                "{} already holds a run of this study: continue it with --resume, choose another \
                 directory with --run DIR, or remove it",
                directory.display()
            )));
        }
    }
    Ok(())
}

/// Reads the results that are there. Refuses those, and half runs, of another configuration, and a
/// directory without any.
pub fn read_all(study: &Study, root: &Path) -> anyhow::Result<Results> {
    let places = study.places();
    let is_there = |&place: &Place| {
        let directory = study.directory(root, place);
        has_begun(&directory) || path(&directory).exists()
    };
    if !places.iter().any(is_there) {
        return Err(wrong(format!(
            "{} holds no run of this study to resume: leave out --resume to start it there, or name \
             its directory with --run DIR",
            root.display()
        )));
    }
    let mut results = Results::new();
    for place in places {
        let directory = study.directory(root, place);
        if let Some(run) = read_json::<StudyRun>(&path(&directory))? {
            check_config(study, place, &run, &directory)?;
            results.insert(place, run);
        } else if CheckpointDirectory::of_run(&directory).newest()?.is_some() {
            Checkpoint::newest(&directory)?.expect_config(&study.config(place))?;
        }
    }
    Ok(results)
}

/// Refuses results of other data than those that are open.
pub fn check_data(
    study: &Study,
    root: &Path,
    results: &Results,
    ground: &Ground,
) -> anyhow::Result<()> {
    let (train, judged) = (ground.train.data_hash()?, ground.judged().data_hash()?);
    for (place, run) in results {
        let hashes = [
            ("train", &run.run.data_hash, &train),
            (
                ground.judged().name.as_str(),
                &run.evaluation_data_hash,
                &judged,
            ),
        ];
        if let Some((split, stored, given)) = hashes.iter().find(|(_, one, other)| one != other) {
            return Err(wrong(format!(
                "{} was made with other data of {split}: sha256 {stored} there, {given} here; give \
                 the data directory that the study started with, or choose another directory with \
                 --run DIR",
                path(&study.directory(root, *place)).display()
            )));
        }
    }
    Ok(())
}

/// Writes the result of a run into its directory, whole or not at all.
pub fn write(directory: &Path, run: &StudyRun) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    write_json(&path(directory), run)
}

fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

fn check_config(
    study: &Study,
    place: Place,
    run: &StudyRun,
    directory: &Path,
) -> anyhow::Result<()> {
    let path = path(directory);
    let stored = TrainConfig::from_toml(&run.run.config, &path.display().to_string())?;
    let threshold = study.setting(place).plan.threshold;
    let difference = match stored.difference(&study.config(place))? {
        None if run.asked == threshold => return Ok(()),
        None => [run.asked, threshold].map(said),
        Some(lines) => lines,
    };
    let [there, here] = difference;
    Err(wrong(format!(
        "{} was made with another configuration: `{there}` there, `{here}` in the study; remove {} \
         or give the setting another name",
        path.display(),
        directory.display()
    )))
}

/// What a result was asked for, as the file of a study has it.
fn said(threshold: Option<EvaluationThreshold>) -> String {
    threshold.map_or_else(
        || "no `of`".to_owned(),
        |threshold| format!("threshold = {threshold}"),
    )
}
