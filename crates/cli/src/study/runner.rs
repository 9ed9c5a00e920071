//! How do the runs of a study follow each other, and what is written after each?

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use uard_eval::{GroundTruth, ranks};
use uard_training::checkpoint::Checkpoint;
use uard_training::evaluation::How;
use uard_training::record::RunRecord;
use uard_training::report::{StudyPage, render_study};
use uard_training::study::{Asked, Settled, StudyRecord, StudyRun, summarise};
use uard_training::trainer::Start;

use super::inside::Insides;
use super::plan::{Place, Study};
use super::results::{self, Results};
use super::table::study_table;
use crate::records::write_text;
use crate::terminal::{command_line, note};
use crate::train::jobs::{self, Best, Ended, Ground, evaluate_as};
use crate::train::plan::Job;
use crate::train::progress::{Lines, Progress};

/// A study that is being run.
pub struct Runner<'a> {
    /// What is asked for.
    pub study: &'a Study,
    /// Its directory.
    pub root: &'a Path,
    /// The data and the device.
    pub ground: &'a Ground,
    /// What is done.
    pub results: Results,
    /// What was looked into.
    pub insides: Insides<'a>,
}

impl Runner<'_> {
    /// Runs what is not done yet; `false` when it was stopped.
    pub fn run(&mut self, stop: &AtomicBool) -> anyhow::Result<bool> {
        let places = self.study.places();
        for (number, &place) in places.iter().enumerate() {
            if self.results.contains_key(&place) {
                continue;
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let title = self.study.title(place);
            note(&format!(
                "\nrun {} of {}: {title}",
                number + 1,
                places.len()
            ));
            let Some(run) = self.run_one(place, stop)? else {
                return Ok(false);
            };
            results::write(&self.study.directory(self.root, place), &run)?;
            note(&said(&title, &run));
            self.results.insert(place, run);
            // After each run: what is done can be looked at while the next one trains.
            self.write()?;
        }
        Ok(true)
    }

    /// The study so far, written as a table, as JSON and as a page.
    pub fn write(&mut self) -> anyhow::Result<StudyRecord> {
        let record = self.record()?;
        let json = serde_json::to_string_pretty(&record).context("writing the study as JSON")?;
        write_text(&self.root.join("study.json"), &(json + "\n"))?;
        write_text(&self.root.join("study.txt"), &(study_table(&record) + "\n"))?;
        let insides = self.insides.records(&self.results, self.ground)?;
        let page = render_study(&StudyPage {
            study: &record,
            insides: &insides,
            hills: &self.hills(),
        });
        write_text(&self.root.join("study.html"), &page)?;
        Ok(record)
    }

    /// The trainings behind the settings that are looked into, and behind the baseline.
    fn hills(&self) -> Vec<RunRecord> {
        let mut shown: Vec<Place> = Vec::new();
        for pair in self.study.insides() {
            for place in [pair.setting, pair.baseline] {
                let trained = self.study.trained(place);
                if !shown.contains(&trained) {
                    shown.push(trained);
                }
            }
        }
        let runs = shown.iter().filter_map(|place| self.results.get(place));
        runs.map(|run| run.run.clone()).collect()
    }

    fn record(&self) -> anyhow::Result<StudyRecord> {
        let of_setting = |setting: usize| -> Vec<&StudyRun> {
            let seeds = &self.study.settings[setting].plan.seeds;
            let place = |&seed| Place { setting, seed };
            seeds
                .iter()
                .filter_map(|seed| self.results.get(&place(seed)))
                .collect()
        };
        let runs: Vec<Vec<&StudyRun>> = (0..self.study.settings.len()).map(of_setting).collect();
        let settled: Vec<Settled<'_>> = self
            .study
            .settings
            .iter()
            .zip(&runs)
            .map(|(setting, runs)| Settled {
                plan: &setting.plan,
                runs,
            })
            .collect();
        let judged = self.ground.judged();
        let asked = Asked {
            name: &self.study.name,
            command: &command_line(),
            baseline: &self.study.settings[self.study.baseline].plan.name,
            split: &judged.name,
            device: self.ground.device_name,
            image_of_caption: &judged.image_of_caption,
        };
        Ok(summarise(&asked, &settled)?)
    }

    /// `None` when it was stopped; it is saved then.
    fn run_one(&self, place: Place, stop: &AtomicBool) -> anyhow::Result<Option<StudyRun>> {
        match self.study.setting(place).source {
            Some(_) => self.evaluated(place).map(Some),
            None => self.trained(place, stop),
        }
    }

    fn trained(&self, place: Place, stop: &AtomicBool) -> anyhow::Result<Option<StudyRun>> {
        let job = Job {
            name: self.study.title(place),
            config: self.study.config(place),
            directory: self.study.directory(self.root, place),
        };
        let mut progress = Progress::new(&job.name, Lines::Notes);
        match jobs::run(&job, self.ground, Start::Resume, &mut progress, stop)? {
            Ended::Stopped(step) => {
                note(&format!(
                    "stopped at step {step} of {} and saved in {}; the same command with --resume \
                     continues",
                    job.name,
                    job.directory.display()
                ));
                Ok(None)
            }
            Ended::Whole(judged) => self.result(place, judged.record, &judged.best).map(Some),
        }
    }

    /// The best checkpoint of another setting with the threshold that is asked for.
    fn evaluated(&self, place: Place) -> anyhow::Result<StudyRun> {
        let source = self.study.trained(place);
        let checkpoint = Checkpoint::open(&self.study.directory(self.root, source))?;
        let asked = self.study.setting(place).plan.threshold;
        let threshold = match asked {
            Some(asked) => asked.resolve(&checkpoint.state().threshold),
            None => checkpoint.evaluation_threshold()?,
        };
        let (precision, device) = (
            checkpoint.config()?.evaluation.precision,
            &self.ground.device,
        );
        let how = How::fastest(threshold, precision, device)?;
        let best = evaluate_as(&checkpoint, self.ground.judged(), device, &how)?;
        let trained = self.results.get(&source).with_context(|| {
            format!(
                "{} is evaluated before it is trained",
                self.study.title(source)
            )
        })?;
        self.result(place, trained.run.clone(), &best)
    }

    fn result(&self, place: Place, run: RunRecord, best: &Best) -> anyhow::Result<StudyRun> {
        let setting = self.study.setting(place);
        let judged = self.ground.judged();
        let truth = GroundTruth::from_image_of_caption(&judged.image_of_caption, judged.images())?;
        let ranks = ranks(&best.evaluation.similarities, &truth)?;
        Ok(StudyRun {
            run: RunRecord {
                name: setting.plan.name.clone(),
                test: None,
                ..run
            },
            asked: setting.plan.threshold,
            evaluation: best.evaluation.record.clone(),
            evaluation_data_hash: judged.data_hash()?,
            image_to_text: ranks.image_to_text,
            text_to_image: ranks.text_to_image,
            matching_seconds: best.matching_seconds,
        })
    }
}

fn said(title: &str, run: &StudyRun) -> String {
    let evaluation = &run.evaluation;
    format!(
        "{title}: rsum {:.1} on {} with threshold {:.4}",
        evaluation.retrieval.rsum, evaluation.split, evaluation.threshold
    )
}
