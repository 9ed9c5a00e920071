//! A study as a table, for its page and for the terminal.

use uard_eval::{Interval, Spread};

use super::{DifferenceRecord, Means, SettingRecord, StudyRecord};
use crate::numbers::{UNKNOWN, duration, fixed, known, percent};

/// Names of the columns.
pub const HEAD: [&str; 12] = [
    "setting",
    "seeds",
    "rsum",
    "R@1 image → text",
    "R@1 text → image",
    "rsum gained",
    "95 % over seeds",
    "95 % over queries",
    "t",
    "kept: words · regions · cells",
    "error: modelled · measured",
    "time a run",
];

/// Neighbours under one heading.
#[derive(Debug, Clone, PartialEq)]
pub struct TableGroup<'a> {
    /// The heading; may be empty.
    pub heading: &'a str,
    /// A row for each setting, as long as [`HEAD`].
    pub rows: Vec<Vec<Cell>>,
}

/// A cell of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// As it is written.
    pub text: String,
    /// Whether it stands out: an interval that excludes zero.
    pub stands_out: bool,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self {
            text,
            stands_out: false,
        }
    }
}

/// Every setting in a row; what is unknown is a dash.
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

/// A mean, and how far its seeds lie apart.
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
        stands_out: interval.is_some_and(|interval| interval.excludes_zero()),
    }
}
