//! Renders a training run or a study as one self-contained HTML page without scripts or requests.

mod boxes;
mod colour;
mod examples;
mod hills;
mod inside;
mod lines;
mod plot;
mod report;
mod results;
mod runs;
mod study;
mod verdict;

use maud::{Markup, PreEscaped, html};

pub use report::{ReportInput, render};
pub use study::{StudyPage, render_study};

const STYLE: &str = include_str!("page.css");

/// The contents of a page.
struct Page<'a> {
    /// Title of the window.
    title: &'a str,
    /// Kind of the page: `training report` or `study`.
    kind: &'static str,
    /// The heading.
    heading: &'a str,
    /// One sentence below the heading.
    outcome: Markup,
    /// Names and values below that sentence; names without a value are left out.
    facts: Vec<(&'static str, String)>,
    /// The command that made the page, as typed; may be empty.
    command: &'a str,
    /// CSS rules of this page, in addition to `page.css`.
    style: String,
    /// Sections of the page; those with an empty body are left out.
    sections: Vec<Section>,
}

/// A section of a page; links address it by its id.
struct Section {
    id: &'static str,
    heading: &'static str,
    body: Markup,
}

impl Section {
    fn new(id: &'static str, heading: &'static str, body: Markup) -> Self {
        Self { id, heading, body }
    }

    fn draw(&self) -> Markup {
        let heading_id = format!("{}-heading", self.id);
        html! {
            section id=(self.id) aria-labelledby=(heading_id) {
                h2 id=(heading_id) { (self.heading) }
                (self.body)
            }
        }
    }
}

impl Page<'_> {
    /// The whole page. Control characters, which XML forbids, become spaces.
    fn draw(&self) -> String {
        let sections = self.sections.iter();
        let sections = sections.filter(|section| !section.body.0.is_empty());
        let page = html! {
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta http-equiv="Content-Security-Policy"
                        content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) (PreEscaped(&self.style)) }
                }
                body {
                    main {
                        (self.header())
                        @for section in sections { (section.draw()) }
                    }
                }
            }
        };
        let forbidden = |character: char| character.is_control() && !"\n\t".contains(character);
        format!("<!DOCTYPE html>\n{}\n", page.0.replace(forbidden, " "))
    }

    fn header(&self) -> Markup {
        let facts = self.facts.iter().filter(|(_, value)| !value.is_empty());
        html! {
            header {
                p.kicker { "Image-text matching · " (self.kind) }
                h1 { (self.heading) }
                p.outcome { (self.outcome) }
                dl.facts {
                    @for (name, value) in facts { div { dt { (name) } dd { (value) } } }
                }
                @if !self.command.is_empty() {
                    pre.command aria-label="Command" { code { (self.command) } }
                }
            }
        }
    }
}

/// A table; `rows` are its `tbody` elements, and its caption may be empty.
fn table<H: AsRef<str>>(caption: &str, head: &[H], rows: &Markup) -> Markup {
    html! {
        div.scroll {
            table.plain {
                @if !caption.is_empty() { caption { (caption) } }
                thead { tr { @for name in head { th scope="col" { (name.as_ref()) } } } }
                (rows)
            }
        }
    }
}

/// A row of a table.
struct Row<'a> {
    name: &'a str,
    /// Name of the column and text of each cell.
    cells: Vec<(&'a str, String)>,
}

/// A table of rows with the same columns; `first` is the heading of the column of row names.
fn table_of(caption: &str, first: &str, rows: &[Row]) -> Markup {
    let columns = rows.iter().take(1).flat_map(|row| &row.cells);
    let head: Vec<&str> = std::iter::once(first)
        .chain(columns.map(|cell| cell.0))
        .collect();
    let rows = html! {
        tbody {
            @for row in rows {
                tr {
                    th scope="row" { (row.name) }
                    @for (_, text) in &row.cells { td { (text) } }
                }
            }
        }
    };
    table(caption, &head, &rows)
}

/// Content that is hidden until the reader opens it.
fn folded(summary: &str, body: &Markup) -> Markup {
    html! { details { summary { (summary) } (body) } }
}

const TERMS: [(&str, &str); 7] = [
    (
        "relevance",
        "The cosine of a word of a caption and a region of an image.",
    ),
    (
        "threshold",
        "Attention uses only words and regions whose relevance is above it. A learned threshold is \
         the one that separates the relevance of matched pairs from that of mismatched pairs with \
         the fewest errors.",
    ),
    (
        "word query, region query",
        "A word that attends to the regions of an image, or a region that attends to the words of a \
         caption. A query is above the threshold if at least one of its cells is.",
    ),
    (
        "cell",
        "One word with one region. It is above the threshold if its relevance is.",
    ),
    (
        "R@K",
        "Recall: the percentage of queries that have a right answer among the first K results. Ties \
         count against the model.",
    ),
    (
        "rsum",
        "The sum of R@1, R@5 and R@10 in both directions, image to text and text to image; at most \
         600.",
    ),
    (
        "alignment",
        "Compares the cells above the threshold with the regions that truly show a word, in matched \
         pairs. Precision: the fraction of cells above the threshold that are true. Recall: the \
         fraction of true cells that are above the threshold. Best region: the fraction of content \
         words whose most relevant region truly shows them.",
    ),
];

/// The glossary at the end of a page.
fn terms() -> Section {
    let body = html! {
        dl.terms { @for (term, meaning) in TERMS { dt { (term) } dd { (meaning) } } }
    };
    Section::new("words", "Terms used on this page", body)
}
