//! Which way the threshold fell, in sentences written from the numbers.

use super::runs::subject;
use crate::comparison::{Results, RunResult};
use crate::numbers::{capitalised, counted, enumerate, fixed, percent};
use crate::record::SplitRecord;

/// Differences of rsum below this are called none: a recall is printed to a tenth.
const SAME_RSUM: f64 = 0.05;

/// The outcome in one sentence: the first run against the second.
pub(super) fn outcome(results: &Results) -> String {
    let [first, others @ ..] = results.rows.as_slice() else {
        return "No epoch has been evaluated yet.".to_owned();
    };
    let (split, name, ours) = (results.split, subject(first.run), first.of);
    let Some(second) = others.first() else {
        return format!(
            "With {name} the model reaches rsum {} on {split} and computes {} of the region-word \
             cells.",
            fixed(ours.retrieval.rsum, 1),
            percent(ours.kept.cells)
        );
    };
    let recall = match ours.retrieval.rsum - second.of.retrieval.rsum {
        gain if !gain.is_finite() => "has no comparable recall".to_owned(),
        gain if gain.abs() < SAME_RSUM => "neither gains nor loses recall".to_owned(),
        gain if gain > 0.0 => format!("gains {} points of rsum", fixed(gain, 1)),
        gain => format!("loses {} points of rsum", fixed(-gain, 1)),
    };
    let work = match 1.0 - ours.kept.cells / second.of.kept.cells {
        spared if !spared.is_finite() || spared.abs() < 0.005 => {
            "spares no region-word cells".to_owned()
        }
        spared if spared > 0.0 => format!("spares {} of the region-word cells", percent(spared)),
        spared => format!("computes {} more region-word cells", percent(-spared)),
    };
    format!(
        "Against {}, {name} {recall} on {split} and {work}.",
        subject(second.run)
    )
}

/// Recall, work, alignment and doubt: what each is about and one sentence, written from the numbers.
pub(super) fn verdict(results: &Results) -> Vec<(&'static str, String)> {
    let [first, others @ ..] = results.rows.as_slice() else {
        return Vec::new();
    };
    let sentences = [
        (
            "Recall",
            (!others.is_empty()).then(|| recall(first, others)),
        ),
        ("Work", Some(work(first.of, others))),
        ("Alignment", alignment(first.of, others)),
        ("Doubt", Some(doubt(first.of, others.len() + 1))),
    ];
    let known = |(about, says): (_, Option<String>)| Some((about, says?));
    sentences.into_iter().filter_map(known).collect()
}

fn recall(first: &RunResult, others: &[RunResult]) -> String {
    let rsum = first.of.retrieval.rsum;
    let against = |other: &RunResult| {
        let theirs = other.of.retrieval.rsum;
        let place = match rsum - theirs {
            gain if !gain.is_finite() => "not comparable with".to_owned(),
            gain if gain.abs() < SAME_RSUM => "equal to".to_owned(),
            gain if gain > 0.0 => format!("{} above", fixed(gain, 1)),
            gain => format!("{} below", fixed(-gain, 1)),
        };
        format!("{place} {} ({})", subject(other.run), fixed(theirs, 1))
    };
    format!(
        "{} reaches rsum {}: {}.",
        capitalised(&subject(first.run)),
        fixed(rsum, 1),
        each(others, against)
    )
}

/// What there is to say of some runs, as one list.
fn each<T: Into<Option<String>>>(runs: &[RunResult], say: impl Fn(&RunResult) -> T) -> String {
    let said: Vec<String> = runs.iter().filter_map(|run| say(run).into()).collect();
    enumerate(&said)
}

fn work(ours: &SplitRecord, others: &[RunResult]) -> String {
    let kept = ours.kept;
    let compared = each(others, |other| {
        let theirs = other.of.kept.cells;
        let amount = match theirs / kept.cells {
            ratio if !ratio.is_finite() => format!("computes {} of the cells", percent(theirs)),
            ratio if ratio > 1.05 => format!("computes {} times as many cells", fixed(ratio, 1)),
            ratio if ratio < 0.95 => format!("computes {} of that many cells", percent(ratio)),
            _ => "computes about as many cells".to_owned(),
        };
        format!("{} {amount}", subject(other.run))
    });
    format!(
        "Over all pairs {} of word queries, {} of region queries and {} of region-word cells \
         survive{}{compared}.",
        percent(kept.word_queries),
        percent(kept.region_queries),
        percent(kept.cells),
        if compared.is_empty() { "" } else { "; " },
    )
}

fn alignment(ours: &SplitRecord, others: &[RunResult]) -> Option<String> {
    let truth = ours.alignment?;
    let compared = each(others, |other| {
        let theirs = other.of.alignment?;
        Some(format!(
            "{} has precision {}, recall {} and best region {}",
            subject(other.run),
            percent(theirs.precision),
            percent(theirs.recall),
            percent(theirs.best_region_accuracy)
        ))
    });
    Some(format!(
        "Of the cells it keeps in matched pairs {} are true, and of the true ones it keeps {}; the \
         best region shows the word for {} of content words{}{}.",
        percent(truth.precision),
        percent(truth.recall),
        percent(truth.best_region_accuracy),
        if compared.is_empty() { "" } else { ". " },
        capitalised(&compared)
    ))
}

/// The binomial standard error of R@1: how far chance alone carries a result.
fn doubt(ours: &SplitRecord, runs: usize) -> String {
    let retrieval = &ours.retrieval;
    let error = |percent: f64, queries: usize| {
        let p = (percent / 100.0).clamp(0.0, 1.0);
        fixed(100.0 * (p * (1.0 - p) / queries.max(1) as f64).sqrt(), 1)
    };
    format!(
        "{} and {}, one seed{}: the standard error of R@1 is {} points for images asking and {} for \
         captions asking.",
        counted(retrieval.images, "image"),
        counted(retrieval.captions, "caption"),
        if runs > 1 { " a run" } else { "" },
        error(retrieval.image_to_text.r1, retrieval.images),
        error(retrieval.text_to_image.r1, retrieval.captions)
    )
}
