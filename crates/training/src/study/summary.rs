//! How do runs become one line for each setting?

use rand::Rng;
use uard_core::random::Draws;
use uard_eval::{ImageHits, Interval, PairedDifference, Spread, bootstrap_difference};

use super::{
    DifferenceRecord, EpochNumbers, Means, RunNumbers, SettingPlan, SettingRecord, StudyRecord,
    StudyRun, sample_errors,
};
use crate::Result;
use crate::config::TrainConfig;

/// Resamples behind the interval over queries: for a normal difference the standard error of each
/// end is 1.5 % of the interval's width, √(0.025 · 0.975 / 2000) / 0.0584 of a deviation of 3.92.
pub const RESAMPLES: usize = 2_000;

/// What a study asks for, beside its settings.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Name of the study.
    pub name: &'a str,
    /// The command, as typed.
    pub command: &'a str,
    /// The setting that differences are taken against.
    pub baseline: &'a str,
    /// Split that is reported.
    pub split: &'a str,
    /// Where tensors live.
    pub device: &'a str,
    /// The image of each caption of the reported split.
    pub image_of_caption: &'a [usize],
}

/// A setting with those of its runs that are done, in the order of its seeds.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'a> {
    /// What was asked for.
    pub plan: &'a SettingPlan,
    /// What is done.
    pub runs: &'a [&'a StudyRun],
}

/// The study so far.
///
/// Every setting is compared with the baseline on the same resamples of images, drawn from a seed
/// of their own.
///
/// # Errors
/// When a run holds no valid configuration, or runs were evaluated on different splits.
pub fn summarise(asked: &Asked<'_>, settings: &[Settled<'_>]) -> Result<StudyRecord> {
    let baseline = settings
        .iter()
        .find(|setting| setting.plan.name == asked.baseline);
    let settled = |setting: &Settled<'_>| {
        let difference = match baseline {
            Some(baseline) if setting.plan.name != asked.baseline => {
                difference(setting.runs, baseline.runs, asked.image_of_caption)?
            }
            _ => None,
        };
        setting_record(setting, difference)
    };
    let first = settings.iter().find_map(|setting| setting.runs.first());
    Ok(StudyRecord {
        name: asked.name.to_owned(),
        command: asked.command.to_owned(),
        baseline: asked.baseline.to_owned(),
        split: asked.split.to_owned(),
        data_hash: first
            .map(|run| run.run.data_hash.clone())
            .unwrap_or_default(),
        evaluation_data_hash: first
            .map(|run| run.evaluation_data_hash.clone())
            .unwrap_or_default(),
        device: asked.device.to_owned(),
        planned_runs: settings
            .iter()
            .map(|setting| setting.plan.seeds.len())
            .sum(),
        finished_runs: settings.iter().map(|setting| setting.runs.len()).sum(),
        settings: settings.iter().map(settled).collect::<Result<_>>()?,
    })
}

fn setting_record(
    setting: &Settled<'_>,
    difference: Option<DifferenceRecord>,
) -> Result<SettingRecord> {
    let runs = setting.runs.iter().map(|run| run_numbers(run));
    let runs = runs.collect::<Result<Vec<RunNumbers>>>()?;
    let masked = match setting.runs.first() {
        Some(run) => config_of(run)?.matcher.has_masks(),
        None => false,
    };
    Ok(SettingRecord {
        plan: setting.plan.clone(),
        means: means(&runs, masked),
        difference,
        runs,
    })
}

fn config_of(run: &StudyRun) -> Result<TrainConfig> {
    let origin = format!("the result of {}, seed {}", run.run.name, run.run.seed);
    TrainConfig::from_toml(&run.run.config, &origin)
}

