//! Captions that a report shows: what they found, and which region answered each word.

use std::collections::BTreeSet;

use uard_attention::evidence::{WordEvidence, evidence};
use uard_core::random::{Draws, permutation};
use uard_data::dataset::Split;
use uard_eval::{GroundTruth, RetrievalDirection, ranks};
use uard_features::text::CaptionWord;
use uard_model::ImageFeatures;
use uard_report::record::{CaptionExample, ExampleImage, ExampleWord, FoundImage};

use super::jobs::Best;
use super::picture;

/// Captions that found their own image first.
const HITS: usize = 4;

/// Captions that did not: a report shows failures as well.
const MISSES: usize = 2;

/// Images shown for each caption.
const FOUND: usize = 4;

/// Examples of a split, drawn by a seed: some hits, then some misses, each of another image.
pub fn examples(best: &Best, split: &Split, seed: u64) -> anyhow::Result<Vec<CaptionExample>> {
    let similarities = &best.evaluation.similarities;
    let truth = GroundTruth::from_image_of_caption(&split.image_of_caption, split.images())?;
    let ranks = ranks(similarities, &truth)?;
    let ranks = ranks.of(RetrievalDirection::TextToImage);
    let mut stream = Draws::new(seed).stream("examples of the report", &[]);
    let drawn = permutation(&mut stream, split.captions.len());
    let mut images = BTreeSet::new();
    let mut some = |hit: fn(usize) -> bool, most: usize| {
        let is_new = |caption: &usize| {
            ranks[*caption].is_some_and(hit) && images.insert(split.image_of_caption[*caption])
        };
        drawn
            .iter()
            .copied()
            .filter(is_new)
            .take(most)
            .collect::<Vec<usize>>()
    };
    let hits = some(|rank| rank == 1, HITS);
    let misses = some(|rank| rank > 1, MISSES);
    let shown = hits.into_iter().chain(misses);
    shown
        .map(|caption| example(best, split, caption, ranks[caption].unwrap_or(0)))
        .collect()
}

fn example(
    best: &Best,
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

/// The most similar images; of equals the first.
fn found(best: &Best, split: &Split, caption: usize) -> Vec<FoundImage> {
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

/// A picture that cannot be read is left out: the report stands without it.
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

fn words(best: &Best, split: &Split, caption: usize) -> anyhow::Result<Vec<ExampleWord>> {
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
            let answer = most_relevant(&evidence.words[rows])?;
            Some(ExampleWord {
                text,
                relevance: answer.relevance,
                answered: answer.answered,
                best_box: boxes.as_ref().map(|boxes| boxes[answer.best_region]),
                correct: correct(split, caption, word, answer),
            })
        })
        .collect())
}

/// The piece of a word that found most; of equals the first.
fn most_relevant(pieces: &[WordEvidence]) -> Option<&WordEvidence> {
    let pieces = pieces.iter().rev();
    pieces.max_by(|a, b| a.relevance.total_cmp(&b.relevance))
}

/// Whether the best region truly shows the word; `None` where nobody knows.
fn correct(split: &Split, caption: usize, word: usize, answer: &WordEvidence) -> Option<bool> {
    let aligned = &split.alignments.as_ref()?.captions[caption];
    let (_, regions) = aligned.iter().find(|(known, _)| *known == word)?;
    Some(regions.contains(&answer.best_region))
}
