//! Properties of the threshold, the learner and the sampled pairs on random input.

mod reference;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use uard_relevance::{
    CaptionRule, Distribution, DistributionKind, LearnedThreshold, LearnerConfig, Normal, Samples,
    SamplingRule, SimilarityMatrix, ThresholdLearner, Update, error_probability,
    least_error_threshold,
};

use reference::{Grid, Hill, errors_on_grid, least_error_on_grid};

/// Simpson's rule against `erfc`: steps of 1e-2 spreads and a penalty of 8 leave below 1e-10.
const INTEGRATION: f64 = 1e-9;
/// Rounding of J, a sum of two probabilities with a penalty of up to 8.
const ROUNDING: f64 = 1e-14;

fn normal(hill: Hill) -> Distribution {
    Distribution::Normal(Normal {
        mean: hill.mean,
        std: hill.std,
        count: 1000,
    })
}

/// The derivative of J at t, up to a positive factor.
fn slope(relevant: Hill, irrelevant: Hill, penalty: f64, t: f64) -> f64 {
    let density = |hill: Hill| (-0.5 * ((t - hill.mean) / hill.std).powi(2)).exp() / hill.std;
    density(relevant) - penalty * density(irrelevant)
}

/// The closed form with the polynomial's coefficients A, B, C and both expressions of its root,
/// without moving the origin.
fn as_printed(relevant: Hill, irrelevant: Hill, penalty: f64) -> Option<f64> {
    let (m1, s1) = (relevant.mean, relevant.std);
    let (m0, s0) = (irrelevant.mean, irrelevant.std);
    let a = s1 * s1 - s0 * s0;
    let b = 2.0 * (m1 * s0 * s0 - m0 * s1 * s1);
    let c = (m0 * s1).powi(2) - (m1 * s0).powi(2)
        + 2.0 * (s1 * s0).powi(2) * (s0 / (penalty * s1)).ln();
    let e = b * b - 4.0 * a * c;
    if e <= 0.0 {
        None
    } else if b >= 0.0 {
        Some(-2.0 * c / (b + e.sqrt()))
    } else {
        Some((-b + e.sqrt()) / (2.0 * a))
    }
}

/// How far the maximum of J lies from its minimum: √E / |A|.
fn distance_of_roots(relevant: Hill, irrelevant: Hill, penalty: f64) -> f64 {
    let (s1, s0) = (relevant.std, irrelevant.std);
    let a = s1 * s1 - s0 * s0;
    let d = relevant.mean - irrelevant.mean;
    let e = 4.0 * (s1 * s0).powi(2) * (d * d - 2.0 * a * (s0 / (penalty * s1)).ln());
    e.max(0.0).sqrt() / a.abs()
}

prop_compose! {
    /// An irrelevant hill, and a relevant one to its right.
    fn hills()(
        low in -0.5..0.5_f64,
        distance in 0.02..0.8_f64,
        relevant in 0.02..0.3_f64,
        irrelevant in 0.02..0.3_f64,
    ) -> (Hill, Hill) {
        (Hill { mean: low + distance, std: relevant }, Hill { mean: low, std: irrelevant })
    }
}

