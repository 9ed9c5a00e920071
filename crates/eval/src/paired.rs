//! Differences between two models with 95 % intervals: paired by seed, and by images resampled with
//! the bootstrap.
//!
//! Both models are compared on the same seeds or queries. Hard queries are hard for both, so the
//! difference has a smaller variance than either result.

use serde::{Deserialize, Serialize};

use crate::{Error, Interval, Ranks, Result, Spread};

/// The K of the recalls R@K in rsum.
const RECALLS: [usize; 3] = [1, 5, 10];

/// Fraction of resamples outside a 95 % interval, on each side.
const TAIL: f64 = 0.025;

/// The difference of two settings over the seeds that both have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    /// Mean and standard deviation of the differences over the seeds: ours minus theirs, seed by
    /// seed.
    pub over_seeds: Spread,
    /// 95 % interval of the mean difference over the choice of seeds, by Student's t; `None` for
    /// one seed.
    pub of_seeds: Option<Interval>,
}

impl PairedDifference {
    /// The difference of two lists of values, one value for each seed, in the same order; `None` for
    /// empty lists.
    ///
    /// # Errors
    /// [`Error::PairedLength`] when the two lists differ in length.
    ///
    /// ```
    /// use uard_eval::PairedDifference;
    ///
    /// let found = PairedDifference::between(&[3.0, 4.0], &[1.0, 3.0])?.unwrap();
    /// assert_eq!(found.over_seeds.mean, 1.5);
    /// assert!(!found.of_seeds.unwrap().excludes_zero());
    /// # Ok::<(), uard_eval::Error>(())
    /// ```
    pub fn between(ours: &[f64], theirs: &[f64]) -> Result<Option<Self>> {
        same_length("values", ours.len(), theirs.len())?;
        let differences: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
        Ok(Spread::from_values(&differences).map(|over_seeds| Self {
            over_seeds,
            of_seeds: over_seeds.interval(),
        }))
    }
}

/// Counts of queries and hits of an image and its captions; in each array, image to text comes
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Cluster {
    /// Number of queries in each direction.
    queries: [u32; 2],
    /// In each direction, number of queries with a rank of at most 1, 5 and 10.
    hits: [[u32; 3]; 2],
}

impl Cluster {
    fn add(&mut self, direction: usize, rank: Option<usize>) {
        let Some(rank) = rank else { return };
        self.queries[direction] += 1;
        for (hits, k) in self.hits[direction].iter_mut().zip(RECALLS) {
            *hits += u32::from(rank <= k);
        }
    }
}

/// The hits of a model, counted for each image together with its captions.
///
/// Captions of one image describe the same picture and are not independent queries, so an image is
/// resampled together with its captions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageHits {
    clusters: Vec<Cluster>,
}

impl ImageHits {
    /// Counts the hits; an image or caption without a rank is no query.
    ///
    /// # Errors
    /// [`Error::TruthShape`] when `image_of_caption` and the ranks of captions differ in length,
    /// [`Error::UnknownImage`] when a caption names an image that has no entry in the ranks.
    pub fn count(ranks: &Ranks, image_of_caption: &[usize]) -> Result<Self> {
        let (expected, found) = (image_of_caption.len(), ranks.text_to_image.len());
        if expected != found {
            let axis = "captions";
            return Err(Error::TruthShape {
                axis,
                expected,
                found,
            });
        }
        let images = ranks.image_to_text.len();
        let mut clusters = vec![Cluster::default(); images];
        for (cluster, &rank) in clusters.iter_mut().zip(&ranks.image_to_text) {
            cluster.add(0, rank);
        }
        for (caption, (&image, &rank)) in image_of_caption
            .iter()
            .zip(&ranks.text_to_image)
            .enumerate()
        {
            let cluster = clusters.get_mut(image).ok_or(Error::UnknownImage {
                caption,
                image,
                images,
            })?;
            cluster.add(1, rank);
        }
        Ok(Self { clusters })
    }

    /// Number of images, with and without captions.
    pub fn images(&self) -> usize {
        self.clusters.len()
    }
}

/// The 95 % interval of a difference of rsum over the choice of images, by the bootstrap.
///
/// `pairs` holds, for each seed, the hits of our and of their model on the same split. A resample
/// draws as many images as the split has, with replacement, each with its captions. The same images
/// are drawn for all models, and the difference is averaged over the seeds. The interval holds the
/// middle 95 % of the resamples; its ends are interpolated between neighbours.
///
/// ```text
/// difference = 100 · Σ_direction Σ_K ( Σ hits of ours - Σ hits of theirs ) / (seeds · queries)
/// ```
///
/// `draw(n)` must return a number below `n`; it is called once for each image of each resample. The
/// ranks are those over the whole split: an image that is drawn twice counts twice as a query but
/// once as a candidate.
///
/// Without a seed, image or resample the result is `None`. A direction without a query in a resample
/// adds nothing to its difference.
///
/// # Errors
/// [`Error::PairedLength`] when the numbers of images differ, [`Error::PairedQueries`] when an image
/// or caption is a query of one model and not of another.
///
/// # Panics
/// When `draw(n)` returns `n` or more, which is a mistake of the caller.
///
/// # Source
/// B. Efron, *Bootstrap methods: another look at the jackknife*, 1979; the percentile interval.
pub fn bootstrap_difference(
    pairs: &[(&ImageHits, &ImageHits)],
    resamples: usize,
    draw: &mut dyn FnMut(usize) -> usize,
) -> Result<Option<Interval>> {
    let gains = gains(pairs)?;
    if gains.is_empty() || resamples == 0 {
        return Ok(None);
    }
    let mut differences: Vec<f64> = (0..resamples)
        .map(|_| resampled(&gains, pairs.len(), draw))
        .collect();
    differences.sort_by(f64::total_cmp);
    Ok(Some(Interval {
        low: quantile(&differences, TAIL),
        high: quantile(&differences, 1.0 - TAIL),
    }))
}

