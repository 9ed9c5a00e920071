//! The results of a study as a table and sentences for the terminal.

use uard_report::study::{self, HEAD, StudyRecord};

use crate::tables::table;

/// A row for each setting, below the heading of its group.
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
    let mut text = format!(
        "{rows}\n{} of {} runs on split {}; mean ± standard deviation over seeds; rsum gained over the \
         baseline `{}` on the seeds that both have, with 95 % intervals: by Student's t over seeds, \
         and by resampling images with their captions",
        study.finished_runs, study.planned_runs, study.split, study.baseline
    );
    for sentence in study::sentences(study) {
        text.push_str(&format!("\n{sentence}"));
    }
    text
}