fn run_numbers(run: &StudyRun) -> Result<RunNumbers> {
    let config = config_of(run)?;
    let penalty = config.threshold.penalty;
    let masked = config.matcher.has_masks();
    let trained = &run.run;
    let best = trained
        .epochs
        .iter()
        .find(|epoch| epoch.epoch == trained.best_epoch);
    let errors = best.and_then(|best| {
        sample_errors(&best.hills, penalty, run.evaluation.threshold).filter(|_| masked)
    });
    // The curves of a setting that trained nothing are those of the setting that did.
    let drawn = trained.epochs.iter().filter(|_| run.asked.is_none());
    Ok(RunNumbers {
        seed: trained.seed,
        evaluation: run.evaluation.clone(),
        best_epoch: trained.best_epoch,
        errors,
        seconds: trained.seconds,
        matching_seconds: run.matching_seconds,
        epochs: drawn
            .map(|epoch| EpochNumbers {
                epoch: epoch.epoch,
                rsum: epoch.dev.retrieval.rsum,
                threshold: masked.then_some(epoch.threshold),
                errors: sample_errors(&epoch.hills, penalty, epoch.threshold).filter(|_| masked),
            })
            .collect(),
    })
}

fn means(runs: &[RunNumbers], masked: bool) -> Option<Means> {
    let every =
        |read: fn(&RunNumbers) -> f64| Spread::of(&runs.iter().map(read).collect::<Vec<f64>>());
    let known = |read: fn(&RunNumbers) -> Option<f64>| {
        Spread::of(&runs.iter().filter_map(read).collect::<Vec<f64>>())
    };
    Some(Means {
        rsum: every(|run| run.evaluation.retrieval.rsum)?,
        image_to_text_r1: every(|run| run.evaluation.retrieval.image_to_text.r1)?,
        text_to_image_r1: every(|run| run.evaluation.retrieval.text_to_image.r1)?,
        threshold: every(|run| run.evaluation.threshold).filter(|_| masked),
        word_queries: every(|run| run.evaluation.kept.word_queries)?,
        region_queries: every(|run| run.evaluation.kept.region_queries)?,
        cells: every(|run| run.evaluation.kept.cells)?,
        modelled_error: known(|run| Some(run.errors?.modelled?.error)),
        measured_error: known(|run| Some(run.errors?.measured?.error)),
        seconds: every(|run| run.seconds)?,
        matching_seconds: every(|run| run.matching_seconds)?,
    })
}

/// Over the seeds that both have; nothing without one.
fn difference(
    ours: &[&StudyRun],
    theirs: &[&StudyRun],
    image_of_caption: &[usize],
) -> Result<Option<DifferenceRecord>> {
    let mut pairs: Vec<(&StudyRun, &StudyRun)> = Vec::new();
    for run in ours {
        let same_seed = |other: &&&StudyRun| other.run.seed == run.run.seed;
        pairs.extend(theirs.iter().find(same_seed).map(|other| (*run, *other)));
    }
    let rsum = |run: &StudyRun| run.evaluation.retrieval.rsum;
    let (a, b): (Vec<f64>, Vec<f64>) = pairs
        .iter()
        .map(|(ours, theirs)| (rsum(ours), rsum(theirs)))
        .unzip();
    let Some(rsum) = PairedDifference::of(&a, &b)? else {
        return Ok(None);
    };
    Ok(Some(DifferenceRecord {
        seeds: pairs.iter().map(|(ours, _)| ours.run.seed).collect(),
        rsum,
        of_queries: of_queries(&pairs, image_of_caption)?,
    }))
}

fn of_queries(
    pairs: &[(&StudyRun, &StudyRun)],
    image_of_caption: &[usize],
) -> Result<Option<Interval>> {
    let hits = |run: &StudyRun| ImageHits::of(&run.ranks(), image_of_caption);
    let counted = pairs
        .iter()
        .map(|(ours, theirs)| Ok((hits(ours)?, hits(theirs)?)))
        .collect::<uard_eval::Result<Vec<(ImageHits, ImageHits)>>>()?;
    let pairs: Vec<(&ImageHits, &ImageHits)> = counted.iter().map(|(a, b)| (a, b)).collect();
    let mut stream = Draws::new(0).stream("images of a study", &[]);
    let mut draw = |count: usize| stream.random_range(0..count);
    Ok(bootstrap_difference(&pairs, RESAMPLES, &mut draw)?)
}