proptest! {
    // The same cases in every run, and no file of failures.
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(0),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn error_probability_equals_the_integral((relevant, irrelevant) in hills(), penalty in 0.2..8.0_f64) {
        let grid = Grid { low: irrelevant.mean, high: relevant.mean, cells: 4000 };
        for cut in errors_on_grid(relevant, irrelevant, penalty, grid) {
            let found = error_probability(&normal(relevant), &normal(irrelevant), penalty, cut.threshold);
            prop_assert!((found - cut.error).abs() < INTEGRATION);
        }
    }

    #[test]
    fn no_cut_between_the_means_errs_less((relevant, irrelevant) in hills(), penalty in 0.2..8.0_f64) {
        let (low, high) = (irrelevant.mean, relevant.mean);
        // Then exactly one root lies in between, and J falls before it and rises after it.
        prop_assume!(slope(relevant, irrelevant, penalty, low) < 0.0);
        prop_assume!(slope(relevant, irrelevant, penalty, high) > 0.0);
        let (plus, minus) = (normal(relevant), normal(irrelevant));
        let found = least_error_threshold(&plus, &minus, penalty);
        prop_assert!(found.is_ok_and(|t| t > low && t < high));
        let error = error_probability(&plus, &minus, penalty, found.unwrap_or(low));
        let best = least_error_on_grid(relevant, irrelevant, penalty, Grid { low, high, cells: 4000 });
        prop_assert!(error <= best.error + INTEGRATION);
    }

    #[test]
    fn root_is_a_minimum_whatever_the_spreads((relevant, irrelevant) in hills(), penalty in 0.2..8.0_f64) {
        let (plus, minus) = (normal(relevant), normal(irrelevant));
        if let Ok(t) = least_error_threshold(&plus, &minus, penalty) {
            let error = error_probability(&plus, &minus, penalty, t);
            let reach = (1e-3 * relevant.std.min(irrelevant.std))
                .min(0.5 * distance_of_roots(relevant, irrelevant, penalty));
            for step in [-reach, reach] {
                let beside = error_probability(&plus, &minus, penalty, t + step);
                prop_assert!(error <= beside + ROUNDING, "{t} {error} {beside}");
            }
        }
    }

    #[test]
    fn moved_origin_gives_the_printed_root((relevant, irrelevant) in hills(), penalty in 0.2..8.0_f64) {
        let found = least_error_threshold(&normal(relevant), &normal(irrelevant), penalty);
        // The printed form loses digits where its leading coefficient or its discriminant vanishes.
        prop_assume!((relevant.std - irrelevant.std).abs() > 1e-3);
        match (as_printed(relevant, irrelevant, penalty), found) {
            (Some(printed), Ok(t)) => prop_assert!((printed - t).abs() < 1e-6, "{printed} {t}"),
            (None, Err(_)) => {}
            (printed, found) => prop_assert!(false, "{printed:?} {found:?}"),
        }
    }

    #[test]
    fn higher_penalty_never_lowers_the_threshold((relevant, irrelevant) in hills(), penalty in 0.2..4.0_f64) {
        let at = |penalty| least_error_threshold(&normal(relevant), &normal(irrelevant), penalty);
        if let (Ok(low), Ok(high)) = (at(penalty), at(2.0 * penalty)) {
            prop_assert!(low <= high);
        }
    }

    #[test]
    fn histogram_cut_errs_no_more_than_any_edge(
        relevant in prop::collection::vec(-0.2..1.0_f32, 2..60),
        irrelevant in prop::collection::vec(-1.0..0.6_f32, 2..60),
        penalty in 0.2..4.0_f64,
    ) {
        let fitted = |samples: &[f32]| Distribution::from_samples(DistributionKind::Empirical, samples);
        let (plus, minus) = (fitted(&relevant)?, fitted(&irrelevant)?);
        if let Ok(t) = least_error_threshold(&plus, &minus, penalty) {
            let error = error_probability(&plus, &minus, penalty, t);
            for edge in 0..=256 {
                let cut = f64::from(edge) / 128.0 - 1.0;
                prop_assert!(error <= error_probability(&plus, &minus, penalty, cut) + 1e-12);
            }
            let refused = relevant.iter().filter(|&&s| f64::from(s) <= t).count() as f64;
            let accepted = irrelevant.iter().filter(|&&s| f64::from(s) > t).count() as f64;
            let counted = refused / relevant.len() as f64 + penalty * accepted / irrelevant.len() as f64;
            prop_assert!((error - counted).abs() < 1e-12);
        }
    }

    #[test]
    fn moments_equal_two_passes(samples in prop::collection::vec(-1.0..1.0_f32, 2..300)) {
        let found = Normal::from_samples(&samples)?;
        let count = samples.len() as f64;
        let mean = samples.iter().map(|&s| f64::from(s)).sum::<f64>() / count;
        let squares: f64 = samples.iter().map(|&s| (f64::from(s) - mean).powi(2)).sum();
        prop_assert!((found.mean - mean).abs() < 1e-14);
        prop_assert!((found.std - (squares / (count - 1.0)).sqrt()).abs() < 1e-13);
    }

    #[test]
    fn smoothing_stays_between_old_and_new(
        relevant in prop::collection::vec(-1.0..1.0_f32, 2..20),
        irrelevant in prop::collection::vec(-1.0..1.0_f32, 2..20),
        smoothing in 0.0..=1.0_f64,
        first_threshold in 0.0..=1.0_f64,
    ) {
        let config = LearnerConfig { minimum_samples: 2, smoothing, first_threshold, ..LearnerConfig::default() };
        let mut learner = ThresholdLearner::new(config)?;
        match learner.update(&Samples { relevant, irrelevant }) {
            Update::Moved { from, to, raw } => {
                let new = raw.clamp(0.0, 1.0);
                prop_assert_eq!(from, first_threshold);
                prop_assert!(from.min(new) <= to && to <= from.max(new));
                prop_assert_eq!(learner.threshold(), to);
            }
            Update::Kept { .. } => prop_assert_eq!(learner.threshold(), first_threshold),
        }
        let text = serde_json::to_string(learner.learned())?;
        prop_assert_eq!(&serde_json::from_str::<LearnedThreshold>(&text)?, learner.learned());
    }

    #[test]
    fn sampled_pairs_follow_both_rules(
        (images, owners, similarities) in (1..6_usize, 0..8_usize).prop_flat_map(|(images, captions)| (
            Just(images),
            prop::collection::vec(0..images, captions),
            // Few different values, so that ties are common.
            prop::collection::vec((0..6_u8).prop_map(|v| f32::from(v) / 8.0), images * captions),
        )),
        captions in prop::sample::select(vec![CaptionRule::RankedFirst, CaptionRule::All]),
        rule in prop::sample::select(vec![
            SamplingRule::Easiest,
            SamplingRule::Hardest,
            SamplingRule::Random,
            SamplingRule::All,
        ]),
        seed in 0..100_u64,
    ) {
        let config = LearnerConfig { captions, sampling: rule, ..LearnerConfig::default() };
        let learner = ThresholdLearner::new(config)?.with_seed(seed);
        let pairs = learner.sampled_pairs(&SimilarityMatrix::new(&similarities, images, &owners)?);
        let at = |image: usize, caption: usize| similarities[image * owners.len() + caption];
        let ranks_first = |caption: usize| {
            let own = owners[caption];
            (0..images).all(|image| image == own || at(own, caption) > at(image, caption))
        };
        let is_sampled = |caption: usize| {
            images > 1 && (captions == CaptionRule::All || ranks_first(caption))
        };
        let sampled: Vec<usize> = pairs.iter().map(|pair| pair.caption).collect();
        let expected: Vec<usize> = (0..owners.len()).filter(|&caption| is_sampled(caption)).collect();
        prop_assert_eq!(sampled, expected);
        for pair in &pairs {
            prop_assert_eq!(pair.matched_image, owners[pair.caption]);
            prop_assert!(!pair.mismatched_images.contains(&pair.matched_image));
            let length = if rule == SamplingRule::All { images - 1 } else { 1 };
            prop_assert_eq!(pair.mismatched_images.len(), length);
            let chosen = at(pair.mismatched_images[0], pair.caption);
            for image in (0..images).filter(|&image| image != pair.matched_image) {
                let other = at(image, pair.caption);
                prop_assert!(rule != SamplingRule::Easiest || chosen <= other);
                prop_assert!(rule != SamplingRule::Hardest || chosen >= other);
            }
        }
    }
}
