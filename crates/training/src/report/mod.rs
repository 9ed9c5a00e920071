//! What does a person see of a run? One self-contained page: results, curves, hills, examples.

mod axis;
mod boxes;
mod charts;
mod colour;
mod examples;
mod header;
mod hills;
mod line_chart;
mod markup;
mod numbers;
mod results;
mod runs;
mod study;
mod verdict;

use crate::record::{CaptionExample, RunRecord};
use markup::{escape, section};
use runs::Results;

pub use study::{StudyPage, render_study};

const STYLE: &str = include_str!("page.css");

/// What a report is made of.
#[derive(Debug, Clone, Copy)]
pub struct ReportInput<'a> {
    /// Heading of the page: what was trained on what.
    pub title: &'a str,
    /// Runs side by side; the first is the one that the others are compared with.
    pub runs: &'a [RunRecord],
    /// Retrieval examples of the first run.
    pub examples: &'a [CaptionExample],
    /// The command that made the runs, as typed.
    pub command: &'a str,
}

/// Renders the page.
///
/// Nothing is read, written or fetched: style, charts and images are inside, and the page
/// forbids itself any request. All text is escaped. Sentences about which way the threshold
/// fell are derived from the records.
///
/// Runs are compared on `test` where all of them have it, otherwise on `dev`. What is
/// missing is left out: without epochs there are no charts, without samples no hills,
/// without boxes or pixel sizes no boxes. Values that are not finite read as a dash and
/// are not drawn.
///
/// # Examples
///
/// ```
/// use uard_training::report::{ReportInput, render};
///
/// let page = render(&ReportInput { title: "Scenes", runs: &[], examples: &[], command: "" });
/// assert!(page.starts_with("<!DOCTYPE html>"));
/// ```
pub fn render(input: &ReportInput) -> String {
    let results = Results::of(input.runs);
    let sections = [
        ("results", "Results", results::results(&results)),
        ("epochs", "Over the epochs", charts::charts(input.runs)),
        ("hills", "The two hills", hills::hills(input.runs)),
        ("examples", "Captions and what they found", {
            examples::examples(input.examples, results.first_threshold())
        }),
        (
            "configuration",
            "Configuration",
            header::configurations(input.runs),
        ),
        (
            "words",
            "Words used here",
            if input.runs.is_empty() {
                String::new()
            } else {
                TERMS.to_owned()
            },
        ),
    ];
    page(&Page {
        title: input.title,
        style: &examples::links(input.examples),
        header: &header::header(input, &results),
        sections: &sections,
    })
}

/// What stands inside of a page.
struct Page<'a> {
    title: &'a str,
    /// Rules beside those of every page.
    style: &'a str,
    header: &'a str,
    /// Id, heading and body; without a body it is left out.
    sections: &'a [(&'a str, &'a str, String)],
}

fn page(page: &Page<'_>) -> String {
    let body: String = page
        .sections
        .iter()
        .map(|(id, heading, body)| section(id, heading, body))
        .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\"/>\n\
         <title>{}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n<main>\n{}{body}</main>\n</body>\n</html>\n",
        escape(page.title),
        page.style,
        page.header
    )
}

const TERMS: &str = "<dl class=\"terms\">\
<dt>relevance</dt><dd>The cosine of a word and a region.</dd>\
<dt>threshold</dt><dd>The relevance above which a word and a region attend to each other. Learned: where the relevance of matched and of mismatched pairs is told apart with the least error.</dd>\
<dt>word query, region query</dt><dd>A word asking the regions of an image, a region asking the words of a caption; kept if anything answers it above the threshold.</dd>\
<dt>cell</dt><dd>One word with one region; kept if its relevance is above the threshold.</dd>\
<dt>R@K</dt><dd>Queries with a right answer among the first K, in percent; ties count against the model.</dd>\
<dt>rsum</dt><dd>The sum of the six R@K, 600 at most.</dd>\
<dt>alignment</dt><dd>Precision: kept cells that are true. Recall: true cells that are kept. Best region: content words whose most relevant region truly shows them.</dd>\
</dl>\n";
