//! Compares runs: chooses a split that all of them have results on, and lists the numbers of each.

use uard_eval::RecallPercent;

use crate::numbers::{duration, fixed, known, percent};
use crate::record::{RunRecord, SplitRecord};

/// Writes a threshold of a run as text: `none` if the run's weight rule has no threshold.
pub fn threshold_text(run: &RunRecord, threshold: f64) -> String {
    match run.masks() {
        true => fixed(threshold, 3),
        false => "none".to_owned(),
    }
}

/// The results of all runs on one split, so that they can be compared.
#[derive(Debug)]
pub struct Results<'a> {
    /// Name of the split: `test`, or `dev` if a run has no test result.
    pub split: &'a str,
    /// The result of each run, in the order of the runs.
    pub rows: Vec<RunResult<'a>>,
}

/// A run with its result on the compared split.
#[derive(Debug)]
pub struct RunResult<'a> {
    /// Index of the run in the report.
    pub index: usize,
    /// The run.
    pub run: &'a RunRecord,
    /// The run's result on the compared split.
    pub record: &'a SplitRecord,
}

impl<'a> Results<'a> {
    /// Takes the test result of every run if all runs have one, otherwise the dev result of each
    /// run's best epoch.
    pub fn from_runs(runs: &'a [RunRecord]) -> Self {
        let tested = runs.iter().all(|run| run.test.is_some());
        let result = |(index, run): (usize, &'a RunRecord)| {
            let record = match tested {
                true => run.test.as_ref()?,
                false => &run.best_epoch()?.dev,
            };
            Some(RunResult { index, run, record })
        };
        let rows: Vec<RunResult> = runs.iter().enumerate().filter_map(result).collect();
        let split = rows.first().map_or("dev", |row| row.record.split.as_str());
        Self { split, rows }
    }

    /// The threshold of the first run, which the examples were made with.
    pub(crate) fn first_threshold(&self) -> Option<f64> {
        let first = self.rows.first()?;
        Some(first.record.threshold).filter(|value| value.is_finite())
    }

    /// The numbers of all runs, grouped by heading; a number that no run has is left out.
    pub fn lines(&self) -> Vec<Line> {
        let numbers: Vec<Vec<Number>> = self.rows.iter().map(numbers).collect();
        let values = |index: usize| numbers.iter().map(move |of_run| of_run[index].value);
        let first = numbers.iter().take(1).flatten().enumerate();
        let lines = first.map(|(index, number)| Line {
            heading: number.heading,
            name: number.name,
            kind: number.kind,
            values: values(index).collect(),
        });
        lines
            .filter(|line| line.values.iter().any(Option::is_some))
            .collect()
    }
}

/// One line of the comparison: the same number of each run.
#[derive(Debug)]
pub struct Line {
    /// Heading that the line stands under.
    pub heading: &'static str,
    /// Name of the number.
    pub name: &'static str,
    pub(crate) kind: Kind,
    /// The number of each run, in the order of the runs; `None` where a run lacks it.
    pub(crate) values: Vec<Option<f64>>,
}

impl Line {
    /// The number of each run as text; a dash where it is unknown.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        let write = |value: &Option<f64>| known(*value, |value| self.kind.write(value));
        self.values.iter().map(write)
    }
}

/// How the numbers of a line are written, and which of them is the best.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A score with this maximum; higher is better.
    Points(f64),
    /// A fraction; higher is better.
    Gain,
    /// A fraction; lower is better.
    Cost,
    /// A count, of which no value is better than another.
    Count,
    /// Seconds, of which no value is better than another.
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

    /// The value at which the bar behind a number has its full width; `None` for numbers without a
    /// bar.
    pub(crate) fn bar(self) -> Option<f64> {
        match self {
            Self::Points(maximum) => Some(maximum),
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
    /// Heading that the number stands under.
    heading: &'static str,
    name: &'static str,
    kind: Kind,
    value: Option<f64>,
}

/// The numbers of a run, in the same order for all runs.
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
    let RunResult { run, record, .. } = result;
    let (retrieval, kept, truth) = (&record.retrieval, record.kept, record.alignment);
    let recalls = |recall: RecallPercent| {
        [("R@1", recall.r1), ("R@5", recall.r5), ("R@10", recall.r10)]
            .map(|(name, value)| (name, Some(value)))
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
    let rsum = [("rsum, the sum of the six", Some(retrieval.rsum))];
    add(captions, Kind::Points(600.0), &rsum);
    let kept = [
        ("word queries", Some(kept.word_queries)),
        ("region queries", Some(kept.region_queries)),
        ("region-word cells", Some(kept.cells)),
    ];
    add("Above the threshold, over all pairs", Kind::Cost, &kept);
    let aligned = [
        ("precision", truth.map(|truth| truth.precision)),
        ("recall", truth.map(|truth| truth.recall)),
        (
            "best region shows the word",
            truth.map(|truth| truth.best_region_accuracy),
        ),
    ];
    add("Alignment, over matched pairs", Kind::Gain, &aligned);
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
