//! What came out, run beside run?

use super::markup::escape;
use super::numbers::{UNKNOWN, capitalised, duration, fixed, percent};
use super::runs::{Results, display_name, style, threshold_text};
use super::verdict::verdict;
use crate::record::{RunRecord, SplitRecord};

/// The table of all runs and the sentences that say what it shows.
pub(super) fn results(results: &Results) -> String {
    if results.rows.is_empty() {
        return String::new();
    }
    let sentences: String = verdict(results)
        .iter()
        .map(|sentence| format!("<li>{sentence}</li>\n"))
        .collect();
    format!(
        "{}<ul class=\"verdict\">\n{sentences}</ul>\n",
        table(results)
    )
}

/// Which end of a row is the good one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    Higher,
    Lower,
    Neither,
}

/// A row of the table: its name, how to read and write it, and what is good.
struct Row {
    name: &'static str,
    read: fn(&RunRecord, &SplitRecord) -> Option<f64>,
    write: fn(f64) -> String,
    better: Better,
    /// Largest value of the bar behind the number, if there is one.
    bar: Option<f64>,
}

const fn recall(name: &'static str, read: fn(&RunRecord, &SplitRecord) -> Option<f64>) -> Row {
    Row {
        name,
        read,
        write: |value| fixed(value, 1),
        better: Better::Higher,
        bar: Some(100.0),
    }
}

const fn share(
    name: &'static str,
    better: Better,
    read: fn(&RunRecord, &SplitRecord) -> Option<f64>,
) -> Row {
    Row {
        name,
        read,
        write: percent,
        better,
        bar: Some(1.0),
    }
}

const GROUPS: [(&str, &[Row]); 5] = [
    (
        "Image → text, % of images",
        &[
            recall("R@1", |_, record| Some(record.retrieval.image_to_text.r1)),
            recall("R@5", |_, record| Some(record.retrieval.image_to_text.r5)),
            recall("R@10", |_, record| Some(record.retrieval.image_to_text.r10)),
        ],
    ),
    (
        "Text → image, % of captions",
        &[
            recall("R@1", |_, record| Some(record.retrieval.text_to_image.r1)),
            recall("R@5", |_, record| Some(record.retrieval.text_to_image.r5)),
            recall("R@10", |_, record| Some(record.retrieval.text_to_image.r10)),
            Row {
                name: "rsum of the six",
                read: |_, record| Some(record.retrieval.rsum),
                write: |value| fixed(value, 1),
                better: Better::Higher,
                bar: Some(600.0),
            },
        ],
    ),
    (
        "Work kept, of all pairs",
        &[
            share("word queries", Better::Lower, |_, record| {
                Some(record.kept.word_queries)
            }),
            share("region queries", Better::Lower, |_, record| {
                Some(record.kept.region_queries)
            }),
            share("region-word cells", Better::Lower, |_, record| {
                Some(record.kept.cells)
            }),
        ],
    ),
    (
        "Alignment, matched pairs",
        &[
            share("precision", Better::Higher, |_, record| {
                Some(record.alignment?.precision)
            }),
            share("recall", Better::Higher, |_, record| {
                Some(record.alignment?.recall)
            }),
            share("best region is true", Better::Higher, |_, record| {
                Some(record.alignment?.best_region_accuracy)
            }),
        ],
    ),
    (
        "Training",
        &[
            Row {
                name: "best epoch",
                read: |run, _| Some(run.best_epoch as f64),
                write: |value| fixed(value, 0),
                better: Better::Neither,
                bar: None,
            },
            Row {
                name: "time",
                read: |run, _| Some(run.seconds),
                write: duration,
                better: Better::Neither,
                bar: None,
            },
        ],
    ),
];

fn table(results: &Results) -> String {
    let heads: String = results
        .rows
        .iter()
        .map(|(place, run, _)| {
            let name = capitalised(&escape(&display_name(run)));
            format!(
                "<th scope=\"col\" class=\"{}\"><span>{name}</span></th>",
                style(*place)
            )
        })
        .collect();
    let thresholds: String = results
        .rows
        .iter()
        .map(|(_, run, record)| format!("<td>{}</td>", threshold_text(run, record.threshold)))
        .collect();
    let groups: String = GROUPS
        .iter()
        .map(|(name, rows)| group(results, name, rows))
        .collect();
    let protocol = results
        .rows
        .first()
        .map_or("", |row| row.2.retrieval.protocol.as_str());
    let protocol = if protocol.is_empty() {
        String::new()
    } else {
        format!(" ({})", escape(protocol))
    };
    let bold = if results.rows.len() > 1 {
        " Bold: the best of a row."
    } else {
        ""
    };
    format!(
        "<div class=\"scroll\"><table class=\"results\">\
         <caption>Results on {}{protocol}, each run with the model of its best epoch.{bold}</caption>\n\
         <thead><tr><td></td>{heads}</tr></thead>\n\
         <tbody><tr><th scope=\"row\">threshold (a cosine)</th>{thresholds}</tr></tbody>\n{groups}</table></div>\n",
        escape(results.split)
    )
}

fn group(results: &Results, name: &str, rows: &[Row]) -> String {
    let body: String = rows.iter().map(|row| line(results, row)).collect();
    if body.is_empty() {
        return String::new();
    }
    format!(
        "<tbody><tr class=\"group\"><th scope=\"rowgroup\" colspan=\"{}\">{name}</th></tr>\n{body}</tbody>\n",
        results.rows.len() + 1
    )
}

/// One row; nothing where no run knows the value.
fn line(results: &Results, row: &Row) -> String {
    let values: Vec<Option<f64>> = results
        .rows
        .iter()
        .map(|(_, run, record)| (row.read)(run, record).filter(|value| value.is_finite()))
        .collect();
    if values.iter().all(Option::is_none) {
        return String::new();
    }
    let best = best(&values, row.better);
    let cells: String = values
        .iter()
        .zip(&results.rows)
        .map(|(value, (place, ..))| cell(row, *value, best, &style(*place)))
        .collect();
    format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", row.name)
}

fn best(values: &[Option<f64>], better: Better) -> Option<f64> {
    let known = || values.iter().flatten().copied();
    match better {
        _ if values.len() < 2 => None,
        Better::Higher => known().reduce(f64::max),
        Better::Lower => known().reduce(f64::min),
        Better::Neither => None,
    }
}

fn cell(row: &Row, value: Option<f64>, best: Option<f64>, class: &str) -> String {
    let Some(value) = value else {
        return format!("<td>{UNKNOWN}</td>");
    };
    let text = (row.write)(value);
    // Values that read the same are equally good.
    let text = if best.map(row.write).as_ref() == Some(&text) {
        format!("<b>{text}</b>")
    } else {
        text
    };
    let bar = row.bar.map(|full| {
        let width = (value / full * 100.0).clamp(0.0, 100.0);
        format!(
            "<i class=\"bar {class}\" aria-hidden=\"true\"><i style=\"width:{width:.1}%\"></i></i>"
        )
    });
    format!("<td>{text}{}</td>", bar.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_of_one_run_is_not_marked() {
        assert_eq!(best(&[Some(1.0)], Better::Higher), None);
        assert_eq!(
            best(&[Some(1.0), None, Some(0.5)], Better::Lower),
            Some(0.5)
        );
    }
}
