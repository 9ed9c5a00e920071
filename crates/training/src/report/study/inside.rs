//! In which words, captions and regions does a setting differ from the baseline?

use super::{known, plain_table, row};
use crate::report::examples::coloured;
use crate::report::markup::escape;
use crate::report::numbers::{counted, fixed, grouped, percent};
use crate::study::inside::{CaptionShift, FIRST, FoundByOne, InsideRecord, WordRecord};

/// Every setting that was looked into.
pub(super) fn insides(insides: &[InsideRecord]) -> String {
    insides.iter().map(inside).collect()
}

fn inside(record: &InsideRecord) -> String {
    let (setting, baseline) = names(record);
    format!(
        "<h3>{setting} beside {baseline}, seed {}</h3>\n{}{}{}{}{}",
        record.seed,
        found(record),
        words(record, "answered most often", &record.most_answered),
        words(record, "answered least often", &record.least_answered),
        shifts(record, &format!("better with {setting}"), &record.gained),
        shifts(record, &format!("better with {baseline}"), &record.lost)
    )
}

/// Both names, escaped.
fn names(record: &InsideRecord) -> (String, String) {
    let of = &record.of;
    (escape(&of.setting.name), escape(&of.baseline.name))
}

/// Sentences on what one of both finds alone, and on regions.
fn found(record: &InsideRecord) -> String {
    let (setting, baseline) = names(record);
    let alone = |found: &FoundByOne, what: &str| {
        let share = |count: usize| percent(count as f64 / found.queries.max(1) as f64);
        format!(
            "<li>Of {}, {setting} alone finds a match of {} among the first {FIRST} ({}), \
             {baseline} alone of {} ({}).</li>\n",
            counted(found.queries, what),
            grouped(found.setting),
            share(found.setting),
            grouped(found.baseline),
            share(found.baseline)
        )
    };
    let regions = &record.unreached;
    format!(
        "<ul class=\"verdict\">\n{}{}<li>Of the regions of a matched image, on average {} are above \
         the threshold for no word of the caption with {setting}, {} with {baseline}; for no word \
         of any of its captions, {} and {}.</li>\n</ul>\n",
        alone(&record.captions, "caption"),
        alone(&record.images, "image"),
        percent(regions.setting.by_caption),
        percent(regions.baseline.by_caption),
        percent(regions.setting.by_image),
        percent(regions.baseline.by_image)
    )
}

fn words(record: &InsideRecord, which: &str, words: &[WordRecord]) -> String {
    if words.is_empty() {
        return String::new();
    }
    let (setting, baseline) = names(record);
    let cells = |word: &WordRecord| {
        let found = [word.found.setting, word.found.baseline];
        let mut cells = vec![grouped(word.occurrences)];
        for of in found {
            cells.extend([
                percent(of.answered),
                fixed(of.matched, 2),
                known(of.mismatched, |mean| fixed(mean, 2)),
            ]);
        }
        row(&word.word, &cells)
    };
    let rows: String = words.iter().map(cells).collect();
    let caption = format!(
        "Words that {setting} {which}, of {} with {} occurrences or more: share of occurrences whose \
         highest relevance in the own image is above t ({} and {}), and the mean of that relevance \
         in the own image and in another.",
        grouped(record.words),
        record.fewest,
        fixed(record.of.setting.threshold, 3),
        fixed(record.of.baseline.threshold, 3)
    );
    let head = [
        "word".to_owned(),
        "occurs".to_owned(),
        format!("{setting}: answered"),
        "own image".to_owned(),
        "other image".to_owned(),
        format!("{baseline}: answered"),
        "own image".to_owned(),
        "other image".to_owned(),
    ];
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let table = plain_table(&caption, &head, &format!("<tbody>{rows}</tbody>"));
    format!("<details><summary>Words {which}</summary>{table}</details>\n")
}

fn shifts(record: &InsideRecord, which: &str, shifts: &[CaptionShift]) -> String {
    if shifts.is_empty() {
        return String::new();
    }
    let (setting, baseline) = names(record);
    let rows: String = shifts
        .iter()
        .map(|shift| shift_row(record, shift))
        .collect();
    let head = [
        "image".to_owned(),
        format!("rank with {setting}"),
        format!("rank with {baseline}"),
        format!("words with {setting}"),
        format!("words with {baseline}"),
    ];
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let table = plain_table(
        "Words are coloured by their highest relevance in the caption’s own image, from the \
         threshold to the highest of its line; struck out below the threshold.",
        &head,
        &format!("<tbody>{rows}</tbody>"),
    );
    format!("<details><summary>Captions that rank {which}</summary>{table}</details>\n")
}

fn shift_row(record: &InsideRecord, shift: &CaptionShift) -> String {
    let all = [&shift.words.setting, &shift.words.baseline];
    let relevance = all
        .into_iter()
        .flatten()
        .map(|word| f64::from(word.relevance));
    let highest = relevance
        .filter(|value| value.is_finite())
        .fold(0.0, f64::max);
    let of = &record.of;
    let written = [
        coloured(
            &shift.caption,
            &shift.words.setting,
            of.setting.threshold,
            highest,
        ),
        coloured(
            &shift.caption,
            &shift.words.baseline,
            of.baseline.threshold,
            highest,
        ),
    ];
    format!(
        "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td>{}</tr>\n",
        escape(&shift.image),
        shift.rank.setting,
        shift.rank.baseline,
        written
            .map(|text| format!("<td class=\"written\">{text}</td>"))
            .concat()
    )
}