/// Counts of one image and its captions: queries, and our hits minus their hits, summed over all K
/// and seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Gain {
    queries: [u32; 2],
    hits: [i64; 2],
}

/// The gain of every image; empty without pairs.
fn gains(pairs: &[(&ImageHits, &ImageHits)]) -> Result<Vec<Gain>> {
    let Some((first, _)) = pairs.first() else {
        return Ok(Vec::new());
    };
    let mut gains: Vec<Gain> = first
        .clusters
        .iter()
        .map(|cluster| Gain {
            queries: cluster.queries,
            hits: [0; 2],
        })
        .collect();
    for (ours, theirs) in pairs {
        add(&mut gains, ours, 1)?;
        add(&mut gains, theirs, -1)?;
    }
    Ok(gains)
}

fn add(gains: &mut [Gain], hits: &ImageHits, sign: i64) -> Result<()> {
    same_length("images", gains.len(), hits.images())?;
    for (image, (gain, cluster)) in gains.iter_mut().zip(&hits.clusters).enumerate() {
        if gain.queries != cluster.queries {
            return Err(Error::PairedQueries { image });
        }
        for (sum, hits) in gain.hits.iter_mut().zip(cluster.hits) {
            *sum += sign * i64::from(hits.iter().sum::<u32>());
        }
    }
    Ok(())
}

/// The difference of rsum on one resample of images.
fn resampled(gains: &[Gain], seeds: usize, draw: &mut dyn FnMut(usize) -> usize) -> f64 {
    let (mut queries, mut hits) = ([0_u64; 2], [0_i64; 2]);
    for _ in gains {
        let gain = gains[draw(gains.len())];
        for direction in 0..2 {
            queries[direction] += u64::from(gain.queries[direction]);
            hits[direction] += gain.hits[direction];
        }
    }
    let difference = |direction: usize| match queries[direction] {
        0 => 0.0,
        queries => 100.0 * hits[direction] as f64 / (seeds as f64 * queries as f64),
    };
    difference(0) + difference(1)
}

/// A quantile of at least one sorted value, interpolated linearly between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (low, high) = (
        sorted[position.floor() as usize],
        sorted[position.ceil() as usize],
    );
    low + (high - low) * position.fract()
}

