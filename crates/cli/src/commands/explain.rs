//! `uard explain`: shows where a photo shows each word of a query.

use std::path::PathBuf;

use anyhow::Context;
use uard_features::backbone::{Photo, PhotoLimits};
use uard_search::Searcher;
use uard_search::answer::{PhotoResult, WordResult};

use super::Format;
use crate::drawing::{Line, Mark, draw};
use crate::index::paths::{IndexArgument, existing};
use crate::index::query_photo::query_photo;
use crate::terminal::{note, print, print_json, printable};

/// Arguments of `uard explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    uard explain ~/Pictures/dog.jpg 'a dog jumps into water' --out dog.png")]
pub struct Arguments {
    /// A photo. One that is not in the index is encoded as the photos of the index were.
    #[arg(value_name = "PHOTO")]
    photo: PathBuf,
    /// The query, as for `uard search`; filters are ignored.
    #[arg(value_name = "QUERY", allow_hyphen_values = true)]
    query: String,
    #[command(flatten)]
    index: IndexArgument,
    /// File for the photo with a box for each word that it shows, as PNG.
    #[arg(long, value_name = "PNG")]
    out: Option<PathBuf>,
    /// The format of the printed result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Prints the evidence of each word, and draws the boxes.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = existing(&arguments.photo)?;
    let mut searcher = Searcher::open(&arguments.index.folder()?)?;
    let photo = query_photo(searcher.index(), &path)?;
    let result = searcher.explain(&photo, &arguments.query)?;
    let lines: Vec<String> = result.words.iter().map(sentence).collect();
    if let Some(out) = &arguments.out {
        let photo = Photo::open(&path, PhotoLimits::default())?;
        let png = picture(&photo, &result, &lines)?;
        uard_files::write(out, png).with_context(|| format!("cannot write {}", out.display()))?;
        note(&format!("boxes drawn in {}", out.display()));
    }
    match arguments.format {
        Format::Json => print_json(&result),
        Format::Table => {
            let similarity = format!("similarity {:.3}", result.similarity);
            let lines = std::iter::once(similarity).chain(lines);
            print(&printable(&lines.collect::<Vec<_>>().join("\n")))
        }
    }
}

/// What is known of a word, as a line.
fn sentence(word: &WordResult) -> String {
    let name = &word.word;
    let Some((relevance, border)) = word.relevance.zip(word.border) else {
        return match word.counts {
            true => format!("{name}: the model has not learned this word"),
            false => format!("{name}: not a word that photos can show"),
        };
    };
    let verdict = match (word.shown, word.sure) {
        (true, true) => "shown",
        (true, false) => "perhaps shown",
        (false, true) => "not shown",
        (false, false) => "perhaps not shown",
    };
    // One word alone is shown above its border; a whole phrase need not be.
    let but = match !word.shown && f64::from(relevance) > border {
        true => ": no region shows the whole phrase",
        false => "",
    };
    format!("{name}: {verdict}, relevance {relevance:.2}, border {border:.2}{but}")
}

fn picture(photo: &Photo, result: &PhotoResult, lines: &[String]) -> anyhow::Result<Vec<u8>> {
    let mut marks = Vec::new();
    let mut legend = Vec::new();
    for (word, line) in result.words.iter().zip(lines) {
        let mark = word.region_box.filter(|_| word.shown).map(|corners| {
            marks.push(Mark {
                label: word.word.clone(),
                corners,
            });
            marks.len() - 1
        });
        legend.push(Line {
            text: line.clone(),
            mark,
        });
    }
    draw(photo, &marks, &legend)
}
