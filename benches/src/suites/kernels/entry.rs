//! Entries of the kernels' races: a contestant with its row and its difference to the reference.

use uard_attention::search::Search;
use uard_attention::{Engine, Matcher, MatcherConfig, Precision, Sides, WeightRule};

use super::data::Data;
use super::sides_name;
use crate::peers::reference::{Differences, Sample};
use crate::race::{self, Contestant};
use crate::report::{Race, Row};
use crate::suites::BenchContext;

/// The options of a kernel in a race.
#[derive(Debug, Clone, Copy)]
pub struct KernelOptions {
    /// The engine.
    pub kernel: Engine,
    /// The rule.
    pub rule: WeightRule,
    /// The sides.
    pub sides: Sides,
    /// The precision.
    pub precision: Precision,
    /// The number of threads: 1, or 0 for all.
    pub threads: usize,
}

impl KernelOptions {
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

    /// The configuration of the matcher.
    pub fn config(&self) -> MatcherConfig {
        MatcherConfig {
            rule: self.rule,
            sides: self.sides,
            inverse_temperature: None,
        }
    }
}

/// The first pairs, on which all contestants are compared with the reference.
pub struct ReferencePairs {
    /// The images and captions of these pairs.
    pub sample: Data,
}

/// Images and captions of the sample.
const SAMPLE: (usize, usize) = (20, 20);

impl ReferencePairs {
    /// Takes the first pairs of the data.
    ///
    /// # Errors
    /// If candle fails.
    pub fn new(whole: &Data) -> anyhow::Result<Self> {
        Ok(Self {
            sample: whole.slice(SAMPLE.0, SAMPLE.1)?,
        })
    }

    /// The reference's similarities of the sample.
    ///
    /// # Errors
    /// If candle fails.
    pub fn similarities(&self, config: &MatcherConfig) -> anyhow::Result<Sample> {
        let Data { regions, words, .. } = &self.sample;
        Sample::compute(config, regions, words, self.sample.threshold)
    }

    /// The largest differences of a kernel's similarities on the sample.
    fn differences(&self, search: &Search, config: &MatcherConfig) -> anyhow::Result<Differences> {
        let mut out = vec![0.0; self.sample.pairs()];
        let (regions, words) = (&self.sample.packed_regions, &self.sample.packed_words);
        search.similarities_into(regions, words, &mut out)?;
        let sample = self.similarities(config)?;
        Ok(sample.differences(&out, self.sample.captions()))
    }
}

/// A contestant and its row.
pub struct RaceEntry<'a> {
    /// The row, without times.
    pub row: Row,
    /// The contestant.
    pub contestant: Contestant<'a>,
}

impl<'a> RaceEntry<'a> {
    /// A kernel of ours that computes the matrix of all pairs.
    ///
    /// # Errors
    /// If the kernel cannot run on this machine.
    pub fn ours(
        context: &'a BenchContext,
        data: &'a Data,
        reference: &ReferencePairs,
        options: KernelOptions,
    ) -> anyhow::Result<Self> {
        let config = options.config();
        let matcher = Matcher::new(config)?;
        let search = Search::new(&matcher, data.threshold, options.kernel, options.precision)?;
        let row = Row {
            name: search.running().engine().name().to_owned(),
            rule: format!("{}, {}", options.rule, sides_name(options.sides)),
            precision: options.precision.to_string(),
            ours: true,
            threads: if options.threads == 1 {
                1
            } else {
                context.threads
            },
            ..Row::default()
        };
        let row = row.with_differences(reference.differences(&search, &config)?);
        let mut out = vec![0.0; data.pairs()];
        let name = row.name.clone();
        let mut round = move || -> anyhow::Result<()> {
            let (regions, words) = (&data.packed_regions, &data.packed_words);
            search.similarities_into(regions, words, &mut out)?;
            std::hint::black_box(&out);
            Ok(())
        };
        let contestant = if options.threads == 1 {
            Contestant::new(name, move || context.single.install(&mut round))
        } else {
            Contestant::new(name, round)
        };
        Ok(Self::on(data, row, contestant))
    }

    /// An entry of any contestant that matches all pairs of the data.
    pub fn on(data: &Data, row: Row, contestant: Contestant<'a>) -> Self {
        let row = Row {
            units: data.pairs() as f64,
            multiply_adds: data.multiply_adds(),
            ..row
        };
        Self { row, contestant }
    }
}

/// Runs a race; rows with fewer pairs than others get a note.
///
/// # Errors
/// If a contestant fails.
pub fn race(
    context: &BenchContext,
    title: String,
    entries: Vec<RaceEntry>,
) -> anyhow::Result<Race> {
    let (mut rows, mut contestants) = (Vec::new(), Vec::new());
    for RaceEntry { row, contestant } in entries {
        contestants.push(contestant.ours(row.ours));
        rows.push(row);
    }
    let timings = race::run(&title, &mut contestants, context.rounds())?;
    let all = rows.iter().map(|row| row.units).fold(0.0, f64::max);
    let rows = rows.into_iter().zip(&timings).map(|(mut row, seconds)| {
        if row.units < all {
            let scaled = format!("scaled from {} pairs", row.units);
            row.note = [scaled, std::mem::take(&mut row.note)].join("; ");
            row.note.truncate(row.note.trim_end_matches("; ").len());
        }
        row.timed(seconds).with_ceiling_share(context.ceilings)
    });
    Ok(Race {
        title,
        rows: rows.collect(),
    })
}
