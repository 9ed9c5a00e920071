//! Which pairs of a batch give samples of relevant and irrelevant relevance?

use crate::names::named;
use serde::{Deserialize, Serialize};

/// Which captions of a batch are sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptionRule {
    /// Those whose own image is **strictly** more similar than every other image: a tie counts
    /// against the caption, and so does a NaN.
    #[default]
    RankedFirst,
    /// Every one.
    All,
}

named!(CaptionRule, "rule for captions", {
    RankedFirst => "ranked_first",
    All => "all",
});

/// Which mismatched images of a caption give its irrelevant samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplingRule {
    /// The one of lowest similarity.
    #[default]
    Easiest,
    /// The one of highest similarity.
    Hardest,
    /// One drawn at random.
    Random,
    /// Every one.
    All,
}

named!(SamplingRule, "sampling rule", {
    Easiest => "easiest",
    Hardest => "hardest",
    Random => "random",
    All => "all",
});

/// One caption whose words are sampled, with the images they are compared to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampledPair {
    /// The caption.
    pub caption: usize,
    /// Its own image: the word's maxima over the regions of this image are relevant samples.
    pub matched_image: usize,
    /// Others, ascending, never empty: the maxima over each one's regions are irrelevant samples.
    pub mismatched_images: Vec<usize>,
}

/// The captions that give samples, with the images their words are compared to.
///
/// Every image but its own is mismatched to a caption, however many captions share that image. In a
/// batch of one image nothing is mismatched, so nothing is sampled. Equal similarities among
/// mismatched images: the lowest index.
///
/// `draw(n)` answers with a number below `n`. It is called under [`SamplingRule::Random`] only,
/// once for every sampled caption, in the order of captions.
///
/// # Shapes
/// - `similarities`: `[I, C]`, row-major, f32
/// - `image_of_caption`: `[C]`, each below `images`
///
/// # Panics
/// When the first three arguments contradict each other, or `draw` answers with `n` or above:
/// mistakes of the caller, which no data can cause.
///
/// # Source
/// Zhang et al., *UARDA*, IEEE TMM 2022, is silent on captions and mismatched images; the defaults
/// are ours.
///
/// ```
/// use uard_relevance::{CaptionRule, SamplingRule, sample_pairs};
///
/// // Two images, three captions: the first two captions belong to image 0.
/// let similarities = [
///     0.9, 0.1, 0.2, //
///     0.3, 0.4, 0.8,
/// ];
/// let rules = (CaptionRule::RankedFirst, SamplingRule::Easiest);
/// let pairs = sample_pairs(&similarities, &[0, 0, 1], 2, rules, &mut |_| 0);
/// let captions: Vec<usize> = pairs.iter().map(|pair| pair.caption).collect();
/// assert_eq!(captions, [0, 2]);
/// assert_eq!(pairs[0].mismatched_images, [1]);
/// ```
pub fn sample_pairs(
    similarities: &[f32],
    image_of_caption: &[usize],
    images: usize,
    (sampled, mismatched): (CaptionRule, SamplingRule),
    draw: &mut dyn FnMut(usize) -> usize,
) -> Vec<SampledPair> {
    let captions = image_of_caption.len();
    assert_eq!(
        similarities.len(),
        images * captions,
        "one similarity a pair"
    );
    if images < 2 {
        return Vec::new();
    }
    let mut pairs = Vec::new();
    for (caption, &own) in image_of_caption.iter().enumerate() {
        assert!(
            own < images,
            "caption {caption} names image {own} of {images}"
        );
        let similarity = |image: usize| similarities[image * captions + caption];
        let others = || (0..images).filter(|&image| image != own);
        let is_sampled = match sampled {
            CaptionRule::RankedFirst => others().all(|image| similarity(own) > similarity(image)),
            CaptionRule::All => true,
        };
        if is_sampled {
            pairs.push(SampledPair {
                caption,
                matched_image: own,
                mismatched_images: choose(mismatched, others, similarity, draw),
            });
        }
    }
    pairs
}

