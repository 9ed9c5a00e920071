//! Times several contestants in alternating rounds, each round in another order.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::noise;
use crate::statistics::Timings;

/// The pause before each round, in which the threads of the previous contestant go to sleep.
const PAUSE: Duration = Duration::from_millis(30);

/// Seconds that a round takes at least. Shorter work is repeated within a round, whose time is then
/// the mean, because interrupts make times of a few milliseconds uneven.
const SHORTEST_ROUND: f64 = 0.2;

/// The highest number of rounds, as a multiple of the requested one, that are run while our own rounds are
/// uneven. No round is dropped.
const MOST_ROUNDS: u32 = 4;

/// A contestant of a race.
pub struct Contestant<'a> {
    name: String,
    ours: bool,
    may_fail: bool,
    /// The error of the round that failed.
    failure: Option<String>,
    round: Box<dyn FnMut() -> anyhow::Result<f64> + 'a>,
}

impl<'a> Contestant<'a> {
    /// A contestant whose round is timed here, and repeated while it is short.
    pub fn new(
        name: impl Into<String>,
        mut round: impl FnMut() -> anyhow::Result<()> + 'a,
    ) -> Self {
        Self::timing_itself(name, move || mean_of_a_round(SHORTEST_ROUND, &mut round))
    }

    /// A contestant that returns its seconds, without those of its preparation, and is repeated while its
    /// round is short.
    pub fn timing_each(
        name: impl Into<String>,
        mut once: impl FnMut() -> anyhow::Result<f64> + 'a,
    ) -> Self {
        Self::timing_itself(name, move || mean_of_timed(SHORTEST_ROUND, &mut once))
    }

