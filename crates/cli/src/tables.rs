//! How do numbers become a table that a person reads?

use comfy_table::{CellAlignment, Table, TableComponent, presets};
use uard_eval::RetrievalReport;
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

/// A number with so many digits; a dash where there is none.
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

/// Both directions of a retrieval, and their sum.
pub fn retrieval(report: &RetrievalReport) -> String {
    let mut rows = table(&[
        "recall in percent",
        "R@1",
        "R@5",
        "R@10",
        "median rank",
        "mean rank",
    ]);
    let both = [
        ("image to text", report.image_to_text),
        ("text to image", report.text_to_image),
    ];
    for (name, recall) in both {
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

/// A split that was evaluated with a model.
pub fn split(record: &SplitRecord) -> String {
    let kept = &record.kept;
    let mut text = format!(
        "{}\nthreshold {:.4} on {}: kept {} % of word queries, {} % of region queries, {} % of \
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
            "\nalignment: precision {} %, recall {} %, best region right for {} % of words",
            percent(alignment.precision),
            percent(alignment.recall),
            percent(alignment.best_region_accuracy)
        ));
    }
    text
}

/// Runs side by side, each with the evaluation that counts.
pub fn side_by_side(results: &Results) -> String {
    let runs = &results.rows;
    let mut header = vec![""];
    header.extend(runs.iter().map(|row| row.run.name.as_str()));
    let mut rows = table(&header);
    let mut add = |name: &str, cells: &mut dyn Iterator<Item = String>| {
        rows.add_row(std::iter::once(name.to_owned()).chain(cells));
    };
    let threshold = |row: &RunResult| threshold_text(row.run, row.of.threshold);
    add("split", &mut runs.iter().map(|row| row.of.split.clone()));
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
