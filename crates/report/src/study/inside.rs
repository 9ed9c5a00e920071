//! Where two settings differ: in which words, which captions, which regions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::StudyRun;
use crate::record::ExampleWord;

/// A query is found when its match is among the first so many.
pub const FIRST: usize = 10;

/// Occurrences that a word needs: below this a fraction says little.
const FEWEST: usize = 20;

/// Words listed at each end.
const WORDS: usize = 25;

/// Captions listed each way.
const CAPTIONS: usize = 15;

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

impl InsideRecord {
    /// Whether it is what these two runs come to.
    pub fn is_of(&self, runs: Both<&StudyRun>) -> bool {
        self.of == runs.map(InsideRun::of) && self.seed == runs.setting.run.seed
    }
}

/// The same thing of both.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Both<T> {
    /// Of the setting that is looked into.
    pub setting: T,
    /// Of the baseline.
    pub baseline: T,
}

impl<T> Both<T> {
    /// References to both.
    pub fn as_ref(&self) -> Both<&T> {
        Both {
            setting: &self.setting,
            baseline: &self.baseline,
        }
    }

    /// Something of both.
    pub fn map<U>(self, of: impl Fn(T) -> U) -> Both<U> {
        Both {
            setting: of(self.setting),
            baseline: of(self.baseline),
        }
    }

    /// Something of both, where there is something of both.
    pub fn filter_map<U>(self, of: impl Fn(T) -> Option<U>) -> Option<Both<U>> {
        Some(Both {
            setting: of(self.setting)?,
            baseline: of(self.baseline)?,
        })
    }

    /// The setting, then the baseline.
    pub fn each(self) -> [T; 2] {
        [self.setting, self.baseline]
    }
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

/// What was seen of one model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Look {
    /// Every word of the split.
    pub words: BTreeMap<String, WordCounts>,
    /// The words of the captions that were asked for.
    pub shown: BTreeMap<usize, Vec<ExampleWord>>,
    /// Regions that no word reaches.
    pub unreached: Unreached,
}

/// Sums over the occurrences of a word.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct WordCounts {
    /// How often it occurs.
    pub occurrences: usize,
    /// How often it is answered in the matched image.
    pub answered: usize,
    /// Sum of its highest relevance there.
    pub matched: f64,
    /// The same in mismatched images.
    pub mismatched: f64,
    /// Occurrences that had a mismatched image.
    pub compared: usize,
}

impl WordCounts {
    /// The means; of a word that occurs.
    fn found(&self) -> WordFound {
        let compared = self.compared > 0;
        WordFound {
            answered: self.answered as f64 / self.occurrences as f64,
            matched: self.matched / self.occurrences as f64,
            mismatched: compared.then(|| self.mismatched / self.compared as f64),
        }
    }
}

/// Captions whose rank differs most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shifts {
    /// Better with the setting, largest difference first.
    pub gained: Vec<usize>,
    /// Better with the baseline, largest difference first.
    pub lost: Vec<usize>,
}

/// Compares two runs of one seed on the split that both were evaluated on; `text` answers with a
/// caption and the id of its image.
pub fn inside(
    runs: Both<&StudyRun>,
    shifts: &Shifts,
    seen: Both<&Look>,
    text: &dyn Fn(usize) -> (String, String),
) -> InsideRecord {
    let words = words(seen);
    let ranks = runs.map(|run| run.ranks.text_to_image.as_slice());
    let shift = |&caption: &usize| {
        let (written, image) = text(caption);
        Some(CaptionShift {
            caption: written,
            image,
            rank: ranks.filter_map(|ranks| ranks[caption])?,
            words: seen.filter_map(|look| look.shown.get(&caption).cloned())?,
        })
    };
    InsideRecord {
        of: runs.map(InsideRun::of),
        seed: runs.setting.run.seed,
        words: words.len(),
        fewest: FEWEST,
        most_answered: words.iter().take(WORDS).cloned().collect(),
        least_answered: words.iter().rev().take(WORDS).cloned().collect(),
        images: found_by_one(runs.map(|run| run.ranks.image_to_text.as_slice())),
        captions: found_by_one(ranks),
        gained: shifts.gained.iter().filter_map(shift).collect(),
        lost: shifts.lost.iter().filter_map(shift).collect(),
        unreached: seen.map(|look| look.unreached),
    }
}

