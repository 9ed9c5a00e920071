//! Summarises the finished runs of a study: means of each setting, and its difference to the
//! baseline.

use uard_eval::{ImageHits, PairedDifference, Result, Spread, bootstrap_difference};

use super::{
    DifferenceRecord, EpochNumbers, Means, RunNumbers, SettingPlan, SettingRecord, StudyRecord,
    StudyRun, sample_errors,
};
use crate::record::EpochRecord;

/// Number of resamples of the interval over images. For normally distributed differences the
/// standard error of each end is then √(0.025 · 0.975 / 2000) / 0.0584 = 0.060 standard deviations,
/// which is 1.5 % of the interval's width of 3.92 standard deviations.
pub const RESAMPLES: usize = 2_000;

/// Name, command, baseline, split and device of a study, without its settings.
#[derive(Debug, Clone, Copy)]
pub struct StudyDescription<'a> {
    /// Name of the study.
    pub name: &'a str,
    /// The command, as typed.
    pub command: &'a str,
    /// The setting that all others are compared with.
    pub baseline: &'a str,
    /// Name of the reported split.
    pub split: &'a str,
    /// Name of the device that computes.
    pub device: &'a str,
    /// The image of each caption of the reported split.
    pub image_of_caption: &'a [usize],
}

/// A setting with its finished runs, in the order of its seeds.
#[derive(Debug, Clone)]
pub struct FinishedRuns<'a> {
    /// The setting.
    pub plan: &'a SettingPlan,
    /// The setting's finished runs.
    pub runs: Vec<&'a StudyRun>,
}

/// Summarises the runs that are done.
///
/// Every setting is compared with the baseline on the same resamples of images: each call of
/// `draws` must return a generator that starts the same sequence anew; the generator returns a
/// number below its argument.
///
/// # Errors
/// When runs were evaluated on different splits.
pub fn summarise<D: FnMut(usize) -> usize>(
    study: &StudyDescription<'_>,
    settings: &[FinishedRuns<'_>],
    draws: impl Fn() -> D,
) -> Result<StudyRecord> {
    let baseline = settings
        .iter()
        .find(|setting| setting.plan.name == study.baseline);
    let record = |setting: &FinishedRuns<'_>| {
        let difference = match baseline {
            Some(baseline) if setting.plan.name != study.baseline => {
                difference(setting, baseline, study.image_of_caption, &mut draws())?
            }
            _ => None,
        };
        Ok(setting_record(setting, difference))
    };
    let first = settings.iter().find_map(|setting| setting.runs.first());
    let hash =
        |read: fn(&StudyRun) -> &String| first.map_or(String::new(), |run| read(run).clone());
    Ok(StudyRecord {
        name: study.name.to_owned(),
        command: study.command.to_owned(),
        baseline: study.baseline.to_owned(),
        split: study.split.to_owned(),
        data_hash: hash(|run| &run.run.data_hash),
        evaluation_data_hash: hash(|run| &run.evaluation_data_hash),
        device: study.device.to_owned(),
        planned_runs: settings
            .iter()
            .map(|setting| setting.plan.seeds.len())
            .sum(),
        finished_runs: settings.iter().map(|setting| setting.runs.len()).sum(),
        settings: settings.iter().map(record).collect::<Result<_>>()?,
    })
}

fn setting_record(
    setting: &FinishedRuns<'_>,
    difference: Option<DifferenceRecord>,
) -> SettingRecord {
    let runs: Vec<RunNumbers> = setting.runs.iter().map(|run| run_numbers(run)).collect();
    let masks = setting.runs.first().is_some_and(|run| run.run.masks());
    SettingRecord {
        plan: setting.plan.clone(),
        means: means(&runs, masks),
        difference,
        runs,
    }
}

fn run_numbers(run: &StudyRun) -> RunNumbers {
    let trained = &run.run;
    let (masks, penalty) = (trained.masks(), trained.penalty());
    let errors = |epoch: &EpochRecord, threshold: f64| {
        sample_errors(&epoch.hills, penalty, threshold).filter(|_| masks)
    };
    let epoch_numbers = |epoch: &EpochRecord| EpochNumbers {
        epoch: epoch.epoch,
        rsum: epoch.dev.retrieval.rsum,
        threshold: masks.then_some(epoch.threshold),
        errors: errors(epoch, epoch.threshold),
    };
    // A setting that only evaluates the models of another has no epochs of its own.
    let own_epochs = trained.epochs.iter().filter(|_| run.asked.is_none());
    let best = trained.best_epoch();
    RunNumbers {
        seed: trained.seed,
        evaluation: run.evaluation.clone(),
        best_epoch: trained.best_epoch,
        errors: best.and_then(|best| errors(best, run.evaluation.threshold)),
        seconds: trained.seconds,
        matching_seconds: run.matching_seconds,
        epochs: own_epochs.map(epoch_numbers).collect(),
    }
}

fn means(runs: &[RunNumbers], masks: bool) -> Option<Means> {
    let known = |read: fn(&RunNumbers) -> Option<f64>| {
        Spread::from_values(&runs.iter().filter_map(read).collect::<Vec<f64>>())
    };
    let every = |read: fn(&RunNumbers) -> f64| {
        Spread::from_values(&runs.iter().map(read).collect::<Vec<f64>>())
    };
    Some(Means {
        rsum: every(|run| run.evaluation.retrieval.rsum)?,
        image_to_text_r1: every(|run| run.evaluation.retrieval.image_to_text.r1)?,
        text_to_image_r1: every(|run| run.evaluation.retrieval.text_to_image.r1)?,
        threshold: every(|run| run.evaluation.threshold).filter(|_| masks),
        word_queries: every(|run| run.evaluation.kept.word_queries)?,
        region_queries: every(|run| run.evaluation.kept.region_queries)?,
        cells: every(|run| run.evaluation.kept.cells)?,
        modelled_error: known(|run| Some(run.errors?.modelled?.error)),
        measured_error: known(|run| Some(run.errors?.measured?.error)),
        seconds: every(|run| run.seconds)?,
        matching_seconds: every(|run| run.matching_seconds)?,
    })
}

/// The difference of a setting to the baseline over the seeds that both have; `None` without a
/// common seed.
fn difference(
    ours: &FinishedRuns<'_>,
    theirs: &FinishedRuns<'_>,
    image_of_caption: &[usize],
    draw: &mut dyn FnMut(usize) -> usize,
) -> Result<Option<DifferenceRecord>> {
    let pairs = ours.runs.iter().filter_map(|run| {
        let mut others = theirs.runs.iter();
        Some((*run, *others.find(|other| other.run.seed == run.run.seed)?))
    });
    let pairs: Vec<(&StudyRun, &StudyRun)> = pairs.collect();
    let rsum = |run: &StudyRun| run.evaluation.retrieval.rsum;
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().map(|(a, b)| (rsum(a), rsum(b))).unzip();
    let Some(rsum) = PairedDifference::between(&a, &b)? else {
        return Ok(None);
    };
    let hits = |run: &StudyRun| ImageHits::count(&run.ranks, image_of_caption);
    let hits = pairs.iter().map(|(a, b)| Ok((hits(a)?, hits(b)?)));
    let hits = hits.collect::<Result<Vec<(ImageHits, ImageHits)>>>()?;
    let hits: Vec<(&ImageHits, &ImageHits)> = hits.iter().map(|(a, b)| (a, b)).collect();
    Ok(Some(DifferenceRecord {
        seeds: pairs.iter().map(|(ours, _)| ours.run.seed).collect(),
        rsum,
        of_queries: bootstrap_difference(&hits, RESAMPLES, draw)?,
    }))
}
