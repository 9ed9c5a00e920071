//! `uard search`: finds the photos of an index that show what a query says.

use std::path::PathBuf;

use anyhow::Context;
use uard_search::answer::{Answer, Group, PhotoResult};
use uard_search::{Index, PhotoId, SearchRequest, Searcher};

use super::Format;
use crate::exit::wrong;
use crate::index::paths::{IndexArgument, existing};
use crate::index::query_photo::query_photo;
use crate::terminal::{link, note, print, print_json, printable};
use crate::thumbnails::PictureProtocol;

/// Arguments of `uard search`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Queries:\n  \
    a dog jumps into water   photos that show all of it come first, then those that show a part\n  \
    +dog                     only photos that show a dog\n  \
    -cat, not a cat          only photos that do not show a cat\n  \
    -\"red ball\"              only photos that do not show both\n  \
    date:2024-05..2024-07    taken from May to July; also date:2024, date:2024-05.., date:..2023\n  \
    folder:DIR  camera:NAME  has:place\n\n\
    A word that no photo shows is named as such, and no photo is listed in its place. A number is the \
    relevance of a word, and ? behind it says that it is too near to the word's border to be sure. Words \
    such as `the`, which photos cannot show, are read but not looked for; the model learned from its \
    captions which words these are.\n\n\
    Examples:\n  \
    uard search 'a dog jumps into water'\n  \
    uard search 'beach -people date:2024' --top 30 --open\n  \
    uard search --like beach.jpg 'not people'\n  \
    uard search 'red car' --format json")]
pub struct Arguments {
    /// What photos should show, in quotes.
    #[arg(
        value_name = "QUERY",
        allow_hyphen_values = true,
        required_unless_present = "like",
        default_value = ""
    )]
    query: String,
    /// Orders photos by how much they look like this one, which need not be in the index. With a query
    /// too, photos that lack its words come later, and those with excluded words are left out.
    #[arg(long, value_name = "PHOTO")]
    like: Option<PathBuf>,
    #[command(flatten)]
    index: IndexArgument,
    /// Number of photos to list.
    #[arg(long, value_name = "K", default_value_t = 10)]
    top: usize,
    /// Opens the best photo with the system's program for photos.
    #[arg(long)]
    open: bool,
    /// The format of the printed result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Answers the query and prints the answer.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (query, top) = (&arguments.query, arguments.top);
    if query.trim().is_empty() && arguments.like.is_none() {
        let mend =
            "the query is empty: say what photos should show, such as 'a dog jumps into water'";
        return Err(wrong(mend.to_owned()));
    }
    let mut searcher = Searcher::open(&arguments.index.folder()?)?;
    let mut request = SearchRequest::new(query, top);
    if let Some(photo) = &arguments.like {
        request.like = Some(query_photo(searcher.index(), &existing(photo)?)?);
    }
    let answer = searcher.answer(&request)?;
    match arguments.format {
        Format::Json => print_json(&answer)?,
        Format::Table => {
            let others = match arguments.like {
                None => "no word of the query names what a photo can show; most similar:",
                Some(_) => "looks most alike:",
            };
            print(&text(&answer, others, searcher.index())?)?;
        }
    }
    match answer.results.first() {
        Some(best) if arguments.open => open::that_detached(&best.path)
            .with_context(|| format!("cannot open {}", best.path.display())),
        None if arguments.open => {
            note("no photo to open");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The answer for people, with thumbnails where the terminal shows pictures. `others` is the title of photos
/// that are listed for their similarity alone.
fn text(answer: &Answer, others: &str, index: &Index) -> anyhow::Result<String> {
    let protocol = PictureProtocol::of_stdout();
    let mut lines = Vec::new();
    let (everything, part): (Vec<_>, Vec<_>) = answer
        .results
        .iter()
        .partition(|result| result.group == Group::Everything);
    let is_judged = part.iter().any(|result| !result.missing.is_empty());
    let part_title = if is_judged { "shows a part:" } else { others };
    for (title, group) in [("shows everything:", everything), (part_title, part)] {
        if !group.is_empty() {
            lines.push(title.to_owned());
            for result in group {
                lines.extend(result_lines(result));
                if let (Some(protocol), Some(id)) = (protocol, result.id) {
                    let preview = index.preview(PhotoId(id))?;
                    lines.extend(preview.and_then(|found| protocol.picture(&found.thumbnail)));
                }
            }
        }
    }
    for word in &answer.unknown {
        lines.push(format!(
            "the model has not learned “{}” and cannot tell which photos show it",
            printable(word)
        ));
    }
    let learned = |word: &&String| !answer.unknown.contains(word);
    for word in answer.nothing_shows.iter().filter(learned) {
        let name = printable(word);
        lines.push(match answer.perhaps_shown.contains(word) {
            true => format!("no photo clearly shows “{name}”; where it is marked with ?, one may"),
            false => format!("no photo shows “{name}”"),
        });
    }
    match (answer.searched, answer.results.is_empty()) {
        (0, _) => lines.push("no photo meets the conditions of the query".to_owned()),
        (searched, true) => lines.push(format!("none of {searched} photos answers the query")),
        _ => {}
    }
    Ok(lines.join("\n"))
}

/// Lines of a result: score and photo, and the evidence of each word that is looked for.
fn result_lines(result: &PhotoResult) -> Vec<String> {
    let words = result
        .words
        .iter()
        .filter(|word| word.counts && !word.excluded);
    let words = words.map(|word| {
        let text = printable(&word.word);
        match (word.relevance, word.shown, word.sure) {
            (Some(relevance), true, true) => format!("{text} {relevance:.2}"),
            (Some(relevance), _, false) => format!("{text} {relevance:.2}?"),
            _ => format!("[no {text}]"),
        }
    });
    let words: Vec<String> = words.collect();
    let photo = link(&result.path);
    let mut lines = vec![format!("  {:6.3}  {photo}", result.score)];
    if !words.is_empty() {
        lines.push(format!("          {}", words.join("  ")));
    }
    lines
}
