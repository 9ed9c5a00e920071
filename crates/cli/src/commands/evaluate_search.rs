//! `uard evaluate-search`: evaluates a photo search where it is known what the photos show.

use std::path::PathBuf;

use uard_search::{MatchQuality, PhotoTruth, SearchQuality, Searcher};

use super::{Format, open_split};
use crate::exit::wrong;
use crate::index::features::indexed_path;
use crate::index::paths::{IndexArgument, existing};
use crate::tables::{percent, table};
use crate::terminal::{note, print, print_json};

/// Arguments of `uard evaluate-search`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What photos show is read from {split}_things.json (docs/data.md); without this file a \
    photo shows the words of its captions. Use photos that the model was not trained on.\n\n\
    Example:\n  \
    uard index --data data/scenes --split test --model runs/scenes --index scenes-test\n  \
    uard evaluate-search --index scenes-test --data data/scenes --split test"
)]
pub struct Arguments {
    #[command(flatten)]
    index: IndexArgument,
    /// Data directory with the captions of the photos.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The split of the photos: dev, test, …
    #[arg(long, value_name = "NAME", value_parser = super::split_name)]
    split: String,
    /// The folder of the photos. Default: the folder `images` of the data directory.
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// The format of the printed result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Evaluates the search and prints the result.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut split = open_split(&arguments.data, &arguments.split)?;
    if let Some(images) = &arguments.images {
        split = split.with_images_dir(images.clone());
    }
    let folder = arguments.index.folder()?;
    let mut searcher = Searcher::open(&folder)?;
    let mut known: Vec<PhotoTruth> = Vec::new();
    let data = existing(&arguments.data)?;
    let mut captions = vec![Vec::new(); split.images()];
    for (caption, &image) in split.captions.iter().zip(&split.image_of_caption) {
        captions[image].push(caption.clone());
    }
    for (image, captions) in captions.into_iter().enumerate() {
        if let Some(photo) = searcher
            .index()
            .photo_at(&indexed_path(&split, image, &data))?
        {
            known.push(PhotoTruth {
                id: photo.id,
                things: split
                    .things
                    .as_ref()
                    .map(|things| things.images[image].clone()),
                captions,
            });
        }
    }
    if known.is_empty() {
        return Err(wrong(format!(
            "{}: holds no photo of split {} of {}; index them first, or name their folder: --images DIR",
            folder.display(),
            split.name,
            arguments.data.display()
        )));
    }
    note(&format!(
        "{} of {} photos of the split are in the index",
        known.len(),
        split.images()
    ));
    let quality = searcher.quality(&known)?;
    match arguments.format {
        Format::Json => print_json(&quality),
        Format::Table => print(&text(&quality)),
    }
}

/// The result for people.
fn text(quality: &SearchQuality) -> String {
    let words = &quality.words;
    let truth = match quality.things_known {
        true => "what the photos show is known",
        false => {
            "photos count as showing the words of their captions, which do not name everything"
        }
    };
    let mut lines = vec![
        format!("{} photos; {truth}", quality.photos),
        String::new(),
        format!(
            "does a photo show a word, {} words: F1 {}, precision {}, recall {}",
            quality.judged_words,
            percent(quality.words_f1),
            percent(words.precision()),
            percent(words.recall())
        ),
    ];
    if let Some(pointing) = &quality.pointing {
        lines.push(format!(
            "pointing, {} shown words: the region overlaps the thing for {} %, its centre is inside for {} %",
            pointing.words,
            percent(pointing.overlap),
            percent(pointing.centre)
        ));
    }
    let exclusion = &quality.exclusion;
    lines.push(format!(
        "A and not B, {} queries: {} % of the first ten are right; {} % by chance",
        exclusion.queries,
        percent(exclusion.right),
        percent(exclusion.by_chance)
    ));
    for (what, matches) in [
        ("a word", &quality.matches_of_words),
        ("a phrase", &quality.matches_of_phrases),
    ] {
        if !matches.is_empty() {
            lines.push(format!(
                "\ndoes any photo show {what}, F1:\n{}",
                table_of_matches(matches)
            ));
        }
    }
    let order = &quality.order;
    let recall = |[r1, r5, r10]: [f64; 3]| format!("{r1:.1}, {r5:.1}, {r10:.1}");
    lines.push(format!(
        "\nR@1, R@5, R@10 of {} captions: {} in the order of the search, {} by similarity alone",
        order.captions,
        recall(order.search),
        recall(order.similarity)
    ));
    lines.join("\n")
}

fn table_of_matches(matches: &[MatchQuality]) -> String {
    let mut rows = table(&[
        "photos",
        "queries",
        "the search",
        "perhaps shown too",
        "best cutoff in hindsight",
    ]);
    for found in matches {
        rows.add_row([
            found.photos.to_string(),
            found.queries.to_string(),
            percent(found.sure),
            percent(found.perhaps),
            percent(found.best_cutoff),
        ]);
    }
    rows.to_string()
}