fn choose<I>(
    rule: SamplingRule,
    others: impl Fn() -> I,
    similarity: impl Fn(usize) -> f32,
    draw: &mut dyn FnMut(usize) -> usize,
) -> Vec<usize>
where
    I: Iterator<Item = usize>,
{
    let first_by = |better: fn(f32, f32) -> bool| {
        others()
            .reduce(|best, image| {
                if better(similarity(image), similarity(best)) {
                    image
                } else {
                    best
                }
            })
            .into_iter()
            .collect()
    };
    match rule {
        SamplingRule::Easiest => first_by(|candidate, best| candidate < best),
        SamplingRule::Hardest => first_by(|candidate, best| candidate > best),
        SamplingRule::All => others().collect(),
        SamplingRule::Random => {
            let count = others().count();
            let drawn = draw(count);
            assert!(drawn < count, "drew {drawn} of {count}");
            others().skip(drawn).take(1).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four images, one caption, which belongs to image 1.
    const COLUMN: [f32; 4] = [0.3, 0.9, 0.1, 0.5];

    fn sample(column: &[f32], own: usize, rule: SamplingRule) -> Vec<SampledPair> {
        let rules = (CaptionRule::RankedFirst, rule);
        sample_pairs(column, &[own], column.len(), rules, &mut |count| count - 1)
    }

    #[test]
    fn each_rule_chooses_its_mismatched_images() {
        let chosen = |rule| sample(&COLUMN, 1, rule)[0].mismatched_images.clone();
        assert_eq!(chosen(SamplingRule::Easiest), [2]);
        assert_eq!(chosen(SamplingRule::Hardest), [3]);
        assert_eq!(chosen(SamplingRule::All), [0, 2, 3]);
        assert_eq!(chosen(SamplingRule::Random), [3]);
    }

    #[test]
    fn own_image_must_rank_first() {
        assert!(sample(&COLUMN, 3, SamplingRule::Easiest).is_empty());
    }

    #[test]
    fn tie_with_another_image_counts_against_the_caption() {
        assert!(sample(&[0.5, 0.5], 0, SamplingRule::Easiest).is_empty());
    }

    #[test]
    fn nan_counts_against_the_caption() {
        assert!(sample(&[f32::NAN, 0.5], 0, SamplingRule::Easiest).is_empty());
        assert!(sample(&[0.5, f32::NAN], 0, SamplingRule::Easiest).is_empty());
    }

    #[test]
    fn every_caption_is_sampled_when_asked_wherever_its_own_image_ranks() {
        let rules = (CaptionRule::All, SamplingRule::Hardest);
        for column in [COLUMN, [0.5; 4], [f32::NAN; 4]] {
            let pairs = sample_pairs(&column, &[3], 4, rules, &mut |_| 0);
            assert_eq!(pairs.len(), 1, "{column:?}");
            assert_eq!(pairs[0].matched_image, 3);
        }
        let pairs = sample_pairs(&COLUMN, &[3], 4, rules, &mut |_| 0);
        assert_eq!(pairs[0].mismatched_images, [1]);
        assert!(sample_pairs(&[0.9], &[0], 1, rules, &mut |_| 0).is_empty());
    }

    #[test]
    fn equal_mismatched_images_give_the_lowest_index() {
        let chosen = |rule| {
            sample(&[0.2, 0.9, 0.2, 0.2], 1, rule)[0]
                .mismatched_images
                .clone()
        };
        assert_eq!(chosen(SamplingRule::Easiest), [0]);
        assert_eq!(chosen(SamplingRule::Hardest), [0]);
    }

    #[test]
    fn batch_of_one_image_gives_nothing() {
        let rules = (CaptionRule::RankedFirst, SamplingRule::All);
        assert!(sample_pairs(&[0.9, 0.8], &[0, 0], 1, rules, &mut |_| 0).is_empty());
    }

    #[test]
    fn empty_batch_gives_nothing() {
        let rules = (CaptionRule::RankedFirst, SamplingRule::All);
        assert!(sample_pairs(&[], &[], 0, rules, &mut |_| 0).is_empty());
        assert!(sample_pairs(&[], &[], 3, rules, &mut |_| 0).is_empty());
    }

    #[test]
    fn only_random_draws_and_only_for_sampled_captions() {
        let similarities = [0.9, 0.1, 0.1, 0.2, 0.3, 0.3];
        for &rule in SamplingRule::ALL {
            let mut asked = Vec::new();
            let rules = (CaptionRule::RankedFirst, rule);
            let pairs = sample_pairs(&similarities, &[0, 0], 3, rules, &mut |count| {
                asked.push(count);
                0
            });
            assert_eq!(pairs.len(), 1);
            let expected: &[usize] = if rule == SamplingRule::Random {
                &[2]
            } else {
                &[]
            };
            assert_eq!(asked, expected);
        }
    }
}
