//! A study as a table for the terminal.

use uard_report::study::{self, HEAD, StudyRecord};

use crate::tables::table;

/// Every setting in a line, below the heading of its group.
pub fn study_table(study: &StudyRecord) -> String {
    let mut rows = table(&HEAD);
    for group in study::table(study) {
        if !group.heading.is_empty() {
            rows.add_row([format!("— {} —", group.heading)]);
        }
        for row in group.rows {
            rows.add_row(row.into_iter().map(|cell| cell.text));
        }
    }
    format!(
        "{rows}\n{} of {} runs on {}; mean ± standard deviation over seeds; rsum gained over `{}`, \
         on the seeds that both have: 95 % by Student's t over seeds, and by resampled images with \
         their captions",
        study.finished_runs, study.planned_runs, study.split, study.baseline
    )
}
