//! The section of a study's page that compares one setting with the baseline by words, captions and
//! regions.

use maud::{Markup, html};

use super::examples::Colouring;
use super::{Row, folded, table, table_of};
use crate::numbers::{counted, fixed, grouped, known, percent};
use crate::study::inside::{CaptionShift, FIRST, FoundByOne, InsideRecord, WordRecord};

/// The comparison of one setting with the baseline.
pub(super) fn inside(record: &InsideRecord) -> Markup {
    let [setting, baseline] = record.of.as_ref().each().map(|run| run.name.as_str());
    html! {
        h3 { (setting) " compared with " (baseline) ", seed " (record.seed) }
        (found(record))
        (words(record, "answered most often", &record.most_answered))
        (words(record, "answered least often", &record.least_answered))
        (shifts(record, setting, &record.gained))
        (shifts(record, baseline, &record.lost))
    }
}

/// Sentences on how many queries have a match among the first [`FIRST`] results with only one of
/// the two runs, and on the fraction of regions that are above the threshold for no word.
fn found(record: &InsideRecord) -> Markup {
    let [setting, baseline] = record.of.as_ref().each().map(|run| run.name.as_str());
    let alone = |found: &FoundByOne, what: &str| {
        let [ours, theirs] = [found.setting, found.baseline].map(|count| {
            let share = count as f64 / found.queries.max(1) as f64;
            format!("{} ({})", grouped(count), percent(share))
        });
        format!(
            "Of {}, {ours} have a match among the first {FIRST} results with {setting} but not with \
             {baseline}, and {theirs} with {baseline} but not with {setting}.",
            counted(found.queries, what)
        )
    };
    let [ours, theirs] = record.unreached.each();
    html! {
        ul.verdict {
            li { (alone(&record.captions, "caption")) }
            li { (alone(&record.images, "image")) }
            li {
                "The average fraction of an image’s regions that are above the threshold for no word "
                "of its caption is " (percent(ours.by_caption)) " with " (setting) " and "
                (percent(theirs.by_caption)) " with " (baseline)
                ". For no word of any of the image’s captions, it is " (percent(ours.by_image))
                " with " (setting) " and " (percent(theirs.by_image)) " with " (baseline) "."
            }
        }
    }
}

fn words(record: &InsideRecord, which: &str, words: &[WordRecord]) -> Markup {
    if words.is_empty() {
        return html! {};
    }
    let of = &record.of;
    let answered = of.as_ref().map(|run| format!("{}: answered", run.name));
    let rows = words.iter().map(|word| {
        let mut cells = vec![("occurrences", grouped(word.occurrences))];
        for (found, answered) in word.found.each().into_iter().zip(answered.as_ref().each()) {
            cells.push((answered, percent(found.answered)));
            cells.push(("own image", fixed(found.matched, 2)));
            let other = known(found.mismatched, |mean| fixed(mean, 2));
            cells.push(("other image", other));
        }
        let name = &word.word;
        Row { name, cells }
    });
    let rows: Vec<Row> = rows.collect();
    let caption = format!(
        "The words that are {which} with {}, of the {} with at least {} occurrences. “answered” \
         is the fraction of occurrences whose highest relevance in the caption’s own image is above \
         the threshold ({} with {}, {} with {}); “own image” is the mean of that relevance, “other \
         image” its mean in an image that does not match.",
        of.setting.name,
        counted(record.words, "word"),
        record.fewest,
        fixed(of.setting.threshold, 3),
        of.setting.name,
        fixed(of.baseline.threshold, 3),
        of.baseline.name
    );
    let table = table_of(&caption, "word", &rows);
    folded(&format!("Words {which}"), &table)
}

/// Captions whose own image has a better rank with the run named `better`.
fn shifts(record: &InsideRecord, better: &str, shifts: &[CaptionShift]) -> Markup {
    if shifts.is_empty() {
        return html! {};
    }
    let names = || record.of.as_ref().each().into_iter();
    let head: Vec<String> = std::iter::once("image".to_owned())
        .chain(names().map(|run| format!("rank with {}", run.name)))
        .chain(names().map(|run| format!("words with {}", run.name)))
        .collect();
    let rows = html! { tbody { @for shift in shifts { (shift_row(record, shift)) } } };
    let table = table(
        "Words are coloured by their highest relevance in the caption’s own image, from the \
         threshold to the highest relevance of the line. Words that are not above the threshold are \
         struck out.",
        &head,
        &rows,
    );
    let summary = format!("Captions whose own image has a better rank with {better}");
    folded(&summary, &table)
}

fn shift_row(record: &InsideRecord, shift: &CaptionShift) -> Markup {
    let words = shift.words.as_ref().each();
    let written = words
        .into_iter()
        .zip(record.of.as_ref().each())
        .map(|(words, run)| {
            let all = shift.words.as_ref().each().into_iter().flatten();
            Colouring::new(Some(run.threshold), all).caption(&shift.caption, words, &[])
        });
    html! {
        tr {
            th scope="row" { (shift.image) }
            @for rank in shift.rank.each() { td { (rank) } }
            @for caption in written { td.written { (caption) } }
        }
    }
}
