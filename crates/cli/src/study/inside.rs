//! What is inside of the settings that a study asks about, and is that known already?

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use uard_training::checkpoint::Checkpoint;
use uard_training::study::StudyRun;
use uard_training::study::inside::{
    Both, InsideRecord, InsideRun, Look, Seen, Shifts, inside, shifts,
};

use super::plan::{Place, Study};
use super::results::Results;
use crate::records::{read_json, write_json};
use crate::terminal::note;
use crate::train::jobs::Ground;

const FILE: &str = "inside.json";

/// Looks into the settings whose runs are done, and keeps what was seen.
pub struct Insides<'a> {
    study: &'a Study,
    root: &'a Path,
    known: Vec<InsideRecord>,
}

impl<'a> Insides<'a> {
    /// With what was seen before.
    pub fn open(study: &'a Study, root: &'a Path) -> anyhow::Result<Self> {
        let known = read_json(&root.join(FILE))?.unwrap_or_default();
        Ok(Self { study, root, known })
    }

    /// What can be seen by now, in the order of the study.
    pub fn records(
        &mut self,
        results: &Results,
        ground: &Ground,
    ) -> anyhow::Result<Vec<InsideRecord>> {
        let mut records = Vec::new();
        for pair in self.study.insides() {
            let (Some(setting), Some(baseline)) =
                (results.get(&pair.setting), results.get(&pair.baseline))
            else {
                continue;
            };
            let runs = Both { setting, baseline };
            if let Some(known) = self.known.iter().find(|known| is_of(known, &runs)) {
                records.push(known.clone());
                continue;
            }
            let title = self.study.title(pair.setting);
            note(&format!("looking into {title}"));
            let seen = self.look(&pair, &runs, ground);
            let record = seen.with_context(|| format!("looking into {title}"))?;
            self.known.push(record.clone());
            write_json(&self.root.join(FILE), &self.known)?;
            records.push(record);
        }
        Ok(records)
    }

    fn look(
        &self,
        pair: &Both<Place>,
        runs: &Both<&StudyRun>,
        ground: &Ground,
    ) -> anyhow::Result<InsideRecord> {
        let shifts = shifts(&Both {
            setting: &runs.setting.text_to_image,
            baseline: &runs.baseline.text_to_image,
        });
        let setting = self.one(pair.setting, runs.setting, &shifts, ground)?;
        let baseline = self.one(pair.baseline, runs.baseline, &shifts, ground)?;
        let seen = Both {
            setting: &setting,
            baseline: &baseline,
        };
        let split = ground.judged();
        let text = |caption: usize| {
            let image = split.image_of_caption[caption];
            (split.captions[caption].clone(), split.ids[image].clone())
        };
        Ok(inside(runs, &shifts, &seen, &text))
    }

    fn one(
        &self,
        place: Place,
        run: &StudyRun,
        shifts: &Shifts,
        ground: &Ground,
    ) -> anyhow::Result<Look> {
        let directory = self.study.directory(self.root, self.study.trained(place));
        let checkpoint = Checkpoint::open(&directory)?;
        let shown: BTreeSet<usize> = shifts.gained.iter().chain(&shifts.lost).copied().collect();
        let seen = Seen {
            model: &checkpoint.model(&ground.device)?,
            tokenizer: &checkpoint.text()?,
            split: ground.judged(),
            threshold: run.evaluation.threshold,
        };
        Ok(Look::at(&seen, &shown)?)
    }
}

fn is_of(known: &InsideRecord, runs: &Both<&StudyRun>) -> bool {
    known.of.setting == InsideRun::of(runs.setting)
        && known.of.baseline == InsideRun::of(runs.baseline)
        && known.seed == runs.setting.run.seed
}
