//! Tables of recall, kept cells and compared runs for the terminal.

use comfy_table::{CellAlignment, Table, TableComponent, presets};
use uard_eval::{JudgementReport, RetrievalReport};
use uard_report::comparison::{Results, RunResult, threshold_text};
use uard_report::record::SplitRecord;

/// An empty table; every column but the first is flush right.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    for line in [
        TableComponent::HorizontalLines,
        TableComponent::MiddleIntersections,
    ] {
        table.remove_style(line);
    }
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A number with `digits` digits behind the point; a dash if it is not finite.
pub fn number(value: f64, digits: usize) -> String {
    if value.is_finite() {
        format!("{value:.digits$}")
    } else {
        "–".to_owned()
    }
}

/// A fraction in percent.
pub fn percent(fraction: f64) -> String {
    number(100.0 * fraction, 1)
}

/// Recall in both directions, and rsum.
pub fn retrieval(report: &RetrievalReport) -> String {
    let mut rows = table(&[
        "recall in percent",
        "R@1",
        "R@5",
        "R@10",
        "median rank",
        "mean rank",
    ]);
    let directions = [
        ("image to text", report.image_to_text),
        ("text to image", report.text_to_image),
    ];
    for (name, recall) in directions {
        rows.add_row([
            name.to_owned(),
            number(recall.r1, 1),
            number(recall.r5, 1),
            number(recall.r10, 1),
            number(recall.median_rank, 1),
            number(recall.mean_rank, 1),
        ]);
    }
    format!(
        "{rows}\nrsum {:.1}   ({} images, {} captions; {})",
        report.rsum, report.images, report.captions, report.protocol
    )
}

/// mAP@R, R-precision and recall in both directions.
pub fn judged_retrieval(report: &JudgementReport) -> String {
    let mut rows = table(&[
        "in percent",
        "mAP@R",
        "R-precision",
        "R@1",
        "R@5",
        "R@10",
        "queries",
    ]);
    for (name, judged) in [
        ("image to text", report.image_to_text),
        ("text to image", report.text_to_image),
    ] {
        rows.add_row([
            name.to_owned(),
            number(judged.map_at_r, 1),
            number(judged.r_precision, 1),
            number(judged.r1, 1),
            number(judged.r5, 1),
            number(judged.r10, 1),
            judged.queries.to_string(),
        ]);
    }
    format!(
        "{rows}\n{} images and {} captions were ranked",
        report.images, report.captions
    )
}

/// The evaluation of a model on a split: recall, the shares kept by the threshold, and alignment.
pub fn split(record: &SplitRecord) -> String {
    let kept = &record.kept;
    let mut text = format!(
        "{}\nthreshold {:.4} on split {}: kept {} % of word queries, {} % of region queries, {} % of \
         region-word cells",
        retrieval(&record.retrieval),
        record.threshold,
        record.split,
        percent(kept.word_queries),
        percent(kept.region_queries),
        percent(kept.cells),
    );
    if let Some(alignment) = &record.alignment {
        text.push_str(&format!(
            "\nalignment: precision {} %, recall {} %, best region correct for {} % of words",
            percent(alignment.precision),
            percent(alignment.recall),
            percent(alignment.best_region_accuracy)
        ));
    }
    text
}

/// A table with a column for each run and a row for each result.
pub fn side_by_side(results: &Results) -> String {
    let runs = &results.rows;
    let mut header = vec![""];
    header.extend(runs.iter().map(|row| row.run.name.as_str()));
    let mut rows = table(&header);
    let mut add = |name: &str, cells: &mut dyn Iterator<Item = String>| {
        rows.add_row(std::iter::once(name.to_owned()).chain(cells));
    };
    let threshold = |row: &RunResult| threshold_text(row.run, row.record.threshold);
    add(
        "split",
        &mut runs.iter().map(|row| row.record.split.clone()),
    );
    add("threshold (a cosine)", &mut runs.iter().map(threshold));
    let mut heading = "";
    for line in results.lines() {
        if line.heading != heading {
            heading = line.heading;
            add(&format!("— {heading} —"), &mut std::iter::empty());
        }
        add(line.name, &mut line.texts());
    }
    rows.to_string()
}
