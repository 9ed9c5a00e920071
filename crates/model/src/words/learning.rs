//! Learns the words of a model from the captions and images that it was trained on.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device};
use nalgebra::DMatrix;
use uard_attention::search::Search;
use uard_attention::{Engine, Precision};
use uard_data::dataset::Split;
use uard_relevance::{Logistic, Normal};

use super::classifiers::Classifiers;
use super::{Header, LearnedWord, LearnedWords, WordBorders, WordDistributions, highest_relevance};
use crate::{CAPTIONS_AT_ONCE, Checkpoint, Error, IMAGES_AT_ONCE, ImageFeatures, Model, Result};

/// The least number of images that show a word, and that do not, for its border.
const LEAST_IMAGES: usize = 10;

/// The most images, with their captions, that words are learned from.
const MOST_IMAGES: usize = 6000;

/// A photo is likely to show a word from this chance on. The F1 of reporting a word is highest at the chance
/// that is half of this F1, which is about 0.4 on photographs.
///
/// # Source
/// Lipton, Elkan, Naryanaswamy, "Optimal Thresholding of Classifiers to Maximize F1 Measure", 2014.
const LIKELY: f64 = 0.2;

/// A photo surely lacks a word if its odds p / (1 - p) are below this fraction of the prior odds, those of
/// the word over all images (at most 1).
const UNLIKELY: f64 = 0.1;

/// A word is judged if the highest cosine of a region explains at least this share of the uncertainty about
/// which captions have it (McFadden's R²). For function words it is near 0.
const LEAST_EXPLAINED: f64 = 0.1;

impl LearnedWords {
    /// Learns the words of a split's captions, for a model that was trained on them.
    ///
    /// The vector of a word is the mean of its vectors over all captions, scaled to unit length. The relevance
    /// of an image is the highest cosine of a region with it, plus what the word's classifier adds: a ridge
    /// regression on the mean of the image's regions. Both count in units of their standard deviation, by how
    /// well each tells the images whose captions have the word. The borders come from a logistic regression on
    /// the sum. `on_progress` is called with the number of images that are done and of all.
    ///
    /// # Errors
    /// When features cannot be read, or a caption not be encoded.
    ///
    /// # Source
    /// docs/decisions/0037-a-word-is-judged-alone.md, with what was compared.
    pub fn learn(
        checkpoint: &Checkpoint,
        model: &Model,
        split: &Split,
        on_progress: &dyn Fn(usize, usize),
    ) -> Result<Self> {
        let images = evenly_spread(split.images());
        let sums = WordSums::new(model, split, &images)?;
        let mut words = Self {
            header: Header {
                model: checkpoint.identity()?,
                words: Vec::new(),
            },
            vectors: Vec::new(),
            classifiers: Vec::new(),
            width: model.joint_width(),
        };
        let mut labels = Vec::new();
        for (text, sum) in sums.0 {
            words.header.words.push(LearnedWord {
                text,
                borders: None,
                region_borders: None,
                chance: None,
                distributions: None,
                images: sum.images.len(),
            });
            words.vectors.extend(unit(&sum.vector));
            let has_word = images.iter().map(|image| sum.images.contains(image));
            labels.push(has_word.collect());
        }
        if !labels.is_empty() {
            let compared = words.compare(model, split, &images, on_progress)?;
            words.learn_borders(compared, &labels)?;
        }
        Ok(words)
    }

    /// Compares each word with some images.
    fn compare(
        &self,
        model: &Model,
        split: &Split,
        images: &[usize],
        on_progress: &dyn Fn(usize, usize),
    ) -> Result<ComparedImages> {
        let search = Search::new(&highest_relevance()?, 0.0, Engine::Auto, Precision::F32)?;
        let all = self.captions(&(0..self.header.words.len()).collect::<Vec<_>>())?;
        let all = search.collect_words(&all)?;
        let mut compared = ComparedImages {
            cosines: vec![0.0; images.len() * all.captions()],
            means: Vec::with_capacity(images.len() * self.width),
        };
        let rows = compared.cosines.chunks_mut(IMAGES_AT_ONCE * all.captions());
        for (at, (block, rows)) in images.chunks(IMAGES_AT_ONCE).zip(rows).enumerate() {
            let regions = model.images(ImageFeatures::read(&split.regions, block)?)?;
            search.similarities_into(search.collect_regions(&regions)?, &all, rows)?;
            let means = regions.means()?.rows().to_device(&Device::Cpu)?;
            let means = means.to_dtype(DType::F64)?.flatten_all()?;
            compared.means.extend(means.to_vec1::<f64>()?);
            on_progress(at * IMAGES_AT_ONCE + block.len(), images.len());
        }
        Ok(compared)
    }

