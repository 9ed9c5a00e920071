//! The results of all runs: a table, and sentences that compare the first run with the others.

use maud::{Markup, html};

use super::lines::style;
use super::runs::display_name;
use super::verdict::verdict;
use crate::comparison::{Kind, Line, Results, RunResult, threshold_text};
use crate::numbers::{UNKNOWN, capitalised};

/// The table of all runs, and the sentences below it.
pub(super) fn results(results: &Results) -> Markup {
    html! {
        @if !results.rows.is_empty() {
            (table(results))
            ul.verdict {
                @for (topic, text) in verdict(results) { li { b { (topic) "." } " " (text) } }
            }
        }
    }
}

fn table(results: &Results) -> Markup {
    let rows = &results.rows;
    let lines = results.lines();
    let protocol = rows
        .first()
        .map_or("", |row| &row.record.retrieval.protocol);
    html! {
        div.scroll {
            table.results {
                caption {
                    "Results on " (results.split)
                    @if !protocol.is_empty() { " (" (protocol) ")" }
                    ", with the model of the best epoch of each run."
                    @if rows.len() > 1 { " Bold: the best value of a row." }
                }
                thead {
                    tr {
                        td {}
                        @for row in rows {
                            th.(style(row.index)) scope="col" {
                                span { (capitalised(display_name(row.run))) }
                            }
                        }
                    }
                }
                tbody {
                    tr {
                        th scope="row" { "threshold (a cosine)" }
                        @for row in rows { td { (threshold_text(row.run, row.record.threshold)) } }
                    }
                }
                @for lines in lines.chunk_by(|a, b| a.heading == b.heading) {
                    tbody {
                        tr.group {
                            th scope="rowgroup" colspan=(rows.len() + 1) { (lines[0].heading) }
                        }
                        @for of_heading in lines { (line(of_heading, rows)) }
                    }
                }
            }
        }
    }
}

fn line(line: &Line, runs: &[RunResult]) -> Markup {
    let best = line.kind.best(&line.values);
    html! {
        tr {
            th scope="row" { (line.name) }
            @for (value, run) in line.values.iter().zip(runs) {
                td { (cell(line.kind, *value, best, &style(run.index))) }
            }
        }
    }
}

fn cell(kind: Kind, value: Option<f64>, best: Option<f64>, class: &str) -> Markup {
    let Some(value) = value else {
        return html! { (UNKNOWN) };
    };
    let text = kind.write(value);
    // Values that are equal as text are equally good.
    let is_best = best.is_some_and(|best| kind.write(best) == text);
    let width = |full: f64| format!("width:{:.1}%", (value / full * 100.0).clamp(0.0, 100.0));
    html! {
        @if is_best { b { (text) } } @else { (text) }
        @if let Some(full) = kind.bar() {
            i.bar.(class) aria-hidden="true" { i style=(width(full)) {} }
        }
    }
}
