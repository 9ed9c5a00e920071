//! Compares a setting with the baseline by words, captions and regions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::StudyRun;
use crate::record::ExampleWord;

/// A query counts as found when its match is among this many first results.
pub const FIRST: usize = 10;

/// Words with fewer occurrences are not listed, because their fractions are too uncertain.
const FEWEST: usize = 20;

/// Number of words listed as most, and as least often answered.
const WORDS: usize = 25;

/// Number of captions listed for the setting, and for the baseline.
const CAPTIONS: usize = 15;

/// A setting compared with the baseline, for one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InsideRecord {
    /// The two runs.
    pub of: Compared<InsideRun>,
    /// The seed of both runs.
    pub seed: u64,
    /// Number of words with at least `fewest` occurrences.
    pub words: usize,
    /// Smallest number of occurrences of a listed word.
    pub fewest: usize,
    /// The words that the setting answers most often, in that order.
    pub most_answered: Vec<WordRecord>,
    /// The words that the setting answers least often, in that order.
    pub least_answered: Vec<WordRecord>,
    /// Image queries with a caption among the first ten.
    pub images: FoundByOne,
    /// Caption queries with their image among the first ten.
    pub captions: FoundByOne,
    /// Captions whose image has a better rank with the setting, largest difference first.
    pub gained: Vec<CaptionShift>,
    /// Captions whose image has a better rank with the baseline, largest difference first.
    pub lost: Vec<CaptionShift>,
    /// Regions of matched images that are above the threshold for no word.
    pub unreached: Compared<Unreached>,
}

impl InsideRecord {
    /// Whether this record compares these two runs.
    pub fn is_of(&self, runs: Compared<&StudyRun>) -> bool {
        self.of == runs.map(InsideRun::from_run) && self.seed == runs.setting.run.seed
    }
}

/// A value of the setting beside the same value of the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Compared<T> {
    /// The value of the setting that is compared with the baseline.
    pub setting: T,
    /// The value of the baseline.
    pub baseline: T,
}

impl<T> Compared<T> {
    /// References to both values.
    pub fn as_ref(&self) -> Compared<&T> {
        Compared {
            setting: &self.setting,
            baseline: &self.baseline,
        }
    }

    /// Applies a function to both values.
    pub fn map<U>(self, function: impl Fn(T) -> U) -> Compared<U> {
        Compared {
            setting: function(self.setting),
            baseline: function(self.baseline),
        }
    }

    /// Applies a function to both values; `None` if it gives `None` for either.
    pub fn filter_map<U>(self, function: impl Fn(T) -> Option<U>) -> Option<Compared<U>> {
        Some(Compared {
            setting: function(self.setting)?,
            baseline: function(self.baseline)?,
        })
    }

    /// The setting's value, then the baseline's.
    pub fn each(self) -> [T; 2] {
        [self.setting, self.baseline]
    }
}

/// Identifies a run that was compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InsideRun {
    /// Name of the setting.
    pub name: String,
    /// The run's resolved configuration, as TOML.
    pub config: String,
    /// Threshold of the evaluation, a cosine.
    pub threshold: f64,
    /// sha256 of the evaluated split.
    pub evaluation_data_hash: String,
}

impl InsideRun {
    /// The identity of a run.
    pub fn from_run(run: &StudyRun) -> Self {
        Self {
            name: run.run.name.clone(),
            config: run.run.config.clone(),
            threshold: run.evaluation.threshold,
            evaluation_data_hash: run.evaluation_data_hash.clone(),
        }
    }
}

/// The results of a word over all its occurrences in the split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WordRecord {
    /// The word.
    pub word: String,
    /// Number of occurrences.
    pub occurrences: usize,
    /// Means over the occurrences of the word, with the setting and with the baseline.
    pub found: Compared<WordFound>,
}

/// Means over the occurrences of a word.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WordFound {
    /// Fraction of its occurrences whose highest relevance in the matched image is above the
    /// threshold.
    pub answered: f64,
    /// Mean of the highest relevance in the matched image, a cosine.
    pub matched: f64,
    /// Mean of the highest relevance in a mismatched image, one drawn for each caption; `None` if
    /// the split has one image only.
    pub mismatched: Option<f64>,
}

/// Counts of queries whose match only one of the two runs has among the first ten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FoundByOne {
    /// Number of all queries.
    pub queries: usize,
    /// Number of queries found by the setting only.
    pub setting: usize,
    /// Number of queries found by the baseline only.
    pub baseline: usize,
}

/// A caption whose image has different ranks with the two runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionShift {
    /// The caption, as written.
    pub caption: String,
    /// Id of the caption's image.
    pub image: String,
    /// Rank of the caption's image, from 1.
    pub rank: Compared<usize>,
    /// The caption's words with their relevance in its image.
    pub words: Compared<Vec<ExampleWord>>,
}

/// Mean fractions of an image's regions whose relevance is above the threshold for no word.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Unreached {
    /// Fraction above the threshold for no word of one caption: the mean over captions.
    pub by_caption: f64,
    /// Fraction above the threshold for no word of any of the image's captions: the mean over
    /// images with captions.
    pub by_image: f64,
}

/// Statistics of one model over the words of a split.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WordStatistics {
    /// The sums of every word of the split.
    pub words: BTreeMap<String, WordCounts>,
    /// The words of some captions with their relevance, by the caption's index.
    pub shown: BTreeMap<usize, Vec<ExampleWord>>,
    /// Fractions of the regions that are above the threshold for no word.
    pub unreached: Unreached,
}

