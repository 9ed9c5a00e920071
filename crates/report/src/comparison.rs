//! Runs side by side: which of their results may be compared, and the numbers of each.

use uard_eval::RecallPercent;

use crate::numbers::{duration, fixed, known, percent};
use crate::record::{RunRecord, SplitRecord};

/// A threshold of a run; some rules have none.
pub fn threshold_text(run: &RunRecord, threshold: f64) -> String {
    match run.masks() {
        true => fixed(threshold, 3),
        false => "none".to_owned(),
    }
}

/// Results of one split for every run that has them: only equals are compared.
#[derive(Debug)]
pub struct Results<'a> {
    /// `test`, or `dev` where a run lacks a test result.
    pub split: &'a str,
    /// In the order of the runs.
    pub rows: Vec<RunResult<'a>>,
}

/// A run with the result that counts.
#[derive(Debug)]
pub struct RunResult<'a> {
    /// Its place in the report.
    pub place: usize,
    /// The run.
    pub run: &'a RunRecord,
    /// Its result.
    pub of: &'a SplitRecord,
}

impl<'a> Results<'a> {
    /// Test results if all runs have one; otherwise each run's best epoch on dev.
    pub fn of(runs: &'a [RunRecord]) -> Self {
        let tested = runs.iter().all(|run| run.test.is_some());
        let result = |(place, run): (usize, &'a RunRecord)| {
            let of = match tested {
                true => run.test.as_ref()?,
                false => &run.best_epoch()?.dev,
            };
            Some(RunResult { place, run, of })
        };
        let rows: Vec<RunResult> = runs.iter().enumerate().filter_map(result).collect();
        let split = rows.first().map_or("dev", |row| row.of.split.as_str());
        Self { split, rows }
    }

    /// The threshold of the first run, which the examples were made with.
    pub(crate) fn first_threshold(&self) -> Option<f64> {
        let first = self.rows.first()?;
        Some(first.of.threshold).filter(|value| value.is_finite())
    }

    /// The numbers of all runs, those of one heading together; what no run knows is left out.
    pub fn lines(&self) -> Vec<Line> {
        let numbers: Vec<Vec<Number>> = self.rows.iter().map(numbers).collect();
        let of_runs = |place: usize| numbers.iter().map(move |of_run| of_run[place].value);
        let first = numbers.iter().take(1).flatten().enumerate();
        let lines = first.map(|(place, number)| Line {
            heading: number.heading,
            name: number.name,
            kind: number.kind,
            values: of_runs(place).collect(),
        });
        lines
            .filter(|line| line.values.iter().any(Option::is_some))
            .collect()
    }
}

/// A number of each run.
#[derive(Debug)]
pub struct Line {
    /// What it stands below.
    pub heading: &'static str,
    /// Its name.
    pub name: &'static str,
    pub(crate) kind: Kind,
    /// In the order of the runs, as far as known.
    pub(crate) values: Vec<Option<f64>>,
}

impl Line {
    /// As it is written of each run; what is unknown is a dash.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        let write = |value: &Option<f64>| known(*value, |value| self.kind.write(value));
        self.values.iter().map(write)
    }
}

/// How the numbers of a row are written, and which of them is the best.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A number of which more is better, up to this one.
    Points(f64),
    /// A fraction of which more is better.
    Gain,
    /// A fraction of which less is better.
    Cost,
    /// Epochs, of which no number is better.
    Count,
    /// Seconds, of which no number is better.
    Time,
}

impl Kind {
    pub(crate) fn write(self, value: f64) -> String {
        match self {
            Self::Points(_) => fixed(value, 1),
            Self::Gain | Self::Cost => percent(value),
            Self::Count => fixed(value, 0),
            Self::Time => duration(value),
        }
    }

    /// Largest value of the bar behind a number, if there is one.
    pub(crate) fn bar(self) -> Option<f64> {
        match self {
            Self::Points(most) => Some(most),
            Self::Gain | Self::Cost => Some(1.0),
            Self::Count | Self::Time => None,
        }
    }

    pub(crate) fn best(self, values: &[Option<f64>]) -> Option<f64> {
        let known = values.iter().flatten().copied();
        match self {
            _ if values.len() < 2 => None,
            Self::Points(_) | Self::Gain => known.reduce(f64::max),
            Self::Cost => known.reduce(f64::min),
            Self::Count | Self::Time => None,
        }
    }
}

/// One number of a run.
struct Number {
    /// What it stands below.
    heading: &'static str,
    name: &'static str,
    kind: Kind,
    value: Option<f64>,
}

/// The numbers of a run; those of all runs have the same order.
fn numbers(result: &RunResult) -> Vec<Number> {
    let mut numbers = Vec::new();
    let mut add = |heading, kind, named: &[(&'static str, Option<f64>)]| {
        numbers.extend(named.iter().map(|&(name, value)| Number {
            heading,
            name,
            kind,
            value: value.filter(|value| value.is_finite()),
        }));
    };
    let RunResult { run, of, .. } = result;
    let (retrieval, kept, truth) = (&of.retrieval, of.kept, of.alignment);
    let recalls = |of: RecallPercent| {
        [("R@1", of.r1), ("R@5", of.r5), ("R@10", of.r10)].map(|(name, r)| (name, Some(r)))
    };
    let [images, captions] = ["Image → text, % of images", "Text → image, % of captions"];
    add(
        images,
        Kind::Points(100.0),
        &recalls(retrieval.image_to_text),
    );
    add(
        captions,
        Kind::Points(100.0),
        &recalls(retrieval.text_to_image),
    );
    let rsum = [("rsum of the six", Some(retrieval.rsum))];
    add(captions, Kind::Points(600.0), &rsum);
    let kept = [
        ("word queries", Some(kept.word_queries)),
        ("region queries", Some(kept.region_queries)),
        ("region-word cells", Some(kept.cells)),
    ];
    add("Work kept, of all pairs", Kind::Cost, &kept);
    let aligned = [
        ("precision", truth.map(|of| of.precision)),
        ("recall", truth.map(|of| of.recall)),
        (
            "best region is true",
            truth.map(|of| of.best_region_accuracy),
        ),
    ];
    add("Alignment, matched pairs", Kind::Gain, &aligned);
    let best_epoch = [("best epoch", Some(run.best_epoch as f64))];
    add("Training", Kind::Count, &best_epoch);
    add("Training", Kind::Time, &[("time", Some(run.seconds))]);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_of_one_run_is_not_marked() {
        assert_eq!(Kind::Gain.best(&[Some(1.0)]), None);
        assert_eq!(Kind::Cost.best(&[Some(1.0), None, Some(0.5)]), Some(0.5));
    }
}
