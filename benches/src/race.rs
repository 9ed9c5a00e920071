//! How are contestants timed fairly? Alternately, in one run, each round in another order.

use std::time::{Duration, Instant};

use anyhow::Context;
use uard_benches::noise;
use uard_benches::statistics::Timings;

/// Lets the threads of one contestant fall asleep before the next one starts.
const PAUSE: Duration = Duration::from_millis(30);

/// What is over sooner is repeated within its round, and the mean counts: a few milliseconds are
/// as uneven as the machine's interrupts.
const SHORTEST_ROUND: f64 = 0.2;

/// A race whose own rounds are uneven goes on, up to so many times the rounds that were asked for.
/// No round is dropped.
const PATIENCE: u32 = 4;

/// Who takes part.
pub struct Contestant<'a> {
    name: String,
    ours: bool,
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

    /// A contestant that says how many seconds its round took: another process.
    pub fn timing_itself(
        name: impl Into<String>,
        round: impl FnMut() -> anyhow::Result<f64> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            ours: false,
            round: Box::new(round),
        }
    }

    /// Says whether it is ours: then its rounds must lie near each other. Peers may be as uneven as
    /// they are.
    pub fn ours(self, ours: bool) -> Self {
        Self { ours, ..self }
    }

    fn run(&mut self) -> anyhow::Result<f64> {
        std::thread::sleep(PAUSE);
        (self.round)().with_context(|| format!("running {}", self.name))
    }
}

/// Repeats a job until it has taken so many seconds; returns the mean of one.
///
/// # Errors
/// When the job fails.
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

/// Runs everyone once to warm up, then everyone once a round, beginning with another one each time;
/// while the rounds of ours lie too far apart, more rounds than were asked for.
///
/// # Errors
/// When a round fails.
pub fn run(
    title: &str,
    contestants: &mut [Contestant],
    rounds: u32,
) -> anyhow::Result<Vec<Timings>> {
    let mut timings = vec![Timings::default(); contestants.len()];
    for round in 0..=PATIENCE * rounds {
        if round > rounds && are_even(contestants, &timings) {
            break;
        }
        let what = match round {
            0 => "warm-up".to_owned(),
            _ if round > rounds => format!("round {round}: the others were uneven"),
            _ => format!("round {round} of {rounds}"),
        };
        eprintln!("{title}: {what}");
        for at in order(contestants.len(), round as usize) {
            let seconds = contestants[at].run()?;
            if round > 0 {
                timings[at].push(seconds);
            }
        }
    }
    Ok(timings)
}

/// Whether the rounds of ours lie near each other.
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
    fn everyone_warms_up_and_then_runs_once_a_round_in_turn() {
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
        // After 2 3 4 come 3 3 3 until the middle half is one number.
        assert_eq!(rounds(true, 4), 5);
    }

    #[test]
    fn a_short_round_is_repeated_and_its_mean_counts() {
        let runs = std::cell::Cell::new(0);
        let mut short = Contestant::new("short", || {
            runs.set(runs.get() + 1);
            Ok(())
        });
        let seconds = short.run().unwrap();
        drop(short);
        assert!(runs.get() > 1 && seconds < SHORTEST_ROUND);
    }

    #[test]
    fn a_failing_round_names_its_contestant() {
        let fails = Contestant::timing_itself("numkong", || anyhow::bail!("no memory"));
        let error = run("test", &mut [fails], 1).unwrap_err();
        assert_eq!(format!("{error:#}"), "running numkong: no memory");
    }
}
