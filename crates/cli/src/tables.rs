//! How do numbers become a table that a person reads?

use comfy_table::{CellAlignment, Table, TableComponent, presets};
use uard_eval::{RecallPercent, RetrievalReport};
use uard_report::record::{RunRecord, SplitRecord};

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
pub fn side_by_side(runs: &[(&RunRecord, &SplitRecord)]) -> String {
    let mut header = vec![""];
    header.extend(runs.iter().map(|(run, _)| run.name.as_str()));
    let mut rows = table(&header);
    let mut add = |name: &str, cell: &dyn Fn(&RunRecord, &SplitRecord) -> String| {
        let cells = runs.iter().map(|(run, record)| cell(run, record));
        rows.add_row(std::iter::once(name.to_owned()).chain(cells));
    };
    add("split", &|_, record| record.split.clone());
    add("rsum", &|_, record| number(record.retrieval.rsum, 1));
    add("image to text R@1 5 10", &|_, record| {
        recalls(&record.retrieval.image_to_text)
    });
    add("text to image R@1 5 10", &|_, record| {
        recalls(&record.retrieval.text_to_image)
    });
    add("threshold", &|_, record| number(record.threshold, 4));
    add("word queries kept, %", &|_, record| {
        percent(record.kept.word_queries)
    });
    add("region queries kept, %", &|_, record| {
        percent(record.kept.region_queries)
    });
    add("region-word cells kept, %", &|_, record| {
        percent(record.kept.cells)
    });
    if runs.iter().any(|(_, record)| record.alignment.is_some()) {
        let known = |record: &SplitRecord| record.alignment;
        let dash = || "–".to_owned();
        add("alignment precision, %", &|_, record| {
            known(record).map_or_else(dash, |found| percent(found.precision))
        });
        add("alignment recall, %", &|_, record| {
            known(record).map_or_else(dash, |found| percent(found.recall))
        });
        add("best region right, %", &|_, record| {
            known(record).map_or_else(dash, |found| percent(found.best_region_accuracy))
        });
    }
    add("best epoch", &|run, _| run.best_epoch.to_string());
    add("seconds", &|run, _| number(run.seconds, 0));
    rows.to_string()
}

fn recalls(recall: &RecallPercent) -> String {
    format!("{:.1} {:.1} {:.1}", recall.r1, recall.r5, recall.r10)
}
