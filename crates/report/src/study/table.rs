//! A study as a table and as sentences, for its page and for the terminal.

use uard_eval::{Interval, Spread};

use super::{DifferenceRecord, Means, SettingRecord, StudyRecord};
use crate::numbers::{UNKNOWN, duration, enumerate, fixed, known, percent};

/// Headings of the columns.
pub const HEAD: [&str; 12] = [
    "setting",
    "seeds",
    "rsum",
    "R@1 image → text",
    "R@1 text → image",
    "rsum gained",
    "95 % over seeds",
    "95 % over images",
    "threshold",
    "above it: words · regions · cells",
    "error: modelled · measured",
    "time of a run",
];

/// The rows of one group of settings.
#[derive(Debug, Clone, PartialEq)]
pub struct TableGroup<'a> {
    /// The heading; may be empty.
    pub heading: &'a str,
    /// A row for each setting, with a cell for each column of [`HEAD`].
    pub rows: Vec<Vec<Cell>>,
}

/// A cell of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Text of the cell.
    pub text: String,
    /// Whether the cell is an interval that excludes zero.
    pub is_significant: bool,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self {
            text,
            is_significant: false,
        }
    }
}

/// A sentence for each setting that is compared with the baseline: the difference of rsum, its 95 %
/// intervals, and whether it is significant.
pub fn sentences(study: &StudyRecord) -> Vec<String> {
    let sentence = |setting: &SettingRecord| {
        let found = setting.difference.as_ref()?;
        let known = [("seeds", found.rsum.of_seeds), ("images", found.of_queries)];
        let known = known.map(|(over, interval)| Some((over, interval?)));
        let known: Vec<(&str, Interval)> = known.into_iter().flatten().collect();
        let written = known.iter().map(|&(over, Interval { low, high })| {
            format!("{} to {} over {over}", signed(low), signed(high))
        });
        let written = enumerate(&written.collect::<Vec<String>>());
        let mut significant = known
            .iter()
            .filter(|(_, interval)| interval.excludes_zero());
        let conclusion = match (significant.clone().count(), known.len()) {
            (_, 0) => "no interval, so the difference may be chance".to_owned(),
            (0, _) => "no significant difference".to_owned(),
            (some, all) if some == all => "a significant difference".to_owned(),
            _ => format!(
                "significant over {} only",
                significant.next().map_or("", |interval| interval.0)
            ),
        };
        Some(format!(
            "{}: rsum {} against {}{}: {conclusion}.",
            setting.plan.name,
            signed(found.rsum.over_seeds.mean),
            study.baseline,
            match written.as_str() {
                "" => String::new(),
                written => format!(" (95 % interval {written})"),
            }
        ))
    };
    study.settings.iter().filter_map(sentence).collect()
}

/// The table with a row for each setting; an unknown value is a dash.
pub fn table(study: &StudyRecord) -> Vec<TableGroup<'_>> {
    let groups = study.groups().map(|settings| TableGroup {
        heading: &settings[0].plan.group,
        rows: settings.iter().map(|setting| row(study, setting)).collect(),
    });
    groups.collect()
}

fn row(study: &StudyRecord, setting: &SettingRecord) -> Vec<Cell> {
    let seeds = match (setting.runs.len(), setting.plan.seeds.len()) {
        (done, planned) if done == planned => done.to_string(),
        (done, planned) => format!("{done} of {planned}"),
    };
    let mut cells = vec![setting.plan.name.clone().into(), seeds.into()];
    if let Some(means) = &setting.means {
        let recalls = [means.rsum, means.image_to_text_r1, means.text_to_image_r1];
        cells.extend(recalls.map(|mean| Cell::from(spread(mean, 1))));
        cells.extend(match &setting.difference {
            Some(found) => difference(found),
            None if setting.plan.name == study.baseline => {
                ["baseline", "", ""].map(|text| text.to_owned().into())
            }
            None => [UNKNOWN; 3].map(|text| text.to_owned().into()),
        });
        cells.extend(work(means).map(Cell::from));
    }
    cells.resize(HEAD.len(), UNKNOWN.to_owned().into());
    cells
}

fn difference(found: &DifferenceRecord) -> [Cell; 3] {
    [
        signed(found.rsum.over_seeds.mean).into(),
        interval(found.rsum.of_seeds),
        interval(found.of_queries),
    ]
}

fn work(means: &Means) -> [String; 4] {
    let kept = [means.word_queries, means.region_queries, means.cells];
    let errors = [means.modelled_error, means.measured_error];
    let share = |spread: Spread| percent(spread.mean);
    [
        known(means.threshold, |mean| spread(mean, 3)),
        kept.map(share).join(" · "),
        errors.map(|error| known(error, share)).join(" · "),
        duration(means.seconds.mean),
    ]
}

/// A mean with ± its standard deviation, if there is one.
pub(crate) fn spread(spread: Spread, digits: usize) -> String {
    let mean = fixed(spread.mean, digits);
    match spread.std {
        Some(std) => format!("{mean}\u{202f}±\u{202f}{}", fixed(std, digits)),
        None => mean,
    }
}

fn signed(value: f64) -> String {
    let sign = if value > 0.0 { "+" } else { "" };
    format!("{sign}{}", fixed(value, 1))
}

fn interval(interval: Option<Interval>) -> Cell {
    Cell {
        text: known(interval, |Interval { low, high }| {
            format!("{} to {}", signed(low), signed(high))
        }),
        is_significant: interval.is_some_and(|interval| interval.excludes_zero()),
    }
}
