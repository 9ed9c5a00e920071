//! Which way did the threshold fall, in sentences written from the numbers?

use super::markup::escape;
use super::numbers::{capitalised, counted, enumerate, fixed, percent};
use super::runs::{Results, subject};
use crate::record::{RunRecord, SplitRecord};

/// Place in the report, run, and the result that is compared.
type Compared<'a> = (usize, &'a RunRecord, &'a SplitRecord);

/// Differences of rsum below this are called none: a recall is printed to a tenth.
const SAME_RSUM: f64 = 0.05;

/// The outcome in one sentence: the first run against the second.
pub(super) fn outcome(results: &Results) -> String {
    let rows = &results.rows;
    let Some(&(_, first, ours)) = rows.first() else {
        return "No epoch has been evaluated yet.".to_owned();
    };
    let split = escape(results.split);
    let name = escape(&subject(first));
    let rsum = fixed(ours.retrieval.rsum, 1);
    let Some(&(_, second, theirs)) = rows.get(1) else {
        return format!(
            "With {name} the model reaches rsum {rsum} on {split} and computes {} of the \
             region-word cells.",
            percent(ours.kept.cells)
        );
    };
    let gain = ours.retrieval.rsum - theirs.retrieval.rsum;
    let recall = if !gain.is_finite() {
        "has no comparable recall".to_owned()
    } else if gain.abs() < SAME_RSUM {
        "neither gains nor loses recall".to_owned()
    } else if gain > 0.0 {
        format!("gains {} points of rsum", fixed(gain, 1))
    } else {
        format!("loses {} points of rsum", fixed(-gain, 1))
    };
    let spared = 1.0 - ours.kept.cells / theirs.kept.cells;
    let work = if !spared.is_finite() || spared.abs() < 0.005 {
        "spares no region-word cells".to_owned()
    } else if spared > 0.0 {
        format!("spares {} of the region-word cells", percent(spared))
    } else {
        format!("computes {} more region-word cells", percent(-spared))
    };
    format!(
        "Against {}, {name} {recall} on {split} and {work}.",
        escape(&subject(second))
    )
}

/// Recall, work, alignment and doubt: one sentence each, written from the numbers.
pub(super) fn verdict(results: &Results) -> Vec<String> {
    let Some((&(_, run, ours), others)) = results.rows.split_first() else {
        return Vec::new();
    };
    let name = escape(&subject(run));
    let mut out = Vec::new();
    if !others.is_empty() {
        let against: Vec<String> = others
            .iter()
            .map(|other| rsum_against(ours, other))
            .collect();
        out.push(format!(
            "<b>Recall.</b> {} reaches rsum {}: {}.",
            capitalised(&name),
            fixed(ours.retrieval.rsum, 1),
            enumerate(&against)
        ));
    }
    out.push(work(ours, others));
    out.extend(alignment(ours, others));
    out.push(doubt(ours, others.len() + 1));
    out
}

fn rsum_against(ours: &SplitRecord, (_, run, theirs): &Compared) -> String {
    let gain = ours.retrieval.rsum - theirs.retrieval.rsum;
    let name = escape(&subject(run));
    let place = if !gain.is_finite() {
        "not comparable with".to_owned()
    } else if gain.abs() < SAME_RSUM {
        "equal to".to_owned()
    } else if gain > 0.0 {
        format!("{} above", fixed(gain, 1))
    } else {
        format!("{} below", fixed(-gain, 1))
    };
    format!("{place} {name} ({})", fixed(theirs.retrieval.rsum, 1))
}

fn work(ours: &SplitRecord, others: &[Compared]) -> String {
    let kept = ours.kept;
    let mut out = format!(
        "<b>Work.</b> Over all pairs {} of word queries, {} of region queries and {} of \
         region-word cells survive",
        percent(kept.word_queries),
        percent(kept.region_queries),
        percent(kept.cells)
    );
    let compare = |(_, run, theirs): &Compared| {
        let ratio = theirs.kept.cells / kept.cells;
        let amount = if !ratio.is_finite() {
            format!("computes {} of the cells", percent(theirs.kept.cells))
        } else if ratio > 1.05 {
            format!("computes {} times as many cells", fixed(ratio, 1))
        } else if ratio < 0.95 {
            format!("computes {} of that many cells", percent(ratio))
        } else {
            "computes about as many cells".to_owned()
        };
        format!("{} {amount}", escape(&subject(run)))
    };
    let compared: Vec<String> = others.iter().map(compare).collect();
    if !compared.is_empty() {
        out += &format!("; {}", enumerate(&compared));
    }
    out + "."
}

fn alignment(ours: &SplitRecord, others: &[Compared]) -> Option<String> {
    let truth = ours.alignment?;
    let mut out = format!(
        "<b>Alignment.</b> Of the cells it keeps in matched pairs {} are true, and of the true \
         ones it keeps {}; the best region shows the word for {} of content words",
        percent(truth.precision),
        percent(truth.recall),
        percent(truth.best_region_accuracy)
    );
    let compared: Vec<String> = others
        .iter()
        .filter_map(|(_, run, record)| {
            let theirs = record.alignment?;
            Some(format!(
                "{} has precision {}, recall {} and best region {}",
                escape(&subject(run)),
                percent(theirs.precision),
                percent(theirs.recall),
                percent(theirs.best_region_accuracy)
            ))
        })
        .collect();
    if !compared.is_empty() {
        out += &format!(". {}", capitalised(&enumerate(&compared)));
    }
    Some(out + ".")
}

/// The binomial standard error of R@1: how far chance alone carries a result.
fn doubt(ours: &SplitRecord, runs: usize) -> String {
    let retrieval = &ours.retrieval;
    let error = |percent: f64, queries: usize| {
        let p = (percent / 100.0).clamp(0.0, 1.0);
        fixed(100.0 * (p * (1.0 - p) / queries.max(1) as f64).sqrt(), 1)
    };
    let seeds = if runs > 1 {
        "one seed a run"
    } else {
        "one seed"
    };
    format!(
        "<b>Doubt.</b> {} and {}, {seeds}: the standard error of R@1 is {} points for images \
         asking and {} for captions asking.",
        capitalised(&counted(retrieval.images, "image")),
        counted(retrieval.captions, "caption"),
        error(retrieval.image_to_text.r1, retrieval.images),
        error(retrieval.text_to_image.r1, retrieval.captions)
    )
}
