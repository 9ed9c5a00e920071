//! What a person sees of a run or a study: one self-contained page, without scripts or requests.

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

/// What stands inside of a page.
struct Page<'a> {
    /// Title of the window.
    title: &'a str,
    /// What kind of page it is.
    kind: &'static str,
    /// The heading.
    heading: &'a str,
    /// One sentence below it.
    outcome: Markup,
    /// Names and values; those without a value are left out.
    facts: Vec<(&'static str, String)>,
    /// As typed; may be empty.
    command: &'a str,
    /// Rules beside those of every page.
    style: String,
    /// Those without a body are left out.
    sections: Vec<Section>,
}

/// A part of a page that is linked to by its id.
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
        let sections = self.sections.iter().filter(|of| !of.body.0.is_empty());
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

/// A table of rows; its caption may be empty.
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

/// A row of a table: what it is called, and its values, each with the name of its column.
struct Row<'a> {
    name: &'a str,
    cells: Vec<(&'a str, String)>,
}

/// A table of rows with the same columns; `first` names the column of their names.
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

/// What is folded away until somebody asks for it.
fn folded(summary: &str, body: &Markup) -> Markup {
    html! { details { summary { (summary) } (body) } }
}

const TERMS: [(&str, &str); 7] = [
    ("relevance", "The cosine of a word and a region."),
    (
        "threshold",
        "The relevance above which a word and a region attend to each other. Learned: where the \
         relevance of matched and of mismatched pairs is told apart with the least error.",
    ),
    (
        "word query, region query",
        "A word asking the regions of an image, a region asking the words of a caption; kept if \
         anything answers it above the threshold.",
    ),
    (
        "cell",
        "One word with one region; kept if its relevance is above the threshold.",
    ),
    (
        "R@K",
        "Queries with a right answer among the first K, in percent; ties count against the model.",
    ),
    ("rsum", "The sum of the six R@K, 600 at most."),
    (
        "alignment",
        "Precision: kept cells that are true. Recall: true cells that are kept. Best region: content \
         words whose most relevant region truly shows them.",
    ),
];

/// What the words of a page mean.
fn terms() -> Section {
    let body = html! {
        dl.terms { @for (term, meaning) in TERMS { dt { (term) } dd { (meaning) } } }
    };
    Section::new("words", "Words used here", body)
}
