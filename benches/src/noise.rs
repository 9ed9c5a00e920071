//! Was the run quiet enough to be believed?
//!
//! Two witnesses: what the machine can do at most, measured before and after everything else, and
//! how uncertain the medians of our own rounds are. Peers may be as uneven as they are.

use crate::statistics::Timings;

/// What a ceiling may change by between the beginning and the end of a run.
pub const LARGEST_DRIFT: f64 = 0.15;

/// How uncertain the median of our own rounds may be, as a share of it.
pub const LARGEST_UNCERTAINTY: f64 = 0.05;

/// Quartiles of fewer rounds say nothing.
pub const FEWEST_ROUNDS: usize = 3;

/// Seconds of a round that holds within itself what rounds of seconds show one by one: what
/// disturbs a machine comes and goes faster.
pub const LONG_ROUND: f64 = 60.0;

/// The same ceiling before and after the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// Which.
    pub name: String,
    /// Its rate before.
    pub before: f64,
    /// Its rate after.
    pub after: f64,
}

impl Drift {
    /// The change as a share of the higher rate.
    pub fn share(&self) -> f64 {
        (self.before - self.after).abs() / self.before.max(self.after)
    }
}

/// Why the run is not to be believed, as sentences; none when it is.
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
            "the ceiling `{}` changed by {:.0} % during the run, more than {:.0} %: something \
             else was running, or the clock fell",
            drift.name,
            100.0 * share,
            100.0 * LARGEST_DRIFT
        )
    })
}

/// Whether enough rounds were run, and lie near each other; or whether they were long.
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
            "`{name}` ran {rounds} rounds: fewer than {FEWEST_ROUNDS} have no quartiles"
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
    fn a_number_that_is_none_is_a_complaint() {
        assert_eq!(about(&[drift(f64::NAN, f64::NAN)], &[1.0; 3]).len(), 1);
        assert_eq!(about(&[], &[f64::NAN; 3]).len(), 1);
    }
}
