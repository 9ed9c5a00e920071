//! How does a kernel of ours enter a race? With its row and its difference to the reference.

use uard_attention::search::Search;
use uard_attention::{Engine, Matcher, MatcherConfig, Precision, Sides, WeightRule};

use super::data::Data;
use super::sides_name;
use crate::peers::reference::{Differences, Sample};
use crate::race::{self, Contestant};
use crate::report::{Race, Row};
use crate::suites::Setting;

/// What a kernel is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Which kernel.
    pub kernel: Engine,
    /// Which rule.
    pub rule: WeightRule,
    /// Which sides ask.
    pub sides: Sides,
    /// In which numbers.
    pub precision: Precision,
    /// On how many threads: one, or all where it is 0.
    pub threads: usize,
}

impl Asked {
    /// The masked rule on the fastest kernel and all threads, both sides.
    pub fn masked(precision: Precision) -> Self {
        Self {
            kernel: Engine::Auto,
            rule: WeightRule::Masked,
            sides: Sides::Both,
            precision,
            threads: 0,
        }
    }

    /// The matcher that is asked.
    pub fn config(&self) -> MatcherConfig {
        MatcherConfig {
            rule: self.rule,
            sides: self.sides,
            inverse_temperature: None,
        }
    }
}

/// The first pairs, by which everyone's numbers are judged.
pub struct Judge {
    /// The first images and captions.
    pub sample: Data,
}

/// Images and captions of the sample.
const SAMPLE: (usize, usize) = (20, 20);

impl Judge {
    /// Takes the sample.
    ///
    /// # Errors
    /// When candle refuses a tensor.
    pub fn new(whole: &Data) -> anyhow::Result<Self> {
        Ok(Self {
            sample: whole.slice(SAMPLE.0, SAMPLE.1)?,
        })
    }

    /// The reference's similarities of the sample.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn reference(&self, config: &MatcherConfig) -> anyhow::Result<Sample> {
        let fragments = (&self.sample.regions, &self.sample.words);
        Sample::compute(config, fragments, self.sample.threshold)
    }

    /// The largest differences of a kernel's similarities on the sample.
    fn differences(&self, search: &Search, config: &MatcherConfig) -> anyhow::Result<Differences> {
        let mut out = vec![0.0; self.sample.pairs()];
        let (regions, words) = (&self.sample.packed_regions, &self.sample.packed_words);
        search.similarities_into(regions, words, &mut out, &|_, _| ())?;
        let sample = self.reference(config)?;
        Ok(sample.differences(&out, self.sample.captions()))
    }
}

/// A contestant and the row that its times will stand in.
pub struct Entry<'a> {
    /// Without times yet.
    pub row: Row,
    /// Runs the rounds.
    pub contestant: Contestant<'a>,
}

impl<'a> Entry<'a> {
    /// A kernel of ours that fills the matrix of all pairs of the data.
    ///
    /// # Errors
    /// When the kernel cannot run here.
    pub fn ours(
        setting: &'a Setting,
        data: &'a Data,
        judge: &Judge,
        asked: Asked,
    ) -> anyhow::Result<Self> {
        let config = asked.config();
        let matcher = Matcher::new(config)?;
        let search = Search::new(&matcher, data.threshold, asked.kernel, asked.precision)?;
        let row = Row {
            name: search.running().engine().name().to_owned(),
            rule: format!("{}, {}", asked.rule, sides_name(asked.sides)),
            precision: asked.precision.to_string(),
            ours: true,
            threads: if asked.threads == 1 {
                1
            } else {
                setting.threads
            },
            ..Row::default()
        };
        let row = row.judged(judge.differences(&search, &config)?);
        let mut out = vec![0.0; data.pairs()];
        let name = row.name.clone();
        let mut round = move || -> anyhow::Result<()> {
            let (regions, words) = (&data.packed_regions, &data.packed_words);
            search.similarities_into(regions, words, &mut out, &|_, _| ())?;
            std::hint::black_box(&out);
            Ok(())
        };
        let contestant = if asked.threads == 1 {
            Contestant::new(name, move || setting.single.install(&mut round))
        } else {
            Contestant::new(name, round)
        };
        Ok(Self::on(data, row, contestant))
    }

    /// Any contestant that matches all pairs of the data.
    pub fn on(data: &Data, row: Row, contestant: Contestant<'a>) -> Self {
        let row = Row {
            units: data.pairs() as f64,
            multiply_adds: data.multiply_adds(),
            ..row
        };
        Self { row, contestant }
    }
}

/// Runs a race; rows of fewer pairs than the first one's say so.
///
/// # Errors
/// When a contestant fails.
pub fn race(setting: &Setting, title: String, entries: Vec<Entry>) -> anyhow::Result<Race> {
    let (mut rows, mut contestants) = (Vec::new(), Vec::new());
    for Entry { row, contestant } in entries {
        contestants.push(contestant.ours(row.ours));
        rows.push(row);
    }
    let timings = race::run(&title, &mut contestants, setting.rounds())?;
    let all = rows.iter().map(|row| row.units).fold(0.0, f64::max);
    let rows = rows.into_iter().zip(&timings).map(|(mut row, seconds)| {
        if row.units < all {
            let scaled = format!("scaled from {} pairs", row.units);
            row.note = [scaled, std::mem::take(&mut row.note)].join("; ");
            row.note.truncate(row.note.trim_end_matches("; ").len());
        }
        row.timed(seconds).under(setting.ceilings)
    });
    Ok(Race {
        title,
        rows: rows.collect(),
    })
}
