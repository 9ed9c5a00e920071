//! The report of a run: the rows of its races, the project's promises, missing peers, and signs of noise.

mod record;
mod table;

use std::fmt;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::ceilings::{Ceilings, Kind};
use crate::machine::Machine;
use crate::noise;
use crate::peers::reference::Differences;
use crate::statistics::Timings;

pub use table::seconds;

/// Everything that a run measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The command line.
    pub command: Vec<String>,
    /// Seconds since 1970 at the end.
    pub finished: u64,
    /// The machine.
    pub machine: Machine,
    /// The ceilings measured before the races.
    pub ceilings: Ceilings,
    /// The ceilings measured after the races.
    pub ceilings_after: Ceilings,
    /// All races.
    pub races: Vec<Race>,
    /// The project's promises with the measured values.
    pub promises: Vec<Promise>,
    /// The requirements of a GPU with the measured values.
    pub requirements: Vec<Requirement>,
    /// The name of the GPU, if the races ran on one.
    pub gpu: Option<String>,
    /// Peers that took no part, and kernels that this machine cannot run.
    pub missing: Vec<Missing>,
    /// The signs of noise; empty for a quiet run.
    pub noise: Vec<String>,
}

/// Contestants of one race, on the same data in alternating rounds.
#[derive(Debug, Serialize)]
pub struct Race {
    /// The measured work.
    pub title: String,
    /// One row for each contestant; the table divides the times by that of the first row.
    pub rows: Vec<Row>,
}

/// One contestant of a race.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    /// The name of the kernel or peer.
    pub name: String,
    /// The rule, or another description of the work.
    pub rule: String,
    /// The precision of relevance.
    pub precision: String,
    /// Whether the contestant is one of our own, whose rounds must be even.
    pub ours: bool,
    /// The number of threads.
    pub threads: usize,
    /// Seconds of each round.
    pub seconds: Timings,
    /// The median of the rounds.
    pub median: f64,
    /// The distance of the quartiles, divided by the median.
    pub spread: f64,
    /// The number of pairs, captions or steps of a round; times are compared per unit.
    pub units: f64,
    /// Multiply-adds of the relevance of a round; zero if relevance is not the measured work.
    pub multiply_adds: f64,
    /// The rate of multiply-adds as a share of the ceiling of the row's precision.
    pub share_of_ceiling: Option<f64>,
    /// The largest difference to the reference in f64 on a sample, over pairs in which bf16 moves no
    /// relevance across the threshold.
    pub difference: Option<f64>,
    /// The largest difference over all pairs of the sample.
    pub difference_with_flips: Option<f64>,
    /// Peak resident memory of the contestant's process, in KiB.
    pub peak_kib: Option<u64>,
    /// Remarks that are needed to read the row.
    pub note: String,
}

/// A promise of the project.
#[derive(Debug, Serialize)]
pub struct Promise {
    /// The promised quantity.
    pub about: String,
    /// The promised value, and after it the value that is aimed at, if there is one.
    pub promised: String,
    /// The value of this run.
    pub found: String,
}

/// A requirement on a measured value.
#[derive(Debug, Serialize)]
pub struct Requirement {
    /// The quantity.
    pub about: String,
    /// The required value.
    pub must: String,
    /// The value of this run.
    pub found: String,
    /// Whether the requirement is met.
    pub met: bool,
    /// Whether the run fails if it is not met, as for a wrong number (not a slow one).
    pub fatal: bool,
}

/// A contestant that took no part.
#[derive(Debug, Serialize)]
pub struct Missing {
    /// The peer or kernel.
    pub who: String,
    /// The reason.
    pub reason: String,
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self {
            about, must, found, ..
        } = self;
        let verdict = if self.met { "met" } else { "not met" };
        write!(f, "{about}: must {must}  found {found}  {verdict}")
    }
}

impl Row {
    /// The row with the times of its rounds.
    pub fn timed(mut self, seconds: &Timings) -> Self {
        self.median = seconds.median();
        self.spread = seconds.spread();
        self.seconds = seconds.clone();
        self
    }

