//! Sentences that compare the first run with the others, made from their numbers.

use super::runs::subject;
use crate::comparison::{Results, RunResult};
use crate::numbers::{capitalised, counted, enumerate, fixed, percent};
use crate::record::SplitRecord;

/// Smaller differences of rsum are called equal, because rsum is printed with one decimal.
const SAME_RSUM: f64 = 0.05;

/// The outcome in one sentence: the first run compared with the second.
pub(super) fn outcome(results: &Results) -> String {
    let [first, others @ ..] = results.rows.as_slice() else {
        return "No epoch has been evaluated yet.".to_owned();
    };
    let (split, name, ours) = (results.split, subject(first.run), first.record);
    let Some(second) = others.first() else {
        return format!(
            "With {name}, the model reaches an rsum of {} on {split} and attends to {} of the \
             region-word cells.",
            fixed(ours.retrieval.rsum, 1),
            percent(ours.kept.cells)
        );
    };
    let theirs = second.record;
    let recall = match ours.retrieval.rsum - theirs.retrieval.rsum {
        gain if !gain.is_finite() => "has an rsum that cannot be compared".to_owned(),
        gain if gain.abs() < SAME_RSUM => "reaches the same rsum".to_owned(),
        gain if gain > 0.0 => format!("reaches {} points more rsum", fixed(gain, 1)),
        gain => format!("reaches {} points less rsum", fixed(-gain, 1)),
    };
    let work = match 1.0 - ours.kept.cells / theirs.kept.cells {
        fewer if !fewer.is_finite() || fewer.abs() < 0.005 => {
            "attends to about as many region-word cells".to_owned()
        }
        fewer if fewer > 0.0 => format!("attends to {} fewer region-word cells", percent(fewer)),
        fewer => format!("attends to {} more region-word cells", percent(-fewer)),
    };
    format!(
        "Compared with {}, {name} {recall} on {split} and {work}.",
        subject(second.run)
    )
}

/// A topic and a sentence on each of recall, attention, alignment and uncertainty.
pub(super) fn verdict(results: &Results) -> Vec<(&'static str, String)> {
    let [first, others @ ..] = results.rows.as_slice() else {
        return Vec::new();
    };
    let sentences = [
        (
            "Recall",
            (!others.is_empty()).then(|| recall(first, others)),
        ),
        ("Attention", Some(attention(first, others))),
        ("Alignment", alignment(first, others)),
        (
            "Uncertainty",
            Some(uncertainty(first.record, others.len() + 1)),
        ),
    ];
    let known = |(topic, text): (_, Option<String>)| Some((topic, text?));
    sentences.into_iter().filter_map(known).collect()
}

fn recall(first: &RunResult, others: &[RunResult]) -> String {
    let rsum = first.record.retrieval.rsum;
    let compared = |other: &RunResult| {
        let theirs = other.record.retrieval.rsum;
        let difference = match rsum - theirs {
            gain if !gain.is_finite() => "not comparable with".to_owned(),
            gain if gain.abs() < SAME_RSUM => "the same as".to_owned(),
            gain if gain > 0.0 => format!("{} more than", fixed(gain, 1)),
            gain => format!("{} less than", fixed(-gain, 1)),
        };
        format!("{difference} {} ({})", subject(other.run), fixed(theirs, 1))
    };
    format!(
        "{} reaches an rsum of {}: {}.",
        capitalised(&subject(first.run)),
        fixed(rsum, 1),
        each(others, compared)
    )
}

/// A part of a sentence for each run, as one list; runs without one are left out.
fn each<T: Into<Option<String>>>(runs: &[RunResult], text: impl Fn(&RunResult) -> T) -> String {
    let texts: Vec<String> = runs.iter().filter_map(|run| text(run).into()).collect();
    enumerate(&texts)
}

fn attention(first: &RunResult, others: &[RunResult]) -> String {
    let kept = first.record.kept;
    let compared = each(others, |other| {
        let theirs = other.record.kept.cells;
        let amount = match theirs / kept.cells {
            ratio if !ratio.is_finite() => format!("{} of all cells", percent(theirs)),
            ratio if ratio > 1.05 => format!("{} times as large", fixed(ratio, 1)),
            ratio if ratio < 0.95 => format!("{} as large", percent(ratio)),
            _ => "about the same".to_owned(),
        };
        format!("{amount} with {}", subject(other.run))
    });
    format!(
        "With {}, over all pairs of images and captions, {} of the word queries, {} of the region \
         queries and {} of the region-word cells are above the threshold{}{}.",
        subject(first.run),
        percent(kept.word_queries),
        percent(kept.region_queries),
        percent(kept.cells),
        match compared.as_str() {
            "" => "",
            _ => ". The number of such cells is ",
        },
        compared
    )
}

fn alignment(first: &RunResult, others: &[RunResult]) -> Option<String> {
    let truth = first.record.alignment?;
    let compared = each(others, |other| {
        let theirs = other.record.alignment?;
        Some(format!(
            "{} has precision {}, recall {} and best region {}",
            subject(other.run),
            percent(theirs.precision),
            percent(theirs.recall),
            percent(theirs.best_region_accuracy)
        ))
    });
    Some(format!(
        "In matched pairs with {}, {} of the cells above the threshold are true (precision), and {} \
         of the true cells are above the threshold (recall). For {} of the content words, the most \
         relevant region truly shows the word (best region){}{}.",
        subject(first.run),
        percent(truth.precision),
        percent(truth.recall),
        percent(truth.best_region_accuracy),
        if compared.is_empty() { "" } else { ". " },
        capitalised(&compared)
    ))
}

/// The binomial standard error of R@1 of the first run.
fn uncertainty(ours: &SplitRecord, runs: usize) -> String {
    let retrieval = &ours.retrieval;
    let error = |percent: f64, queries: usize| {
        let p = (percent / 100.0).clamp(0.0, 1.0);
        fixed(100.0 * (p * (1.0 - p) / queries.max(1) as f64).sqrt(), 1)
    };
    format!(
        "With {} and {}, the standard error of R@1 is {} points from image to text and {} points \
         from text to image. {} one seed, so differences of this size may be chance.",
        counted(retrieval.images, "image"),
        counted(retrieval.captions, "caption"),
        error(retrieval.image_to_text.r1, retrieval.images),
        error(retrieval.text_to_image.r1, retrieval.captions),
        match runs {
            1 => "This run has",
            _ => "Each run has",
        }
    )
}