    /// Learns classifiers and borders from compared images; `labels` says for each word which of them have it.
    fn learn_borders(&mut self, compared: ComparedImages, labels: &[Vec<bool>]) -> Result<()> {
        let ComparedImages { cosines, means } = compared;
        let images = means.len() / self.width;
        let numbers = labels.iter().flatten().map(|&has| f64::from(u8::from(has)));
        let classifiers = Classifiers::fit(
            DMatrix::from_row_iterator(images, self.width, means),
            DMatrix::from_iterator(images, labels.len(), numbers),
        );
        let classifiers = classifiers.ok_or(Error::NotFinite)?;
        for (at, (word, labels)) in self.header.words.iter_mut().zip(labels).enumerate() {
            let cosines = cosines.chunks_exact(cosines.len() / images);
            let relevance = WordRelevance {
                cosines: cosines.map(|image| image[at]).collect(),
                classified: classifiers.held_out(at),
                labels,
            };
            let fitted = relevance.fit();
            let weight = fitted.as_ref().map_or(0.0, |fitted| fitted.weight);
            self.classifiers.extend(classifiers.weights(at, weight));
            if let Some(fitted) = fitted {
                word.borders = Some(fitted.borders);
                word.region_borders = Some(fitted.region_borders);
                word.chance = Some(fitted.chance);
                word.distributions = fitted.distributions;
            }
        }
        Ok(())
    }
}

/// What the words are learned from.
struct ComparedImages {
    /// The highest cosine of a region of each image with each word: row-major [images, V].
    cosines: Vec<f32>,
    /// The mean of each image's regions, scaled to unit length: row-major [images, D].
    means: Vec<f64>,
}

/// What each image says about a word.
struct WordRelevance<'a> {
    /// The highest cosine of a region.
    cosines: Vec<f32>,
    /// What the word's classifier gives, with weights that were learned from the other images.
    classified: Vec<f32>,
    /// Whether captions of the image have the word.
    labels: &'a [bool],
}

/// What is learned about a word.
struct FittedWord {
    /// What the classifier is multiplied with.
    weight: f64,
    chance: Logistic,
    borders: WordBorders,
    region_borders: WordBorders,
    distributions: Option<WordDistributions>,
}

impl WordRelevance<'_> {
    /// None if there are too few images with or without the word, or if no cosine of a region tells them apart.
    fn fit(&self) -> Option<FittedWord> {
        let by_region = WordSamples::new(&self.cosines, self.labels);
        let region = by_region.chance()?;
        if region.explained() < LEAST_EXPLAINED {
            return None;
        }
        let by_photo = WordSamples::new(&self.classified, self.labels);
        let weight = by_photo.chance().map_or(0.0, |photo| {
            let share = photo.explained() / region.explained();
            share * spread(&self.cosines) / spread(&self.classified)
        });
        let both = self.cosines.iter().zip(&self.classified);
        let relevance = both.map(|(cosine, classified)| cosine + weight as f32 * classified);
        let by_both = WordSamples::new(&relevance.collect::<Vec<f32>>(), self.labels);
        let helps = |both: &Logistic| both.explained() > region.explained();
        let (samples, chance, weight) = match by_both.chance().filter(helps) {
            Some(chance) => (&by_both, chance, weight),
            None => (&by_region, region, 0.0),
        };
        Some(FittedWord {
            weight,
            chance,
            borders: samples.borders(&chance),
            region_borders: by_region.borders(&region),
            distributions: samples.distributions(),
        })
    }
}

/// The relevance of images for a word.
struct WordSamples {
    shown: Vec<f32>,
    not_shown: Vec<f32>,
}

