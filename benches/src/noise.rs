//! Checks that a run was quiet enough for a record.
//!
//! Two quantities are checked: the ceilings of the machine, which are measured before and after the races
//! and must not change, and the uncertainty of the medians of our own contestants. Rounds of peers are not
//! checked.

use crate::statistics::Timings;

/// The largest allowed change of a ceiling during a run, as a share of the higher rate.
pub const LARGEST_DRIFT: f64 = 0.15;

/// The largest allowed uncertainty of the median of our own rounds, as a share of it.
pub const LARGEST_UNCERTAINTY: f64 = 0.05;

/// The lowest number of rounds from which quartiles are computed.
pub const FEWEST_ROUNDS: usize = 3;

/// Seconds from which a single round is long enough: disturbances of a machine are shorter and
/// average out in it.
pub const LONG_ROUND: f64 = 60.0;

/// A ceiling before and after the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// The name of the ceiling.
    pub name: String,
    /// The rate before the run.
    pub before: f64,
    /// The rate after the run.
    pub after: f64,
}

impl Drift {
    /// The change as a share of the higher rate.
    pub fn share(&self) -> f64 {
        (self.before - self.after).abs() / self.before.max(self.after)
    }
}

/// A sentence for each ceiling that changed too much during the run, and for each contestant of ours with
/// too few rounds or a median that is too uncertain.
pub fn complaints<'a>(
    drifts: &[Drift],
    ours: impl IntoIterator<Item = (&'a str, &'a Timings)>,
) -> Vec<String> {
    let mut found: Vec<String> = drifts.iter().filter_map(drift_complaint).collect();
    found.extend(
        ours.into_iter()
            .filter_map(|(name, timings)| uncertainty_complaint(name, timings)),
    );
    found
}

// Both rules are written so that a NaN is a complaint.

fn drift_complaint(drift: &Drift) -> Option<String> {
    let share = drift.share();
    let quiet = share <= LARGEST_DRIFT;
    (!quiet).then(|| {
        format!(
            "the ceiling `{}` changed by {:.0} % during the run, more than {:.0} %: another program \
             was running, or the clock rate fell",
            drift.name,
            100.0 * share,
            100.0 * LARGEST_DRIFT
        )
    })
}

/// Whether enough rounds were run and their median is certain enough, or the rounds were long.
pub fn is_even(timings: &Timings) -> bool {
    if timings.median() >= LONG_ROUND {
        return true;
    }
    timings.rounds() >= FEWEST_ROUNDS && timings.uncertainty() <= LARGEST_UNCERTAINTY
}

fn uncertainty_complaint(name: &str, timings: &Timings) -> Option<String> {
    if is_even(timings) {
        return None;
    }
    if timings.rounds() < FEWEST_ROUNDS {
        let rounds = timings.rounds();
        return Some(format!(
            "`{name}` ran {rounds} rounds, expected at least {FEWEST_ROUNDS} for quartiles"
        ));
    }
    Some(format!(
        "the median of `{name}` is uncertain by {:.0} % after {} rounds, more than {:.0} %",
        100.0 * timings.uncertainty(),
        timings.rounds(),
        100.0 * LARGEST_UNCERTAINTY
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(before: f64, after: f64) -> Drift {
        Drift {
            name: "gemm f32".to_owned(),
            before,
            after,
        }
    }

    fn about(drifts: &[Drift], seconds: &[f64]) -> Vec<String> {
        let timings: Timings = seconds.iter().copied().collect();
        complaints(drifts, [("masked", &timings)])
    }

    #[test]
    fn a_quiet_run_has_no_complaint() {
        assert!(about(&[drift(100.0, 86.0)], &[1.0, 1.02, 1.05]).is_empty());
    }

    #[test]
    fn a_ceiling_that_moved_either_way_is_a_complaint() {
        for moved in [drift(100.0, 84.0), drift(84.0, 100.0)] {
            let found = about(&[moved], &[1.0; 3]);
            assert_eq!(found.len(), 1);
            assert!(found[0].contains("`gemm f32` changed by 16 %"), "{found:?}");
        }
    }

    #[test]
    fn uneven_rounds_of_ours_are_a_complaint() {
        let found = about(&[], &[1.0, 1.2, 1.4, 1.0, 1.3]);
        assert!(found[0].contains("`masked`"), "{found:?}");
    }

    #[test]
    fn too_few_rounds_are_a_complaint() {
        assert!(about(&[], &[1.0, 1.0])[0].contains("2 rounds"));
        assert!(about(&[], &[1.0; 3]).is_empty());
        assert!(
            about(&[], &[100.0]).is_empty(),
            "long rounds need no others"
        );
    }

    #[test]
    fn nan_is_a_complaint() {
        assert_eq!(about(&[drift(f64::NAN, f64::NAN)], &[1.0; 3]).len(), 1);
        assert_eq!(about(&[], &[f64::NAN; 3]).len(), 1);
    }
}