    /// The row with its differences to the reference, and a note on pairs whose mask rounding changes.
    pub fn with_differences(mut self, differences: Differences) -> Self {
        let Differences {
            all,
            same_mask,
            flipped,
        } = differences;
        self.difference = Some(same_mask);
        self.difference_with_flips = Some(all);
        if flipped > 0 && all > same_mask {
            let flips = format!("{all:.1e} in the {flipped} pairs of the sample whose mask flips");
            self.note = [std::mem::take(&mut self.note), flips].join("; ");
            self.note = self.note.trim_start_matches("; ").to_owned();
        }
        self
    }

    /// The row with its share of the ceiling.
    pub fn with_ceiling_share(mut self, ceilings: &Ceilings) -> Self {
        let kind = match self.precision.as_str() {
            "f32" => Kind::ProductF32,
            _ => Kind::ProductBf16,
        };
        let ceiling = ceilings.best(kind, self.threads);
        self.share_of_ceiling = ceiling
            .filter(|_| self.multiply_adds > 0.0)
            .map(|ceiling| self.rate() / ceiling.rate);
        self
    }

    /// Multiply-adds a second.
    pub fn rate(&self) -> f64 {
        self.multiply_adds / self.median
    }

    /// Seconds of one pair, caption or step.
    pub fn seconds_per_unit(&self) -> f64 {
        self.median / self.units
    }
}

impl Race {
    /// The race as a table for people.
    pub fn table(&self) -> String {
        table::race(self)
    }
}

impl Report {
    /// The signs of noise: ceilings that changed, and uneven rounds of our contestants.
    pub fn complaints(before: &Ceilings, after: &Ceilings, races: &[Race]) -> Vec<String> {
        let ours = races.iter().flat_map(|race| {
            let named = |row: &Row| format!("{}: {}", race.title, table::name(row));
            let rows = race.rows.iter().filter(|row| row.ours);
            rows.map(move |row| (named(row), &row.seconds))
        });
        let ours: Vec<(String, &Timings)> = ours.collect();
        let named = ours.iter().map(|(name, timings)| (name.as_str(), *timings));
        noise::complaints(&before.drifts(after), named)
    }

    /// Prints ceilings, promises, requirements and missing contestants. Races were printed when they ended.
    pub fn print_end(&self) {
        if !self.ceilings.found.is_empty() {
            println!("{}", table::ceilings(&self.ceilings, &self.ceilings_after));
        }
        if !self.promises.is_empty() {
            println!("{}", table::promises(&self.promises));
        }
        for requirement in &self.requirements {
            println!("{requirement}");
        }
        for Missing { who, reason } in &self.missing {
            println!("missing: {who}: {reason}");
        }
    }

    /// Writes everything as JSON.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("writing the report as JSON")?;
        std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }

    /// Appends a line for every row to a record.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append_record(&self, path: &Path) -> anyhow::Result<()> {
        record::append(self, path).with_context(|| format!("recording in {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ceilings::Ceiling;

    fn row(precision: &str, seconds: &[f64]) -> Row {
        Row {
            precision: precision.to_owned(),
            ours: true,
            threads: 2,
            units: 10.0,
            multiply_adds: 100.0,
            ..Row::default()
        }
        .timed(&seconds.iter().copied().collect())
    }

    #[test]
    fn exact_is_compared_with_the_ceiling_of_bf16() {
        let ceiling = |kind, rate| Ceiling {
            kind,
            threads: 2,
            by: String::new(),
            rate,
        };
        let ceilings = Ceilings {
            found: vec![
                ceiling(Kind::ProductF32, 100.0),
                ceiling(Kind::ProductBf16, 200.0),
            ],
        };
        let share = |precision| {
            row(precision, &[2.0])
                .with_ceiling_share(&ceilings)
                .share_of_ceiling
        };
        assert_eq!(share("f32"), Some(0.5));
        assert_eq!(share("exact"), Some(0.25));
        assert_eq!(row("f32", &[2.0]).seconds_per_unit(), 0.2);
    }

    #[test]
    fn only_our_own_rounds_make_a_run_noisy() {
        let uneven = row("f32", &[1.0, 2.0, 3.0]);
        let peer = Row {
            ours: false,
            ..uneven.clone()
        };
        let race = |rows| Race {
            title: "all pairs".to_owned(),
            rows,
        };
        let none = Ceilings::default();
        assert!(Report::complaints(&none, &none, &[race(vec![peer])]).is_empty());
        assert_eq!(
            Report::complaints(&none, &none, &[race(vec![uneven])]).len(),
            1
        );
    }
}
