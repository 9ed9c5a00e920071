//! What is told of a run? Rows of races, what the project promised, who was missing, and whether
//! the run was quiet.

mod record;
mod table;

use std::fmt;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use uard_benches::noise;
use uard_benches::statistics::Timings;

use crate::ceilings::{Ceilings, Kind};
use crate::machine::Machine;
use crate::peers::reference::Differences;

pub use table::seconds;

/// Everything that a run measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The command line.
    pub command: Vec<String>,
    /// Seconds since 1970 at the end.
    pub finished: u64,
    /// On what.
    pub machine: Machine,
    /// At most what, before everything else.
    pub ceilings: Ceilings,
    /// The same at the end.
    pub ceilings_after: Ceilings,
    /// Race by race.
    pub races: Vec<Race>,
    /// What the project promised, and what was found.
    pub promises: Vec<Promise>,
    /// What the GPU must do, and whether it does.
    pub requirements: Vec<Requirement>,
    /// The GPU, where one ran the races.
    pub gpu: Option<String>,
    /// Peers that took no part, and kernels that this machine cannot run.
    pub missing: Vec<Missing>,
    /// Why the run is not to be believed; empty when it is.
    pub noise: Vec<String>,
}

/// Contestants of one race, on the same data in alternating rounds.
#[derive(Debug, Serialize)]
pub struct Race {
    /// What was to be done.
    pub title: String,
    /// The first is what the others' times are divided by.
    pub rows: Vec<Row>,
}

/// One contestant of a race.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    /// Kernel or peer.
    pub name: String,
    /// The rule, or what else is computed.
    pub rule: String,
    /// The numbers that relevance is computed in.
    pub precision: String,
    /// Whether it is ours: peers may be as uneven as they are.
    pub ours: bool,
    /// Threads that it used.
    pub threads: usize,
    /// Seconds of each round.
    pub seconds: Timings,
    /// The middle of them.
    pub median: f64,
    /// The distance of their quartiles over the median.
    pub spread: f64,
    /// Pairs, captions or steps of a round: times are compared by it.
    pub units: f64,
    /// Multiply-adds of the relevance of a round; zero where it is not what counts.
    pub multiply_adds: f64,
    /// The share of the ceiling of its precision.
    pub share_of_ceiling: Option<f64>,
    /// The largest difference to the reference in f64, on a sample, over pairs in which bf16 moves
    /// no relevance across the threshold.
    pub difference: Option<f64>,
    /// The same over all pairs of the sample.
    pub difference_with_flips: Option<f64>,
    /// Peak resident memory of its process.
    pub peak_kib: Option<u64>,
    /// What must be known to read the row.
    pub note: String,
}

/// A promise of the project.
#[derive(Debug, Serialize)]
pub struct Promise {
    /// What it is about.
    pub about: String,
    /// What was promised: must, then aim.
    pub promised: String,
    /// What this run found.
    pub found: String,
}

/// What must be so, as a number that is judged.
#[derive(Debug, Serialize)]
pub struct Requirement {
    /// What it is about.
    pub about: String,
    /// What must be.
    pub must: String,
    /// What this run found.
    pub found: String,
    /// Whether that is enough.
    pub met: bool,
    /// Whether the run has failed where it is not: a wrong number, not a slow one.
    pub fatal: bool,
}

/// Who took no part.
#[derive(Debug, Serialize)]
pub struct Missing {
    /// A peer or a kernel.
    pub who: String,
    /// Why.
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
    /// The row with what its rounds took.
    pub fn timed(mut self, seconds: &Timings) -> Self {
        self.median = seconds.median();
        self.spread = seconds.spread();
        self.seconds = seconds.clone();
        self
    }

    /// The row with its differences to the reference; numbers below bf16 have flips to explain.
    pub fn judged(mut self, differences: Differences) -> Self {
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

    /// The row with its share of what is possible.
    pub fn under(mut self, ceilings: &Ceilings) -> Self {
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
    pub fn of_one(&self) -> f64 {
        self.median / self.units
    }
}

impl Race {
    /// For a person.
    pub fn table(&self) -> String {
        table::race(self)
    }
}

impl Report {
    /// Complaints about drifting ceilings and uneven rounds of ours.
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

    /// Prints what is known at the end; races have printed themselves.
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
    /// When the file cannot be written.
    pub fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("writing the report as JSON")?;
        std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }

    /// Appends a line for every row to a record.
    ///
    /// # Errors
    /// When the file cannot be written.
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
    fn exact_stands_under_the_ceiling_of_bf16() {
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
        let share = |precision| row(precision, &[2.0]).under(&ceilings).share_of_ceiling;
        assert_eq!(share("f32"), Some(0.5));
        assert_eq!(share("exact"), Some(0.25));
        assert_eq!(row("f32", &[2.0]).of_one(), 0.2);
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
