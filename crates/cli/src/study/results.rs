//! Results of the runs that are done, and whether they belong to what the study asks for.

use std::collections::BTreeMap;
use std::path::Path;

use uard_model::{Checkpoint, CheckpointDirectory};
use uard_report::study::StudyRun;
use uard_training::checkpoint::expect_config;
use uard_training::config::TrainConfig;

use super::plan::{Place, Study};
use crate::exit::wrong;
use crate::records::read_json;
use crate::train::jobs::Ground;
use crate::train::plan::has_begun;

/// The result of a run, in its directory.
pub const FILE: &str = "result.json";

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
    let mut results = Results::new();
    let mut has_runs = false;
    for place in study.places() {
        let directory = study.directory(root, place);
        let file = directory.join(FILE);
        has_runs |= has_begun(&directory) || file.exists();
        if let Some(run) = read_json::<StudyRun>(&file)? {
            check_config(study, place, &run, &file)?;
            results.insert(place, run);
        } else if let Some(newest) = CheckpointDirectory::of_run(&directory).newest()? {
            expect_config(&Checkpoint::open(&newest)?, &study.config(place))?;
        }
    }
    match has_runs {
        true => Ok(results),
        false => Err(wrong(format!(
            "{} holds no run of this study to resume: leave out --resume to start it there, or name \
             its directory with --run DIR",
            root.display()
        ))),
    }
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
                study.directory(root, *place).join(FILE).display()
            )));
        }
    }
    Ok(())
}

fn check_config(study: &Study, place: Place, run: &StudyRun, file: &Path) -> anyhow::Result<()> {
    let stored = TrainConfig::from_toml(&run.run.config, &file.display().to_string())?;
    let thresholds = [run.asked, study.setting(place).plan.threshold];
    let [there, here] = match stored.difference(&study.config(place))? {
        None if thresholds[0] == thresholds[1] => return Ok(()),
        // As the file of a study has them.
        None => thresholds.map(|asked| match asked {
            Some(threshold) => format!("threshold = {threshold}"),
            None => "no `of`".to_owned(),
        }),
        Some(lines) => lines,
    };
    Err(wrong(format!(
        "{} was made with another configuration: `{there}` there, `{here}` in the study; remove {} \
         or give the setting another name",
        file.display(),
        file.parent().unwrap_or(file).display()
    )))
}
