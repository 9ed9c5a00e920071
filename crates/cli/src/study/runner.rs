//! The runs of a study, one after another, and what is written after each.

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
use uard_report::study::inside::{Both, InsideRecord, Look, inside, shifts};
use uard_report::study::{Asked, Settled, StudyRecord, StudyRun, summarise};
use uard_training::evaluation::words::{Seen, look};
use uard_training::trainer::Start;

use super::plan::{Place, Setting, Study};
use super::results::{self, Results};
use super::table::study_table;
use crate::records::{read_json, write_json, write_text};
use crate::terminal::{command_line, note};
use crate::train::jobs::{self, Best, Ground, evaluate_best};
use crate::train::plan::Job;
use crate::train::progress::{Lines, Progress};

/// What was looked into, in the directory of the study.
const INSIDES: &str = "inside.json";

/// A study that is being run.
pub struct Runner<'a> {
    study: &'a Study,
    root: &'a Path,
    ground: &'a Ground,
    /// What is done.
    results: Results,
    /// What was looked into before.
    known: Vec<InsideRecord>,
}

impl<'a> Runner<'a> {
    /// With what is done, and what was looked into, before.
    pub fn open(
        study: &'a Study,
        root: &'a Path,
        ground: &'a Ground,
        results: Results,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            study,
            root,
            ground,
            results,
            known: read_json(&root.join(INSIDES))?.unwrap_or_default(),
        })
    }

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
            let run = match self.study.setting(place).source {
                Some(_) => Some(self.evaluated(place)?),
                None => self.trained(place, stop)?,
            };
            let Some(run) = run else { return Ok(false) };
            let directory = self.study.directory(self.root, place);
            std::fs::create_dir_all(&directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
            write_json(&directory.join(results::FILE), &run)?;
            note(&format!(
                "{title}: rsum {:.1} on {} with threshold {:.4}",
                run.evaluation.retrieval.rsum, run.evaluation.split, run.evaluation.threshold
            ));
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
        let page = render_study(&StudyPage {
            study: &record,
            insides: &self.insides()?,
            hills: &self.hills(),
        });
        write_text(&self.root.join("study.html"), &page)?;
        Ok(record)
    }

    /// The trainings behind the settings that are looked into, and behind the baseline.
    fn hills(&self) -> Vec<RunRecord> {
        let mut shown: Vec<Place> = Vec::new();
        for place in self.study.insides().into_iter().flat_map(Both::each) {
            let trained = self.study.trained(place);
            if !shown.contains(&trained) {
                shown.push(trained);
            }
        }
        let runs = shown.iter().filter_map(|place| self.results.get(place));
        runs.map(|run| run.run.clone()).collect()
    }

    fn record(&self) -> anyhow::Result<StudyRecord> {
        let settled = |(setting, of): (usize, &'a Setting)| {
            let seeds = of.plan.seeds.iter();
            let runs = seeds.filter_map(|&seed| self.results.get(&Place { setting, seed }));
            Settled {
                plan: &of.plan,
                runs: runs.collect(),
            }
        };
        let settled: Vec<Settled<'_>> = self
            .study
            .settings
            .iter()
            .enumerate()
            .map(settled)
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
        let draws = || {
            let mut stream = Draws::new(0).stream("images of a study", &[]);
            move |count: usize| stream.random_range(0..count)
        };
        Ok(summarise(&asked, &settled, draws)?)
    }

    /// What can be seen inside by now, in the order of the study; what is new is kept.
    fn insides(&mut self) -> anyhow::Result<Vec<InsideRecord>> {
        let mut records = Vec::new();
        for places in self.study.insides() {
            let Some(runs) = places.filter_map(|place| self.results.get(&place)) else {
                continue;
            };
            if let Some(known) = self.known.iter().find(|known| known.is_of(runs)) {
                records.push(known.clone());
                continue;
            }
            let title = self.study.title(places.setting);
            note(&format!("looking into {title}"));
            let record = self.look_into(places, runs);
            records.push(record.with_context(|| format!("looking into {title}"))?);
            self.known.extend(records.last().cloned());
            write_json(&self.root.join(INSIDES), &self.known)?;
        }
        Ok(records)
    }

    fn look_into(
        &self,
        places: Both<Place>,
        runs: Both<&StudyRun>,
    ) -> anyhow::Result<InsideRecord> {
        let shifts = shifts(runs.map(|run| run.ranks.text_to_image.as_slice()));
        let shown: BTreeSet<usize> = shifts.gained.iter().chain(&shifts.lost).copied().collect();
        let split = self.ground.judged();
        let look = |place, run: &StudyRun| -> anyhow::Result<Look> {
            let trained = self.study.trained(place);
            let checkpoint = Checkpoint::open(&self.study.directory(self.root, trained))?;
            let seen = Seen {
                model: &checkpoint.model(&self.ground.device)?,
                split,
                threshold: run.evaluation.threshold,
            };
            Ok(look(&seen, &shown)?)
        };
        let looks = Both {
            setting: look(places.setting, runs.setting)?,
            baseline: look(places.baseline, runs.baseline)?,
        };
        let text = |caption: usize| {
            let image = split.image_of_caption[caption];
            (split.captions[caption].clone(), split.ids[image].clone())
        };
        Ok(inside(runs, &shifts, looks.as_ref(), &text))
    }

    /// `None` when it was stopped; it is saved then.
    fn trained(&self, place: Place, stop: &AtomicBool) -> anyhow::Result<Option<StudyRun>> {
        let job = Job {
            name: self.study.title(place),
            config: self.study.config(place),
            directory: self.study.directory(self.root, place),
        };
        let mut progress = Progress::new(&job.name, Lines::Notes);
        let judged = jobs::run(&job, self.ground, Start::Resume, &mut progress, stop)?;
        judged
            .map(|judged| self.result(place, judged.record, &judged.best))
            .transpose()
    }

    /// The best checkpoint of another setting with the threshold that is asked for.
    fn evaluated(&self, place: Place) -> anyhow::Result<StudyRun> {
        let source = self.study.trained(place);
        let checkpoint = Checkpoint::open(&self.study.directory(self.root, source))?;
        let asked = self.study.setting(place).plan.threshold;
        let Ground { device, .. } = self.ground;
        let best = evaluate_best(&checkpoint, self.ground.judged(), device, asked)?;
        let trained = self.results.get(&source).with_context(|| {
            let title = self.study.title(source);
            format!("{title} is evaluated before it is trained")
        })?;
        self.result(place, trained.run.clone(), &best)
    }

    fn result(&self, place: Place, run: RunRecord, best: &Best) -> anyhow::Result<StudyRun> {
        let plan = &self.study.setting(place).plan;
        let judged = self.ground.judged();
        let truth = GroundTruth::from_image_of_caption(&judged.image_of_caption, judged.images())?;
        Ok(StudyRun {
            run: RunRecord {
                name: plan.name.clone(),
                test: None,
                ..run
            },
            asked: plan.threshold,
            evaluation: best.evaluation.record.clone(),
            evaluation_data_hash: judged.data_hash()?,
            ranks: ranks(&best.evaluation.similarities, &truth)?,
            matching_seconds: best.matching_seconds,
        })
    }
}