impl WordSamples {
    fn new(relevance: &[f32], labels: &[bool]) -> Self {
        let of = |has: bool| {
            let samples = relevance.iter().zip(labels);
            let samples = samples.filter(|(_, label)| **label == has);
            samples.map(|(relevance, _)| *relevance).collect()
        };
        Self {
            shown: of(true),
            not_shown: of(false),
        }
    }

    /// None if there are too few samples, or more relevance does not mean a higher chance.
    fn chance(&self) -> Option<Logistic> {
        if self.shown.len().min(self.not_shown.len()) < LEAST_IMAGES {
            return None;
        }
        let chance = Logistic::fit(&self.shown, &self.not_shown).ok()?;
        chance.rises().then_some(chance)
    }

    /// Two log-odds are compared with those of a photo: those of [`LIKELY`], and half of the prior log-odds
    /// of the word. Above the lower one the photo shows the word, as far as one can guess; above the higher
    /// one, surely.
    fn borders(&self, chance: &Logistic) -> WordBorders {
        let prior = (self.shown.len() as f64 / self.not_shown.len() as f64).ln();
        let likely = (LIKELY / (1.0 - LIKELY)).ln();
        // Captions do not name everything that an image shows, so images show a word more often than its prior
        // odds say. Half of the log-odds lies between these and even odds.
        let typical = prior / 2.0;
        WordBorders {
            missing: chance.relevance_at(prior.min(0.0) + UNLIKELY.ln()),
            shown: chance.relevance_at(likely.min(typical)),
            sure: chance.relevance_at(likely.max(typical)),
        }
    }

    fn distributions(&self) -> Option<WordDistributions> {
        Some(WordDistributions {
            shown: Normal::from_samples(&self.shown).ok()?,
            not_shown: Normal::from_samples(&self.not_shown).ok()?,
        })
    }
}

/// The standard deviation; 0 without numbers.
fn spread(numbers: &[f32]) -> f64 {
    Normal::from_samples(numbers).map_or(0.0, |normal| normal.std)
}

/// What captions say of each word.
struct WordSums(BTreeMap<String, WordSum>);

struct WordSum {
    /// The sum of its vectors over all captions.
    vector: Vec<f64>,
    /// The images whose captions have it.
    images: BTreeSet<usize>,
}

impl WordSums {
    /// The words of the captions of some images, which are in ascending order.
    fn new(model: &Model, split: &Split, images: &[usize]) -> Result<Self> {
        let mut sums: BTreeMap<String, WordSum> = BTreeMap::new();
        let captions = split.captions.iter().zip(&split.image_of_caption);
        let captions = captions.filter(|(_, image)| images.binary_search(image).is_ok());
        let captions: Vec<(&String, &usize)> = captions.collect();
        for captions in captions.chunks(CAPTIONS_AT_ONCE) {
            let texts: Vec<&String> = captions.iter().map(|(caption, _)| *caption).collect();
            let encoded = model.texts(&texts)?;
            let rows = encoded
                .rows()
                .to_device(&Device::Cpu)?
                .to_dtype(DType::F32)?;
            for (at, &(caption, &image)) in captions.iter().enumerate() {
                let rows = rows.get(at)?.to_vec2::<f32>()?;
                for word in model.text().words(caption)? {
                    if !word.text.contains(char::is_alphanumeric) {
                        continue;
                    }
                    let sum = sums.entry(word.text).or_insert_with(|| WordSum {
                        vector: vec![0.0; model.joint_width()],
                        images: BTreeSet::new(),
                    });
                    sum.images.insert(image);
                    for row in rows.get(word.rows).unwrap_or_default() {
                        for (sum, &number) in sum.vector.iter_mut().zip(row) {
                            *sum += f64::from(number);
                        }
                    }
                }
            }
        }
        sums.retain(|_, sum| sum.images.len() >= LEAST_IMAGES);
        Ok(Self(sums))
    }
}

/// The vector scaled to unit length.
fn unit(vector: &[f64]) -> Vec<f32> {
    let length = vector
        .iter()
        .map(|number| number * number)
        .sum::<f64>()
        .sqrt();
    let length = length.max(f64::MIN_POSITIVE);
    vector
        .iter()
        .map(|number| (number / length) as f32)
        .collect()
}

