//! In which words, captions and regions a setting differs from the baseline.

use maud::{Markup, html};

use super::examples::Colouring;
use super::{Row, folded, table, table_of};
use crate::numbers::{counted, fixed, grouped, known, percent};
use crate::study::inside::{CaptionShift, FIRST, FoundByOne, InsideRecord, WordRecord};

/// A setting that was looked into.
pub(super) fn inside(record: &InsideRecord) -> Markup {
    let [setting, baseline] = record.of.as_ref().each().map(|of| of.name.as_str());
    html! {
        h3 { (setting) " beside " (baseline) ", seed " (record.seed) }
        (found(record))
        (words(record, "answered most often", &record.most_answered))
        (words(record, "answered least often", &record.least_answered))
        (shifts(record, setting, &record.gained))
        (shifts(record, baseline, &record.lost))
    }
}

/// Sentences on what one of both finds alone, and on regions.
fn found(record: &InsideRecord) -> Markup {
    let [setting, baseline] = record.of.as_ref().each().map(|of| of.name.as_str());
    let alone = |found: &FoundByOne, what: &str| {
        let [ours, theirs] = [found.setting, found.baseline].map(|count| {
            let share = count as f64 / found.queries.max(1) as f64;
            format!("{} ({})", grouped(count), percent(share))
        });
        format!(
            "Of {}, {setting} alone finds a match of {ours} among the first {FIRST}, {baseline} \
             alone of {theirs}.",
            counted(found.queries, what)
        )
    };
    let [ours, theirs] = record.unreached.each();
    html! {
        ul.verdict {
            li { (alone(&record.captions, "caption")) }
            li { (alone(&record.images, "image")) }
            li {
                "Of the regions of a matched image, on average " (percent(ours.by_caption))
                " are above the threshold for no word of the caption with " (setting) ", "
                (percent(theirs.by_caption)) " with " (baseline)
                "; for no word of any of its captions, " (percent(ours.by_image)) " and "
                (percent(theirs.by_image)) "."
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
        let mut cells = vec![("occurs", grouped(word.occurrences))];
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
        "Words that {} {which}, of {} with {} occurrences or more: share of occurrences whose \
         highest relevance in the own image is above t ({} and {}), and the mean of that relevance \
         in the own image and in another.",
        of.setting.name,
        grouped(record.words),
        record.fewest,
        fixed(of.setting.threshold, 3),
        fixed(of.baseline.threshold, 3)
    );
    let table = table_of(&caption, "word", &rows);
    folded(&format!("Words {which}"), &table)
}

/// Captions that rank better with one of both.
fn shifts(record: &InsideRecord, better: &str, shifts: &[CaptionShift]) -> Markup {
    if shifts.is_empty() {
        return html! {};
    }
    let names = || record.of.as_ref().each().into_iter();
    let head: Vec<String> = std::iter::once("image".to_owned())
        .chain(names().map(|of| format!("rank with {}", of.name)))
        .chain(names().map(|of| format!("words with {}", of.name)))
        .collect();
    let rows = html! { tbody { @for shift in shifts { (shift_row(record, shift)) } } };
    let table = table(
        "Words are coloured by their highest relevance in the caption’s own image, from the \
         threshold to the highest of its line; struck out below the threshold.",
        &head,
        &rows,
    );
    folded(&format!("Captions that rank better with {better}"), &table)
}

fn shift_row(record: &InsideRecord, shift: &CaptionShift) -> Markup {
    let words = shift.words.as_ref().each();
    let written = words
        .into_iter()
        .zip(record.of.as_ref().each())
        .map(|(words, of)| {
            let all = shift.words.as_ref().each().into_iter().flatten();
            Colouring::new(Some(of.threshold), all).caption(&shift.caption, words, &[])
        });
    html! {
        tr {
            th scope="row" { (shift.image) }
            @for rank in shift.rank.each() { td { (rank) } }
            @for caption in written { td.written { (caption) } }
        }
    }
}
