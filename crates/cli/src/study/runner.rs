//! Runs a study: trains and evaluates its runs one after another, and writes its results after each.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use rand::Rng;
use uard_core::random::Draws;
use uard_eval::{GroundTruth, ranks};
use uard_model::Checkpoint;
use uard_report::page::{StudyPage, render_study};
use uard_report::record::RunRecord;
use uard_report::study::inside::{Compared, InsideRecord, WordStatistics, inside, shifts};
use uard_report::study::{FinishedRuns, StudyDescription, StudyRecord, StudyRun, summarise};
use uard_training::evaluation::words::{EvaluatedModel, word_statistics};
use uard_training::trainer::Start;

use super::plan::{RunKey, Setting, Study};
use super::results::{self, Results};
use super::table::study_table;
use crate::records::{read_json, write_json, write_text};
use crate::terminal::{command_line, note};
use crate::train::jobs::{self, ModelEvaluation, SplitsOnDevice, evaluate_as_configured};
use crate::train::plan::Job;
use crate::train::progress::{EpochLines, Progress};

/// The file of the records that compare a setting's words and captions with the baseline's, in the
/// directory of the study.
const INSIDES: &str = "inside.json";

/// A study that is being run.
pub struct Runner<'a> {
    study: &'a Study,
    root: &'a Path,
    splits: &'a SplitsOnDevice,
    /// The finished runs.
    results: Results,
    /// The records in [`INSIDES`].
    insides: Vec<InsideRecord>,
}

