//! The example captions of a report: the images that each found, and the best region of each word.

use std::collections::BTreeSet;

use uard_attention::evidence::{WordEvidence, evidence};
use uard_core::random::{Draws, permutation};
use uard_data::dataset::Split;
use uard_eval::{GroundTruth, RetrievalDirection, ranks};
use uard_features::text::CaptionWord;
use uard_model::ImageFeatures;
use uard_report::record::{CaptionExample, ExampleImage, ExampleWord, FoundImage};

use super::jobs::ModelEvaluation;
use super::picture;

/// Number of shown captions that rank their own image first.
const HITS: usize = 4;

/// Number of shown captions that rank another image first, so that a report shows failures as well.
const MISSES: usize = 2;

/// Number of images shown for each caption.
const FOUND: usize = 4;

/// Examples of a split, drawn by a seed: [`HITS`], then [`MISSES`], each of another image.
pub fn examples(
    best: &ModelEvaluation,
    split: &Split,
    seed: u64,
) -> anyhow::Result<Vec<CaptionExample>> {
    let similarities = &best.evaluation.similarities;
    let truth = GroundTruth::from_image_of_caption(&split.image_of_caption, split.images())?;
    let ranks = ranks(similarities, &truth)?;
    let ranks = ranks.in_direction(RetrievalDirection::TextToImage);
    let mut stream = Draws::new(seed).stream("examples of the report", &[]);
    let drawn = permutation(&mut stream, split.captions.len());
    let mut images = BTreeSet::new();
    let mut take = |rank_fits: fn(usize) -> bool, count: usize| {
        let is_new = |caption: &usize| {
            ranks[*caption].is_some_and(rank_fits)
                && images.insert(split.image_of_caption[*caption])
        };
        drawn
            .iter()
            .copied()
            .filter(is_new)
            .take(count)
            .collect::<Vec<usize>>()
    };
    let hits = take(|rank| rank == 1, HITS);
    let misses = take(|rank| rank > 1, MISSES);
    let shown = hits.into_iter().chain(misses);
    shown
        .map(|caption| example(best, split, caption, ranks[caption].unwrap_or(0)))
        .collect()
}

fn example(
    best: &ModelEvaluation,
    split: &Split,
    caption: usize,
    rank: usize,
) -> anyhow::Result<CaptionExample> {
    let own = split.image_of_caption[caption];
    Ok(CaptionExample {
        caption: split.captions[caption].clone(),
        matched: image(split, own),
        words: words(best, split, caption)?,
        found: found(best, split, caption),
        rank,
    })
}

/// The most similar images; of equal ones those with the lower index first.
fn found(best: &ModelEvaluation, split: &Split, caption: usize) -> Vec<FoundImage> {
    let similarities = &best.evaluation.similarities;
    let similarity = |image: usize| similarities.row(image)[caption];
    let mut order: Vec<usize> = (0..split.images()).collect();
    order.sort_by(|&a, &b| similarity(b).total_cmp(&similarity(a)));
    let first = order.into_iter().take(FOUND);
    first
        .map(|found| FoundImage {
            image: image(split, found),
            similarity: similarity(found) as f32,
            matched: found == split.image_of_caption[caption],
        })
        .collect()
}

/// An image with its picture, which is left out of the report if it cannot be read.
fn image(split: &Split, image: usize) -> ExampleImage {
    let bytes = split
        .image_file(image)
        .and_then(|path| picture::read(&path).ok());
    ExampleImage {
        id: split.ids[image].clone(),
        size: bytes.as_deref().and_then(picture::size),
        bytes,
    }
}

fn words(
    best: &ModelEvaluation,
    split: &Split,
    caption: usize,
) -> anyhow::Result<Vec<ExampleWord>> {
    let image = split.image_of_caption[caption];
    let text = &split.captions[caption];
    let features = ImageFeatures::read(&split.regions, &[image])?;
    let (regions, words) = (best.model.images(features)?, best.model.texts(&[text])?);
    let threshold = best.evaluation.record.threshold;
    let evidence = evidence(best.model.matcher(), &regions, &words, threshold)?;
    let boxes = split
        .boxes
        .as_ref()
        .map(|boxes| boxes.read(image))
        .transpose()?;
    let shown = best.model.text().words(text)?.into_iter().enumerate();
    Ok(shown
        .filter_map(|(word, CaptionWord { text, rows })| {
            let piece = most_relevant(&evidence.words[rows])?;
            Some(ExampleWord {
                text,
                relevance: piece.relevance,
                answered: piece.answered,
                best_box: boxes.as_ref().map(|boxes| boxes[piece.best_region]),
                correct: correct(split, caption, word, piece),
            })
        })
        .collect())
}

/// The piece of a word with the highest relevance; of equal ones the first.
fn most_relevant(pieces: &[WordEvidence]) -> Option<&WordEvidence> {
    let pieces = pieces.iter().rev();
    pieces.max_by(|a, b| a.relevance.total_cmp(&b.relevance))
}

/// Whether the best region shows the word by the true alignments; `None` if they do not have the word.
fn correct(split: &Split, caption: usize, word: usize, piece: &WordEvidence) -> Option<bool> {
    let aligned = &split.alignments.as_ref()?.captions[caption];
    let (_, regions) = aligned.iter().find(|(known, _)| *known == word)?;
    Some(regions.contains(&piece.best_region))
}