    /// A contestant that returns the seconds of its whole round, such as another process.
    pub fn timing_itself(
        name: impl Into<String>,
        round: impl FnMut() -> anyhow::Result<f64> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            ours: false,
            may_fail: false,
            failure: None,
            round: Box::new(round),
        }
    }

    /// Sets whether the contestant is one of our own, whose rounds must be even.
    pub fn ours(self, ours: bool) -> Self {
        Self { ours, ..self }
    }

    /// Lets the race continue without this contestant if one of its rounds fails; it then has no
    /// timing.
    #[cfg(feature = "cuda-kernels")]
    pub fn may_fail(self) -> Self {
        Self {
            may_fail: true,
            ..self
        }
    }

    /// The seconds of a round; `None` after a failure.
    fn run(&mut self) -> anyhow::Result<Option<f64>> {
        if self.failure.is_some() {
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
        match (self.round)().with_context(|| format!("running {}", self.name)) {
            Ok(seconds) => Ok(Some(seconds)),
            Err(error) if self.may_fail => {
                self.failure = Some(format!("{error:#}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Repeats a job for at least `shortest` seconds; returns the mean seconds of one repetition.
///
/// # Errors
/// If the job fails.
pub fn mean_of_a_round(
    shortest: f64,
    mut job: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let (begun, mut times) = (Instant::now(), 0);
    loop {
        job()?;
        times += 1;
        let seconds = begun.elapsed().as_secs_f64();
        if seconds >= shortest {
            return Ok(seconds / f64::from(times));
        }
    }
}

/// Repeats a job that returns its seconds until their sum is at least `shortest`; returns their mean.
fn mean_of_timed(
    shortest: f64,
    mut job: impl FnMut() -> anyhow::Result<f64>,
) -> anyhow::Result<f64> {
    let (mut seconds, mut times) = (0.0, 0);
    while times == 0 || seconds < shortest {
        seconds += job()?;
        times += 1;
    }
    Ok(seconds / f64::from(times))
}

/// Runs all contestants once to warm up, then once in each round; each round begins with another
/// contestant. While our own rounds are uneven, more rounds are run than requested. A contestant
/// that fails has no timing, not even of earlier rounds.
///
/// # Errors
/// If a round of a contestant fails that may not fail.
pub fn run(
    title: &str,
    contestants: &mut [Contestant],
    rounds: u32,
) -> anyhow::Result<Vec<Timings>> {
    let mut timings = vec![Timings::default(); contestants.len()];
    for round in 0..=MOST_ROUNDS * rounds {
        if round > rounds && are_even(contestants, &timings) {
            break;
        }
        let what = match round {
            0 => "warm-up".to_owned(),
            _ if round > rounds => format!("round {round}, because earlier rounds were uneven"),
            _ => format!("round {round} of {rounds}"),
        };
        eprintln!("{title}: {what}");
        for at in order(contestants.len(), round as usize) {
            match contestants[at].run()? {
                Some(seconds) if round > 0 => timings[at].push(seconds),
                Some(_) => {}
                None => timings[at] = Timings::default(),
            }
        }
    }
    Ok(timings)
}

/// The error of each contestant; `None` for those that did not fail.
#[cfg(feature = "cuda-kernels")]
pub fn failures(contestants: &[Contestant]) -> Vec<Option<String>> {
    contestants
        .iter()
        .map(|contestant| contestant.failure.clone())
        .collect()
}

/// Whether the rounds of our own contestants are even.
fn are_even(contestants: &[Contestant], timings: &[Timings]) -> bool {
    let mut both = contestants.iter().zip(timings);
    both.all(|(contestant, timings)| !contestant.ours || noise::is_even(timings))
}

fn order(contestants: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..contestants).map(move |at| (at + round) % contestants)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn contestants_warm_up_and_then_run_once_a_round_in_turn() {
        let log = RefCell::new(String::new());
        let runs = |name: &'static str| {
            let log = &log;
            Contestant::timing_itself(name, move || {
                log.borrow_mut().push_str(name);
                Ok(log.borrow().len() as f64)
            })
        };
        let found = run("test", &mut [runs("a"), runs("b"), runs("c")], 2).unwrap();
        assert_eq!(*log.borrow(), "abcbcacab");
        assert!(found.iter().all(|timings| timings.rounds() == 2));
        // The warm-up does not count: c ran fifth and seventh.
        assert_eq!(found[2].median(), 6.0);
    }

    #[test]
    fn uneven_rounds_of_ours_are_followed_by_more() {
        let rounds = |ours: bool, most: u32| {
            let runs = std::cell::Cell::new(0);
            let mut uneven = Contestant::timing_itself("uneven", || {
                runs.set(runs.get() + 1);
                Ok(if runs.get() <= most {
                    f64::from(runs.get())
                } else {
                    3.0
                })
            });
            uneven.ours = ours;
            run("test", &mut [uneven], 3).unwrap()[0].rounds()
        };
        assert_eq!(rounds(false, 100), 3);
        assert_eq!(rounds(true, 100), 12);
        // The rounds 2 3 4 are followed by 3s until both quartiles are 3.
        assert_eq!(rounds(true, 4), 5);
    }

    #[test]
    fn a_short_round_is_repeated_and_its_mean_counts() {
        let runs = std::cell::Cell::new(0);
        let mut short = Contestant::new("short", || {
            runs.set(runs.get() + 1);
            Ok(())
        });
        let seconds = short.run().unwrap().unwrap();
        drop(short);
        assert!(runs.get() > 1 && seconds < SHORTEST_ROUND);
        let mut each = Contestant::timing_each("each", || Ok(0.07));
        assert!((each.run().unwrap().unwrap() - 0.07).abs() < 1e-12);
    }

    #[cfg(feature = "cuda-kernels")]
    #[test]
    fn a_race_continues_without_a_peer_that_fails() {
        let rounds = std::cell::Cell::new(0);
        let failing = Contestant::timing_itself("peer", || {
            rounds.set(rounds.get() + 1);
            anyhow::ensure!(rounds.get() < 3, "out of memory");
            Ok(1.0)
        });
        let ours = Contestant::timing_itself("ours", || Ok(2.0)).ours(true);
        let mut both = [failing.may_fail(), ours];
        let timings = run("test", &mut both, 4).unwrap();
        assert_eq!((timings[0].rounds(), timings[1].rounds()), (0, 4));
        let reason = "running peer: out of memory".to_owned();
        assert_eq!(failures(&both), [Some(reason), None]);
    }

    #[test]
    fn a_failing_round_names_its_contestant() {
        let fails = Contestant::timing_itself("numkong", || anyhow::bail!("no memory"));
        let error = run("test", &mut [fails], 1).unwrap_err();
        assert_eq!(format!("{error:#}"), "running numkong: no memory");
    }
}