/// At most [`MOST_IMAGES`] of `count` images, evenly spread.
fn evenly_spread(count: usize) -> Vec<usize> {
    let taken = count.min(MOST_IMAGES);
    (0..taken).map(|at| at * count / taken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(mean: f32) -> Vec<f32> {
        (0..40).map(|at| mean + 0.01 * (at % 7) as f32).collect()
    }

    /// What is learned from images with and without a word, if no classifier says anything.
    fn judged(shown: &[f32], not_shown: &[f32]) -> Option<FittedWord> {
        let labels = [vec![true; shown.len()], vec![false; not_shown.len()]].concat();
        let relevance = WordRelevance {
            cosines: [shown, not_shown].concat(),
            classified: vec![0.0; labels.len()],
            labels: &labels,
        };
        relevance.fit()
    }

    fn between(shown: &[f32], not_shown: &[f32]) -> Option<WordBorders> {
        judged(shown, not_shown).map(|judged| judged.borders)
    }

    #[test]
    fn borders_lie_between_samples_that_differ() {
        let found = between(&around(0.6), &around(0.2)).unwrap();
        assert!(0.2 < found.missing && found.sure < 0.66, "{found:?}");
        // Of as many photos with the word as without, it is sure where the chance is even: in the middle.
        assert!((found.sure - 0.42875).abs() < 1e-3, "{found:?}");
        assert!(
            found.missing < found.shown && found.shown < found.sure,
            "{found:?}"
        );
        // Ten times as many photos without the word: more is asked of a photo.
        let close = between(&around(0.23), &around(0.2)).unwrap();
        let rare = between(&around(0.23), &around(0.2).repeat(10)).unwrap();
        assert!(rare.shown > close.shown + 1e-3, "{rare:?} {close:?}");
    }

    #[test]
    fn a_word_without_two_samples_that_differ_has_no_borders() {
        assert_eq!(between(&around(0.2), &around(0.2)), None);
        assert_eq!(between(&around(0.2), &around(0.6)), None);
        assert_eq!(between(&around(0.21), &around(0.2)), None);
        assert_eq!(
            between(&around(0.6)[..LEAST_IMAGES - 1], &around(0.2)),
            None
        );
        assert_eq!(between(&[f32::NAN; 40], &around(0.2)), None);
    }

    #[test]
    fn borders_are_in_order_however_frequent_a_word_is() {
        for (shown, not_shown) in [(1, 100), (1, 10), (1, 1), (10, 1), (100, 1)] {
            let shown = around(0.4).repeat(shown);
            let borders = between(&shown, &around(0.3).repeat(not_shown)).unwrap();
            assert!(
                borders.missing < borders.shown && borders.shown <= borders.sure,
                "{borders:?}"
            );
        }
    }

    #[test]
    fn a_classifier_weighs_as_much_as_it_explains() {
        let (shown, not_shown) = (around(0.23), around(0.2));
        let alone = judged(&shown, &not_shown).unwrap();
        assert_eq!(alone.weight, 0.0);
        let labels: Vec<bool> = (0..80).map(|at| at < 40).collect();
        let cosines = [&shown[..], &not_shown].concat();
        // The same as the cosines in another unit and another order of images: it explains as much.
        let order = |at: usize| at / 40 * 40 + (at * 3) % 40;
        let relevance = WordRelevance {
            classified: (0..80).map(|at| 10.0 * cosines[order(at)]).collect(),
            cosines: cosines.clone(),
            labels: &labels,
        };
        let both = relevance.fit().unwrap();
        assert!((both.weight - 0.1).abs() < 1e-6, "{}", both.weight);
        assert!(both.chance.explained() > alone.chance.explained() + 0.05);
        // One that is wrong counts nothing.
        let wrong = WordRelevance {
            classified: cosines.iter().map(|cosine| -cosine).collect(),
            cosines,
            labels: &labels,
        };
        assert_eq!(wrong.fit().unwrap().borders, alone.borders);
    }

    #[test]
    fn images_are_spread_evenly_and_not_more_than_the_limit() {
        assert_eq!(evenly_spread(3), [0, 1, 2]);
        assert!(evenly_spread(0).is_empty());
        let spread = evenly_spread(2 * MOST_IMAGES);
        assert_eq!((spread.len(), spread[1]), (MOST_IMAGES, 2));
    }
}
