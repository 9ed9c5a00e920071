//! Seeded random regions and words with the sizes of the published data sets.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use uard_core::random::{Draws, normal, permutation, uniform};
use uard_core::{Regions, Words};

/// The number of regions of an image, as in the published features.
pub const REGIONS: usize = 36;

/// Width of the joint space in the published models.
pub const WIDTH: usize = 1024;

/// The fewest words of a caption.
pub const FEWEST_WORDS: usize = 8;

/// The most words of a caption.
pub const MOST_WORDS: usize = 20;

/// How many of a hundred captions have 8, 9, ..., 20 words; the mean is 12.
const CAPTIONS_BY_LENGTH: [usize; MOST_WORDS - FEWEST_WORDS + 1] =
    [14, 13, 12, 11, 10, 9, 8, 7, 6, 4, 3, 2, 1];

/// The directions of words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Content {
    /// Random directions, with relevance near zero.
    Random,
    /// Each word is similar to a region of its caption's image, as after training.
    Matched {
        /// The approximate cosine of a word and its region.
        relevance: f32,
    },
}

/// The sizes of the data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Number of images I.
    pub images: usize,
    /// Number of captions C; those of an image stand one after the other.
    pub captions: usize,
    /// Width D.
    pub width: usize,
}

impl Shape {
    /// The image that a caption describes.
    pub fn image_of(&self, caption: usize) -> usize {
        caption * self.images / self.captions
    }
}

/// Regions of images, with one stream of draws for each image, so that an image does not depend on the
/// number of images.
///
/// # Shapes
/// [I, 36, D].
///
/// # Errors
/// If candle fails.
pub fn regions(shape: Shape, draws: &Draws) -> anyhow::Result<Regions> {
    let images = 0..shape.images;
    regions_of(images, shape, draws)
}

/// Regions of some of the images, for data that do not fit in memory at once.
///
/// # Shapes
/// [the images, 36, D].
///
/// # Errors
/// If candle fails.
pub fn regions_of(
    images: std::ops::Range<usize>,
    shape: Shape,
    draws: &Draws,
) -> anyhow::Result<Regions> {
    let count = images.len();
    let size = REGIONS * shape.width;
    let mut values = vec![0.0; count * size];
    values
        .par_chunks_mut(size)
        .zip(images)
        .for_each(|(rows, image)| rows.copy_from_slice(&image_rows(image, shape.width, draws)));
    let raw = Tensor::from_vec(values, (count, REGIONS, shape.width), &Device::Cpu)?;
    Ok(Regions::normalized(&raw, vec![REGIONS; count])?)
}

/// Words of captions, with one stream of draws for each caption.
///
/// # Shapes
/// [C, 20, D], 8 to 20 words a caption, 12 on average.
///
/// # Errors
/// If candle fails.
pub fn words(shape: Shape, content: Content, draws: &Draws) -> anyhow::Result<Words> {
    words_of(0..shape.captions, shape, content, draws)
}

/// Words of some of the captions, for data that do not fit in memory at once.
///
/// # Shapes
/// [the captions, 20, D].
///
/// # Errors
/// If candle fails.
pub fn words_of(
    captions: std::ops::Range<usize>,
    shape: Shape,
    content: Content,
    draws: &Draws,
) -> anyhow::Result<Words> {
    let counts = word_counts(shape.captions, draws)[captions.clone()].to_vec();
    let size = MOST_WORDS * shape.width;
    let mut values = vec![0.0; captions.len() * size];
    values
        .par_chunks_mut(size)
        .zip(captions)
        .for_each(|(rows, caption)| {
            rows.copy_from_slice(&directions(
                "words",
                caption,
                MOST_WORDS,
                shape.width,
                draws,
            ));
            if let Content::Matched { relevance } = content {
                let image = image_rows(shape.image_of(caption), shape.width, draws);
                turn_to_regions(rows, &image, relevance, &answer_draws(caption, draws));
            }
        });
    let raw = Tensor::from_vec(
        values,
        (counts.len(), MOST_WORDS, shape.width),
        &Device::Cpu,
    )?;
    Ok(Words::normalized(&raw, counts)?)
}

/// The number of words of each caption.
pub fn word_counts(captions: usize, draws: &Draws) -> Vec<usize> {
    let lengths: Vec<usize> = (FEWEST_WORDS..)
        .zip(CAPTIONS_BY_LENGTH)
        .flat_map(|(length, count)| std::iter::repeat_n(length, count))
        .collect();
    let order = permutation(&mut draws.stream("lengths", &[]), captions);
    order
        .into_iter()
        .map(|index| lengths[index % lengths.len()])
        .collect()
}

/// Captions as ids of words for a text encoder, drawn uniformly from the vocabulary without the padding,
/// which is id 0.
pub fn word_ids(captions: usize, vocabulary: usize, draws: &Draws) -> Vec<Vec<u32>> {
    let counts = word_counts(captions, draws).into_iter();
    counts
        .enumerate()
        .map(|(caption, count)| {
            let mut stream = draws.stream("word ids", &[caption as u64]);
            let ids = uniform(&mut stream, 1.0, vocabulary as f32, count);
            ids.into_iter().map(|id| id as u32).collect()
        })
        .collect()
}