impl<'a> Runner<'a> {
    /// Opens a study with the results of its finished runs.
    pub fn open(
        study: &'a Study,
        root: &'a Path,
        splits: &'a SplitsOnDevice,
        results: Results,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            study,
            root,
            splits,
            results,
            insides: read_json(&root.join(INSIDES))?.unwrap_or_default(),
        })
    }

    /// Trains or evaluates the runs that are not finished yet; `false` if `stop` was set before the end.
    pub fn run(&mut self, stop: &AtomicBool) -> anyhow::Result<bool> {
        let keys = self.study.run_keys();
        for (number, &key) in keys.iter().enumerate() {
            if self.results.contains_key(&key) {
                continue;
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let title = self.study.title(key);
            note(&format!("\nrun {} of {}: {title}", number + 1, keys.len()));
            let run = match self.study.setting(key).source {
                Some(_) => Some(self.evaluate(key)?),
                None => self.train(key, stop)?,
            };
            let Some(run) = run else { return Ok(false) };
            let directory = self.study.directory(self.root, key);
            std::fs::create_dir_all(&directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
            write_json(&directory.join(results::FILE), &run)?;
            note(&format!(
                "{title}: rsum {:.1} on split {} with threshold {:.4}",
                run.evaluation.retrieval.rsum, run.evaluation.split, run.evaluation.threshold
            ));
            self.results.insert(key, run);
            // Written after each run, so that it can be read while the next one trains.
            self.write()?;
        }
        Ok(true)
    }

    /// Writes the results so far as a table, as JSON and as a page.
    pub fn write(&mut self) -> anyhow::Result<StudyRecord> {
        let record = self.record()?;
        let json = serde_json::to_string_pretty(&record).context("writing the study as JSON")?;
        write_text(&self.root.join("study.json"), &(json + "\n"))?;
        write_text(&self.root.join("study.txt"), &(study_table(&record) + "\n"))?;
        let page = render_study(&StudyPage {
            study: &record,
            insides: &self.insides_so_far()?,
            hills: &self.hills(),
        });
        write_text(&self.root.join("study.html"), &page)?;
        Ok(record)
    }

    /// The runs whose two hills the page shows: those that trained the models of
    /// [`Study::inside_pairs`], each once.
    fn hills(&self) -> Vec<RunRecord> {
        let mut shown: Vec<RunKey> = Vec::new();
        for key in self
            .study
            .inside_pairs()
            .into_iter()
            .flat_map(Compared::each)
        {
            let trained = self.study.trained_by(key);
            if !shown.contains(&trained) {
                shown.push(trained);
            }
        }
        let runs = shown.iter().filter_map(|key| self.results.get(key));
        runs.map(|run| run.run.clone()).collect()
    }

    fn record(&self) -> anyhow::Result<StudyRecord> {
        let with_runs = |(index, setting): (usize, &'a Setting)| {
            let seeds = setting.plan.seeds.iter();
            let key = |seed| RunKey {
                setting: index,
                seed,
            };
            FinishedRuns {
                plan: &setting.plan,
                runs: seeds
                    .filter_map(|&seed| self.results.get(&key(seed)))
                    .collect(),
            }
        };
        let settings = self.study.settings.iter().enumerate();
        let settings: Vec<FinishedRuns<'_>> = settings.map(with_runs).collect();
        let reported = self.splits.reported();
        let description = StudyDescription {
            name: &self.study.name,
            command: &command_line(),
            baseline: &self.study.settings[self.study.baseline].plan.name,
            split: &reported.name,
            device: self.splits.device_name,
            image_of_caption: &reported.image_of_caption,
        };
        let draws = || {
            let mut stream = Draws::new(0).stream("images of a study", &[]);
            move |count: usize| stream.random_range(0..count)
        };
        Ok(summarise(&description, &settings, draws)?)
    }

    /// The records of all pairs whose runs are finished, in the order of the study. Records that are not
    /// in [`INSIDES`] are computed and added to it.
    fn insides_so_far(&mut self) -> anyhow::Result<Vec<InsideRecord>> {
        let mut records = Vec::new();
        for keys in self.study.inside_pairs() {
            let Some(runs) = keys.filter_map(|key| self.results.get(&key)) else {
                continue;
            };
            if let Some(stored) = self.insides.iter().find(|record| record.is_of(runs)) {
                records.push(stored.clone());
                continue;
            }
            let action = format!(
                "comparing words and captions of {} with the baseline",
                self.study.title(keys.setting)
            );
            note(&action);
            let record = self.compare_inside(keys, runs);
            records.push(record.context(action)?);
            self.insides.extend(records.last().cloned());
            write_json(&self.root.join(INSIDES), &self.insides)?;
        }
        Ok(records)
    }

    fn compare_inside(
        &self,
        keys: Compared<RunKey>,
        runs: Compared<&StudyRun>,
    ) -> anyhow::Result<InsideRecord> {
        let shifts = shifts(runs.map(|run| run.ranks.text_to_image.as_slice()));
        let shown: BTreeSet<usize> = shifts.gained.iter().chain(&shifts.lost).copied().collect();
        let split = self.splits.reported();
        let statistics = |key, run: &StudyRun| -> anyhow::Result<WordStatistics> {
            let trained = self.study.trained_by(key);
            let checkpoint = Checkpoint::open(&self.study.directory(self.root, trained))?;
            let evaluated = EvaluatedModel {
                model: &checkpoint.model(&self.splits.device)?,
                split,
                threshold: run.evaluation.threshold,
            };
            Ok(word_statistics(&evaluated, &shown)?)
        };
        let statistics = Compared {
            setting: statistics(keys.setting, runs.setting)?,
            baseline: statistics(keys.baseline, runs.baseline)?,
        };
        let text = |caption: usize| {
            let image = split.image_of_caption[caption];
            (split.captions[caption].clone(), split.ids[image].clone())
        };
        Ok(inside(runs, &shifts, statistics.as_ref(), &text))
    }

    /// Trains a run and evaluates its best epoch; `None` if `stop` was set and the run was saved.
    fn train(&self, key: RunKey, stop: &AtomicBool) -> anyhow::Result<Option<StudyRun>> {
        let job = Job {
            name: self.study.title(key),
            config: self.study.config(key),
            directory: self.study.directory(self.root, key),
        };
        let mut progress = Progress::new(&job.name, EpochLines::ToStderr);
        let finished = jobs::run(&job, self.splits, Start::Resume, &mut progress, stop)?;
        finished
            .map(|finished| self.study_run(key, finished.record, &finished.best))
            .transpose()
    }

    /// Evaluates the best checkpoint of another setting with the threshold of this one.
    fn evaluate(&self, key: RunKey) -> anyhow::Result<StudyRun> {
        let source = self.study.trained_by(key);
        let checkpoint = Checkpoint::open(&self.study.directory(self.root, source))?;
        let threshold = self.study.setting(key).plan.threshold;
        let SplitsOnDevice { device, .. } = self.splits;
        let best = evaluate_as_configured(&checkpoint, self.splits.reported(), device, threshold)?;
        let trained = self.results.get(&source).with_context(|| {
            let title = self.study.title(source);
            format!("{title} is evaluated before it is trained")
        })?;
        self.study_run(key, trained.run.clone(), &best)
    }

    fn study_run(
        &self,
        key: RunKey,
        run: RunRecord,
        best: &ModelEvaluation,
    ) -> anyhow::Result<StudyRun> {
        let plan = &self.study.setting(key).plan;
        let reported = self.splits.reported();
        let truth =
            GroundTruth::from_image_of_caption(&reported.image_of_caption, reported.images())?;
        Ok(StudyRun {
            run: RunRecord {
                name: plan.name.clone(),
                test: None,
                ..run
            },
            asked: plan.threshold,
            evaluation: best.evaluation.record.clone(),
            evaluation_data_hash: reported.data_hash()?,
            ranks: ranks(&best.evaluation.similarities, &truth)?,
            matching_seconds: best.matching_seconds,
        })
    }
}
