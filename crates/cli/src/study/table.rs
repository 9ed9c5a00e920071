//! How does a study read as a table?

use uard_eval::{Interval, Spread};
use uard_training::study::{DifferenceRecord, Means, SettingRecord, StudyRecord};

use crate::tables::{number, percent, table};

const HEADER: [&str; 12] = [
    "setting",
    "seeds",
    "rsum",
    "R@1 image to text",
    "R@1 text to image",
    "rsum gained",
    "95 % over seeds",
    "95 % over queries",
    "t",
    "kept words / regions / cells, %",
    "error modelled / measured, %",
    "min a run",
];

const DASH: &str = "–";

/// Every setting in a line, below the heading of its group.
pub fn study_table(study: &StudyRecord) -> String {
    let mut rows = table(&HEADER);
    let mut group = "";
    for setting in &study.settings {
        if setting.plan.group != group {
            group = &setting.plan.group;
            rows.add_row([format!("— {group} —")]);
        }
        rows.add_row(row(study, setting));
    }
    format!(
        "{rows}\n{} of {} runs on {}; mean ± standard deviation over seeds; rsum gained over `{}`, \
         on the seeds that both have: 95 % by Student's t over seeds, and by resampled images with \
         their captions",
        study.finished_runs, study.planned_runs, study.split, study.baseline
    )
}

fn row(study: &StudyRecord, setting: &SettingRecord) -> Vec<String> {
    let mut cells = vec![setting.plan.name.clone(), setting.seeds()];
    let Some(means) = &setting.means else {
        cells.resize(HEADER.len(), DASH.to_owned());
        return cells;
    };
    cells.extend([
        spread(&means.rsum, 1),
        spread(&means.image_to_text_r1, 1),
        spread(&means.text_to_image_r1, 1),
    ]);
    cells.extend(match &setting.difference {
        Some(found) => difference(found),
        None if setting.plan.name == study.baseline => ["baseline", "", ""].map(str::to_owned),
        None => [DASH; 3].map(str::to_owned),
    });
    cells.extend(work(means));
    cells
}

fn difference(found: &DifferenceRecord) -> [String; 3] {
    [
        signed(found.rsum.over_seeds.mean),
        interval(found.rsum.of_seeds),
        interval(found.of_queries),
    ]
}

fn work(means: &Means) -> [String; 4] {
    let share = |spread: Option<Spread>| {
        spread.map_or_else(|| DASH.to_owned(), |spread| percent(spread.mean))
    };
    [
        means
            .threshold
            .map_or_else(|| DASH.to_owned(), |spread| number(spread.mean, 3)),
        [means.word_queries, means.region_queries, means.cells]
            .map(|kept| percent(kept.mean))
            .join(" / "),
        [means.modelled_error, means.measured_error]
            .map(share)
            .join(" / "),
        number(means.seconds.mean / 60.0, 1),
    ]
}

fn spread(spread: &Spread, digits: usize) -> String {
    let mean = number(spread.mean, digits);
    match spread.std {
        Some(std) => format!("{mean} ± {}", number(std, digits)),
        None => mean,
    }
}

fn interval(interval: Option<Interval>) -> String {
    interval.map_or_else(
        || DASH.to_owned(),
        |Interval { low, high }| format!("{} to {}", signed(low), signed(high)),
    )
}

fn signed(value: f64) -> String {
    match value.is_finite() {
        true => format!("{value:+.1}"),
        false => DASH.to_owned(),
    }
}