/// The threshold at which the given share of all queries, words and regions together, has a cell
/// above it.
///
/// Computed from a sample of the pairs in f32.
///
/// # Errors
/// If candle fails.
pub fn threshold_keeping(share: f64, regions: &Regions, words: &Words) -> anyhow::Result<f64> {
    let regions = regions.narrow(0, regions.images().min(50))?;
    let words = words.narrow(0, words.captions().min(100))?;
    let images = regions.images();
    let rows = regions.valid_rows()?.t()?;
    let relevance = words.valid_rows()?.matmul(&rows)?.to_vec2::<f32>()?;
    let mut best = Vec::new();
    let mut first = 0;
    for &count in words.counts() {
        let caption = &relevance[first..first + count];
        first += count;
        for image in 0..images {
            let cells = image * REGIONS..(image + 1) * REGIONS;
            best.extend(caption.iter().map(|row| highest(row[cells.clone()].iter())));
            best.extend(cells.map(|cell| highest(caption.iter().map(|row| &row[cell]))));
        }
    }
    best.sort_by(f32::total_cmp);
    let dropped = ((1.0 - share) * best.len() as f64) as usize;
    Ok(f64::from(best[dropped.min(best.len() - 1)]))
}

fn highest<'a>(cells: impl Iterator<Item = &'a f32>) -> f32 {
    cells.copied().fold(f32::NEG_INFINITY, f32::max)
}

fn image_rows(image: usize, width: usize, draws: &Draws) -> Vec<f32> {
    directions("regions", image, REGIONS, width, draws)
}

/// Random rows of approximately unit length.
fn directions(label: &str, entry: usize, rows: usize, width: usize, draws: &Draws) -> Vec<f32> {
    let std = (width as f32).sqrt().recip();
    normal(&mut draws.stream(label, &[entry as u64]), std, rows * width)
}

/// For each word a uniform number, whose integer part is the index of the region that the word is
/// similar to.
fn answer_draws(caption: usize, draws: &Draws) -> Vec<f32> {
    uniform(
        &mut draws.stream("answers", &[caption as u64]),
        0.0,
        REGIONS as f32,
        MOST_WORDS,
    )
}

/// Turns each word towards its region, whose index is the integer part of the word's number in
/// `answers`.
fn turn_to_regions(words: &mut [f32], image: &[f32], relevance: f32, answers: &[f32]) {
    let width = image.len() / REGIONS;
    let rest = (1.0 - relevance * relevance).sqrt();
    for (word, answer) in words.chunks_mut(width).zip(answers) {
        let region = &image[*answer as usize * width..][..width];
        for (x, y) in word.iter_mut().zip(region) {
            *x = relevance * y + rest * *x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Shape = Shape {
        images: 4,
        captions: 200,
        width: 64,
    };

    #[test]
    fn captions_have_8_to_20_words_and_12_on_average() {
        let counts = word_counts(500, &Draws::new(0));
        assert_eq!(counts.iter().sum::<usize>(), 500 * 12);
        assert_eq!(counts.iter().min(), Some(&FEWEST_WORDS));
        assert_eq!(counts.iter().max(), Some(&MOST_WORDS));
        assert_ne!(counts[..100], counts[100..200]);
    }

    #[test]
    fn a_part_has_the_same_rows_as_the_whole() {
        let draws = Draws::new(1);
        let content = Content::Matched { relevance: 0.5 };
        let whole = words(SMALL, content, &draws).unwrap();
        let part = words_of(150..153, SMALL, content, &draws).unwrap();
        let row = |words: &Words, caption: usize| {
            words.rows().to_vec3::<f32>().unwrap()[caption][7].clone()
        };
        assert_eq!(row(&whole, 151), row(&part, 1));
        let images = regions(SMALL, &draws).unwrap();
        let image = regions_of(2..3, SMALL, &draws).unwrap();
        let rows = |regions: &Regions| regions.rows().to_vec3::<f32>().unwrap();
        assert_eq!(rows(&images)[2], rows(&image)[0]);
    }

    #[test]
    fn matched_words_are_similar_to_a_region_of_their_image() {
        let draws = Draws::new(2);
        let shape = Shape {
            width: WIDTH,
            ..SMALL
        };
        let content = Content::Matched { relevance: 0.5 };
        let regions = regions(shape, &draws)
            .unwrap()
            .rows()
            .to_vec3::<f32>()
            .unwrap();
        let words = words(shape, content, &draws)
            .unwrap()
            .rows()
            .to_vec3::<f32>()
            .unwrap();
        let best = |image: usize| {
            let cosine =
                |row: &Vec<f32>| -> f32 { row.iter().zip(&words[60][0]).map(|(x, y)| x * y).sum() };
            regions[image]
                .iter()
                .map(cosine)
                .fold(f32::NEG_INFINITY, f32::max)
        };
        assert_eq!(shape.image_of(60), 1);
        // The standard deviation of a random cosine is 1 / 32.
        assert!((best(1) - 0.5).abs() < 0.1, "{}", best(1));
        assert!(best(0) < 0.2);
    }

    #[test]
    fn the_threshold_keeps_the_given_share() {
        let draws = Draws::new(3);
        let regions = regions(SMALL, &draws).unwrap();
        let words = words(SMALL, Content::Random, &draws).unwrap();
        let third = threshold_keeping(1.0 / 3.0, &regions, &words).unwrap();
        let half = threshold_keeping(0.5, &regions, &words).unwrap();
        assert!(third > half, "{third} {half}");
        let matcher = uard_attention::Matcher::new(Default::default()).unwrap();
        let kept = matcher
            .similarities(&regions, &words, third)
            .unwrap()
            .kept()
            .unwrap();
        let all = kept.all_word_queries + kept.all_region_queries;
        let share = (kept.word_queries + kept.region_queries) as f64 / all as f64;
        assert!((share - 1.0 / 3.0).abs() < 0.02, "{share}");
    }
}
