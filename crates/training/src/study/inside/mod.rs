//! Where do two settings differ: in which words, which captions, which regions?

mod look;
mod ranks;

use serde::{Deserialize, Serialize};

use super::StudyRun;
use crate::record::ExampleWord;

pub use look::{Look, Seen, WordCounts};
pub use ranks::{FIRST, Shifts, found_by_one, shifts};

/// Occurrences that a word needs: below this a fraction says little.
const FEWEST: usize = 20;

/// Words listed at each end.
const LISTED: usize = 25;

/// A setting beside the baseline, for one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InsideRecord {
    /// The two runs.
    pub of: Both<InsideRun>,
    /// Their seed.
    pub seed: u64,
    /// Words that occur often enough to be counted.
    pub words: usize,
    /// Occurrences that takes.
    pub fewest: usize,
    /// Most often answered words of the setting first.
    pub most_answered: Vec<WordRecord>,
    /// Least often answered words of the setting first.
    pub least_answered: Vec<WordRecord>,
    /// Images that ask for captions, found among the first ten.
    pub images: FoundByOne,
    /// Captions that ask for images, found among the first ten.
    pub captions: FoundByOne,
    /// Captions that rank better with the setting, largest difference first.
    pub gained: Vec<CaptionShift>,
    /// Captions that rank better with the baseline, largest difference first.
    pub lost: Vec<CaptionShift>,
    /// Regions of matched images that are above the threshold for no word.
    pub unreached: Both<Unreached>,
}

/// The same thing of both.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Both<T> {
    /// Of the setting that is looked into.
    pub setting: T,
    /// Of the baseline.
    pub baseline: T,
}

/// Which run it was: what a record is recognised by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InsideRun {
    /// Name of the setting.
    pub name: String,
    /// Its resolved configuration, as TOML.
    pub config: String,
    /// Threshold of the evaluation, a cosine.
    pub threshold: f64,
    /// sha256 of the split.
    pub evaluation_data_hash: String,
}

impl InsideRun {
    /// That of a run.
    pub fn of(run: &StudyRun) -> Self {
        Self {
            name: run.run.name.clone(),
            config: run.run.config.clone(),
            threshold: run.evaluation.threshold,
            evaluation_data_hash: run.evaluation_data_hash.clone(),
        }
    }
}

/// A word over all its occurrences on the split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WordRecord {
    /// The word.
    pub word: String,
    /// How often it occurs.
    pub occurrences: usize,
    /// What it finds.
    pub found: Both<WordFound>,
}

/// What a word finds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WordFound {
    /// Fraction of its occurrences whose highest relevance in the matched image is above the
    /// threshold.
    pub answered: f64,
    /// Mean of that relevance, a cosine.
    pub matched: f64,
    /// The same in a mismatched image, one drawn for each caption; absent for a single image.
    pub mismatched: Option<f64>,
}

/// Queries that find their match among the first ten, by who finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FoundByOne {
    /// All queries.
    pub queries: usize,
    /// Found by the setting alone.
    pub setting: usize,
    /// Found by the baseline alone.
    pub baseline: usize,
}

/// A caption whose image ranks differently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionShift {
    /// As written.
    pub caption: String,
    /// Id of its image.
    pub image: String,
    /// Rank of its image, from 1.
    pub rank: Both<usize>,
    /// Its words with their relevance in its image.
    pub words: Both<Vec<ExampleWord>>,
}

/// Mean fractions of an image's regions whose relevance is above the threshold for no word.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Unreached {
    /// For no word of a caption, over captions.
    pub by_caption: f64,
    /// For no word of any of its captions, over images with captions.
    pub by_image: f64,
}

/// Puts what was seen of both side by side.
fn words(seen: &Both<&Look>) -> (usize, Vec<WordRecord>) {
    let often = seen
        .setting
        .words
        .iter()
        .filter(|(_, counts)| counts.occurrences >= FEWEST);
    let mut records: Vec<WordRecord> = often
        .filter_map(|(word, counts)| {
            Some(WordRecord {
                word: word.clone(),
                occurrences: counts.occurrences,
                found: Both {
                    setting: counts.found(),
                    baseline: seen.baseline.words.get(word)?.found(),
                },
            })
        })
        .collect();
    let answered = |record: &WordRecord| record.found.setting.answered;
    // Of words that are answered equally often, the one of higher relevance.
    let matched = |record: &WordRecord| record.found.setting.matched;
    records.sort_by(|a, b| {
        let by_answer = answered(b).total_cmp(&answered(a));
        by_answer.then(matched(b).total_cmp(&matched(a)))
    });
    (records.len(), records)
}

/// The captions that shifted most, with what their words find.
fn caption_shifts(
    chosen: &[usize],
    ranks: &Both<&[Option<usize>]>,
    seen: &Both<&Look>,
    text: &dyn Fn(usize) -> (String, String),
) -> Vec<CaptionShift> {
    let shift = |&caption: &usize| {
        let (written, image) = text(caption);
        Some(CaptionShift {
            caption: written,
            image,
            rank: Both {
                setting: ranks.setting[caption]?,
                baseline: ranks.baseline[caption]?,
            },
            words: Both {
                setting: seen.setting.shown.get(&caption)?.clone(),
                baseline: seen.baseline.shown.get(&caption)?.clone(),
            },
        })
    };
    chosen.iter().filter_map(shift).collect()
}

/// Compares two runs of one seed on the split that both were evaluated on.
pub fn inside(
    runs: &Both<&StudyRun>,
    shifts: &Shifts,
    seen: &Both<&Look>,
    text: &dyn Fn(usize) -> (String, String),
) -> InsideRecord {
    let (count, words) = words(seen);
    let ranks = Both {
        setting: runs.setting.text_to_image.as_slice(),
        baseline: runs.baseline.text_to_image.as_slice(),
    };
    let images = Both {
        setting: runs.setting.image_to_text.as_slice(),
        baseline: runs.baseline.image_to_text.as_slice(),
    };
    InsideRecord {
        of: Both {
            setting: InsideRun::of(runs.setting),
            baseline: InsideRun::of(runs.baseline),
        },
        seed: runs.setting.run.seed,
        words: count,
        fewest: FEWEST,
        most_answered: words.iter().take(LISTED).cloned().collect(),
        least_answered: words.iter().rev().take(LISTED).cloned().collect(),
        images: found_by_one(&images),
        captions: found_by_one(&ranks),
        gained: caption_shifts(&shifts.gained, &ranks, seen, text),
        lost: caption_shifts(&shifts.lost, &ranks, seen, text),
        unreached: Both {
            setting: seen.setting.unreached,
            baseline: seen.baseline.unreached,
        },
    }
}