fn same_length(what: &'static str, expected: usize, found: usize) -> Result<()> {
    match expected == found {
        true => Ok(()),
        false => Err(Error::PairedLength {
            what,
            expected,
            found,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(images: &[Option<usize>], captions: &[usize], owners: &[usize]) -> ImageHits {
        let ranks = Ranks {
            image_to_text: images.to_vec(),
            text_to_image: captions.iter().copied().map(Some).collect(),
        };
        ImageHits::count(&ranks, owners).unwrap()
    }

    /// A generator that repeats the given numbers.
    fn cycle(numbers: &[usize]) -> impl FnMut(usize) -> usize {
        let mut next = numbers.iter().copied().cycle();
        move |_| next.next().unwrap()
    }

    #[test]
    fn difference_over_seeds_is_that_of_the_pairs() {
        let found = PairedDifference::between(&[5.0, 7.0, 9.0], &[4.0, 5.0, 6.0]);
        let found = found.unwrap().unwrap();
        assert_eq!(
            (found.over_seeds.mean, found.over_seeds.std),
            (2.0, Some(1.0))
        );
        assert!((found.of_seeds.unwrap().high - 4.484138).abs() < 1e-6);
    }

    #[test]
    fn one_seed_has_a_difference_without_an_interval_and_no_seed_has_none() {
        let one = PairedDifference::between(&[5.0], &[4.0]).unwrap().unwrap();
        assert_eq!((one.over_seeds.mean, one.of_seeds), (1.0, None));
        assert_eq!(PairedDifference::between(&[], &[]).unwrap(), None);
        let error = PairedDifference::between(&[1.0], &[]).unwrap_err();
        assert!(error.to_string().contains("1 and 0 values"), "{error}");
    }

    #[test]
    fn resamples_give_the_differences_computed_by_hand() {
        // Image 0 and its caption gain all three hits; image 1 is the same for both.
        let ours = hits(&[Some(1), Some(2)], &[1, 20], &[0, 1]);
        let theirs = hits(&[Some(11), Some(2)], &[11, 20], &[0, 1]);
        let interval = |drawn: &[usize]| {
            let pairs = [(&ours, &theirs)];
            let interval = bootstrap_difference(&pairs, 1, &mut cycle(drawn));
            interval.unwrap().unwrap()
        };
        // When both images are drawn, each direction gains 3 hits over 2 queries.
        assert_eq!(
            interval(&[0, 1]),
            Interval {
                low: 300.0,
                high: 300.0
            }
        );
        assert_eq!(interval(&[0, 0]).low, 600.0);
        assert_eq!(interval(&[1, 1]).low, 0.0);
    }

    #[test]
    fn interval_leaves_out_a_fortieth_of_the_resamples_on_each_side() {
        let ours = hits(&[Some(1), Some(2)], &[1, 20], &[0, 1]);
        let theirs = hits(&[Some(11), Some(2)], &[11, 20], &[0, 1]);
        // The resamples are 0, 300 and 600. Each end is interpolated a twentieth of the way from the
        // outer value to the middle one.
        let mut draw = cycle(&[1, 1, 0, 1, 0, 0]);
        let interval = bootstrap_difference(&[(&ours, &theirs)], 3, &mut draw);
        let interval = interval.unwrap().unwrap();
        assert!((interval.low - 15.0).abs() < 1e-9 && (interval.high - 585.0).abs() < 1e-9);
    }

    #[test]
    fn seeds_are_averaged() {
        let better = hits(&[Some(1)], &[1], &[0]);
        let worse = hits(&[Some(11)], &[11], &[0]);
        let pairs = [(&better, &worse), (&worse, &worse)];
        let interval = bootstrap_difference(&pairs, 5, &mut |_| 0)
            .unwrap()
            .unwrap();
        assert_eq!((interval.low, interval.high), (300.0, 300.0));
    }

    #[test]
    fn equal_models_differ_by_zero_however_images_are_drawn() {
        let ranks = hits(&[Some(1), Some(3), Some(30)], &[7, 1, 2], &[0, 1, 2]);
        let mut state = 1_usize;
        let mut draw = |count: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % count
        };
        let interval = bootstrap_difference(&[(&ranks, &ranks)], 200, &mut draw);
        assert_eq!(
            interval.unwrap(),
            Some(Interval {
                low: 0.0,
                high: 0.0
            })
        );
    }

    #[test]
    fn a_rank_equal_to_k_is_a_hit_among_the_first_k() {
        let at = |rank| hits(&[Some(rank)], &[rank], &[0]).clusters[0].hits[0];
        assert_eq!(
            [1, 2, 5, 6, 10, 11].map(at),
            [
                [1, 1, 1],
                [0, 1, 1],
                [0, 1, 1],
                [0, 0, 1],
                [0, 0, 1],
                [0, 0, 0]
            ]
        );
    }

    #[test]
    fn images_without_captions_can_be_drawn_and_add_nothing() {
        let ours = hits(&[Some(1), None], &[1, 1], &[0, 0]);
        let theirs = hits(&[Some(11), None], &[11, 11], &[0, 0]);
        let pairs = [(&ours, &theirs)];
        let alone = bootstrap_difference(&pairs, 1, &mut |_| 1)
            .unwrap()
            .unwrap();
        assert_eq!((alone.low, alone.high), (0.0, 0.0));
        let mixed = bootstrap_difference(&pairs, 1, &mut cycle(&[0, 1])).unwrap();
        assert_eq!(mixed.unwrap().low, 600.0);
    }

    #[test]
    fn without_pairs_or_resamples_there_is_no_interval() {
        assert_eq!(bootstrap_difference(&[], 10, &mut |_| 0).unwrap(), None);
        let one = hits(&[Some(1)], &[1], &[0]);
        assert_eq!(
            bootstrap_difference(&[(&one, &one)], 0, &mut |_| 0).unwrap(),
            None
        );
    }

    #[test]
    fn models_with_different_queries_are_not_compared() {
        let one = hits(&[Some(1)], &[1], &[0]);
        let two = hits(&[Some(1), Some(1)], &[1, 1], &[0, 1]);
        let error = bootstrap_difference(&[(&one, &two)], 1, &mut |_| 0).unwrap_err();
        assert!(error.to_string().contains("1 and 2 images"), "{error}");
        let other = hits(&[None, Some(1)], &[1, 1], &[1, 1]);
        let error = bootstrap_difference(&[(&two, &other)], 1, &mut |_| 0).unwrap_err();
        assert_eq!(error, Error::PairedQueries { image: 0 });
        let ranks = Ranks {
            image_to_text: vec![Some(1)],
            text_to_image: vec![Some(1)],
        };
        assert!(matches!(
            ImageHits::count(&ranks, &[1]).unwrap_err(),
            Error::UnknownImage { image: 1, .. }
        ));
        assert!(matches!(
            ImageHits::count(&ranks, &[0, 0]).unwrap_err(),
            Error::TruthShape {
                axis: "captions",
                ..
            }
        ));
    }
}