/// The words that occur often enough, the most often answered by the setting first.
fn words(seen: Both<&Look>) -> Vec<WordRecord> {
    let often = |(word, counts): (&String, &WordCounts)| {
        Some(WordRecord {
            word: word.clone(),
            occurrences: Some(counts.occurrences).filter(|&count| count >= FEWEST)?,
            found: seen.filter_map(|look| Some(look.words.get(word)?.found()))?,
        })
    };
    let mut records: Vec<WordRecord> = seen.setting.words.iter().filter_map(often).collect();
    let of_setting = |record: &WordRecord| record.found.setting;
    records.sort_by(|a, b| {
        let by_answer = of_setting(b).answered.total_cmp(&of_setting(a).answered);
        // Of words that are answered equally often, the one of higher relevance.
        by_answer.then(of_setting(b).matched.total_cmp(&of_setting(a).matched))
    });
    records
}

/// Counts the queries that exactly one of both finds; what has no rank is no query.
fn found_by_one(ranks: Both<&[Option<usize>]>) -> FoundByOne {
    let mut found = FoundByOne::default();
    for (setting, baseline) in ranks.setting.iter().zip(ranks.baseline) {
        let (Some(setting), Some(baseline)) = (setting, baseline) else {
            continue;
        };
        found.queries += 1;
        match (*setting <= FIRST, *baseline <= FIRST) {
            (true, false) => found.setting += 1,
            (false, true) => found.baseline += 1,
            _ => {}
        }
    }
    found
}

/// The captions whose rank differs most, each way; of equals the earlier caption.
pub fn shifts(ranks: Both<&[Option<usize>]>) -> Shifts {
    let pairs = ranks.setting.iter().zip(ranks.baseline).enumerate();
    let gain = |(caption, (setting, baseline)): (usize, (&Option<usize>, &Option<usize>))| {
        Some(((*baseline)? as i64 - (*setting)? as i64, caption))
    };
    let gains: Vec<(i64, usize)> = pairs.filter_map(gain).collect();
    // The sort is stable: of equal gains the earlier caption.
    let largest = |sign: i64| {
        let mut moved: Vec<_> = gains.iter().filter(|of| sign * of.0 > 0).collect();
        moved.sort_by_key(|of| -sign * of.0);
        let listed = moved.into_iter().take(CAPTIONS);
        listed.map(|of| of.1).collect()
    };
    Shifts {
        gained: largest(1),
        lost: largest(-1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTING: [Option<usize>; 6] = [Some(1), Some(11), Some(40), None, Some(10), Some(3)];
    const BASELINE: [Option<usize>; 6] = [Some(12), Some(10), Some(5), Some(1), Some(9), Some(3)];

    fn both() -> Both<&'static [Option<usize>]> {
        Both {
            setting: &SETTING,
            baseline: &BASELINE,
        }
    }

    #[test]
    fn queries_that_one_alone_finds_are_counted_for_it() {
        let found = found_by_one(both());
        let expected = FoundByOne {
            queries: 5,
            setting: 1,
            baseline: 2,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn captions_are_listed_by_how_far_they_moved() {
        let shifts = shifts(both());
        assert_eq!(shifts.gained, [0]);
        assert_eq!(shifts.lost, [2, 1, 4]);
    }

    #[test]
    fn equal_shifts_keep_the_order_of_the_captions() {
        let (low, high) = ([Some(1); 20], [Some(2); 20]);
        let shifts = shifts(Both {
            setting: &low,
            baseline: &high,
        });
        assert_eq!(shifts.gained, (0..CAPTIONS).collect::<Vec<_>>());
        assert!(shifts.lost.is_empty());
    }
    #[test]
    fn means_of_a_word_are_over_what_was_compared() {
        let counts = WordCounts {
            occurrences: 4,
            answered: 3,
            matched: 2.0,
            mismatched: 0.0,
            compared: 0,
        };
        let found = counts.found();
        assert_eq!(
            (found.answered, found.matched, found.mismatched),
            (0.75, 0.5, None)
        );
    }
}