/// Sums over the occurrences of a word.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct WordCounts {
    /// Number of occurrences.
    pub occurrences: usize,
    /// Number of occurrences that are answered in the matched image.
    pub answered: usize,
    /// Sum of the highest relevance in the matched image.
    pub matched: f64,
    /// Sum of the highest relevance in the mismatched image.
    pub mismatched: f64,
    /// Number of occurrences that were compared with a mismatched image.
    pub compared: usize,
}

impl WordCounts {
    /// The means over the occurrences, of which there must be at least one.
    fn found(&self) -> WordFound {
        let compared = self.compared > 0;
        WordFound {
            answered: self.answered as f64 / self.occurrences as f64,
            matched: self.matched / self.occurrences as f64,
            mismatched: compared.then(|| self.mismatched / self.compared as f64),
        }
    }
}

/// Indices of the captions whose image's rank differs most between two runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shifts {
    /// Captions whose image has a better rank with the setting, largest difference first.
    pub gained: Vec<usize>,
    /// Captions whose image has a better rank with the baseline, largest difference first.
    pub lost: Vec<usize>,
}

/// Compares two runs of one seed on the split that both were evaluated on; `text` returns a caption
/// and the id of its image.
pub fn inside(
    runs: Compared<&StudyRun>,
    shifts: &Shifts,
    statistics: Compared<&WordStatistics>,
    text: &dyn Fn(usize) -> (String, String),
) -> InsideRecord {
    let words = words(statistics);
    let ranks = runs.map(|run| run.ranks.text_to_image.as_slice());
    let shift = |&caption: &usize| {
        let (written, image) = text(caption);
        Some(CaptionShift {
            caption: written,
            image,
            rank: ranks.filter_map(|ranks| ranks[caption])?,
            words: statistics.filter_map(|model| model.shown.get(&caption).cloned())?,
        })
    };
    InsideRecord {
        of: runs.map(InsideRun::from_run),
        seed: runs.setting.run.seed,
        words: words.len(),
        fewest: FEWEST,
        most_answered: words.iter().take(WORDS).cloned().collect(),
        least_answered: words.iter().rev().take(WORDS).cloned().collect(),
        images: found_by_one(runs.map(|run| run.ranks.image_to_text.as_slice())),
        captions: found_by_one(ranks),
        gained: shifts.gained.iter().filter_map(shift).collect(),
        lost: shifts.lost.iter().filter_map(shift).collect(),
        unreached: statistics.map(|model| model.unreached),
    }
}

/// The words with at least [`FEWEST`] occurrences, the most often answered by the setting first.
fn words(statistics: Compared<&WordStatistics>) -> Vec<WordRecord> {
    let often = |(word, counts): (&String, &WordCounts)| {
        Some(WordRecord {
            word: word.clone(),
            occurrences: Some(counts.occurrences).filter(|&count| count >= FEWEST)?,
            found: statistics.filter_map(|model| Some(model.words.get(word)?.found()))?,
        })
    };
    let words = statistics.setting.words.iter();
    let mut records: Vec<WordRecord> = words.filter_map(often).collect();
    let of_setting = |record: &WordRecord| record.found.setting;
    records.sort_by(|a, b| {
        let by_answer = of_setting(b).answered.total_cmp(&of_setting(a).answered);
        // Words that are answered equally often are ordered by relevance, the highest first.
        by_answer.then(of_setting(b).matched.total_cmp(&of_setting(a).matched))
    });
    records
}

/// Counts the queries that exactly one of the two runs finds. Entries without a rank are no
/// queries.
fn found_by_one(ranks: Compared<&[Option<usize>]>) -> FoundByOne {
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

/// The captions whose rank differs most, in both directions; of equal differences the earlier
/// caption first.
pub fn shifts(ranks: Compared<&[Option<usize>]>) -> Shifts {
    let pairs = ranks.setting.iter().zip(ranks.baseline).enumerate();
    let gain = |(caption, (setting, baseline)): (usize, (&Option<usize>, &Option<usize>))| {
        Some(((*baseline)? as i64 - (*setting)? as i64, caption))
    };
    let gains: Vec<(i64, usize)> = pairs.filter_map(gain).collect();
    // The sort is stable, so that of equal gains the earlier caption comes first.
    let largest = |sign: i64| {
        let mut moved: Vec<_> = gains.iter().filter(|(gain, _)| sign * gain > 0).collect();
        moved.sort_by_key(|(gain, _)| -sign * gain);
        let listed = moved.into_iter().take(CAPTIONS);
        listed.map(|&(_, caption)| caption).collect()
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

    fn ranks() -> Compared<&'static [Option<usize>]> {
        Compared {
            setting: &SETTING,
            baseline: &BASELINE,
        }
    }

    #[test]
    fn queries_that_only_one_run_finds_are_counted_for_it() {
        let found = found_by_one(ranks());
        let expected = FoundByOne {
            queries: 5,
            setting: 1,
            baseline: 2,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn captions_are_listed_by_the_difference_of_their_ranks() {
        let shifts = shifts(ranks());
        assert_eq!(shifts.gained, [0]);
        assert_eq!(shifts.lost, [2, 1, 4]);
    }

    #[test]
    fn equal_shifts_keep_the_order_of_the_captions() {
        let (low, high) = ([Some(1); 20], [Some(2); 20]);
        let shifts = shifts(Compared {
            setting: &low,
            baseline: &high,
        });
        assert_eq!(shifts.gained, (0..CAPTIONS).collect::<Vec<_>>());
        assert!(shifts.lost.is_empty());
    }

    #[test]
    fn a_word_without_mismatched_image_has_no_mean_there() {
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
