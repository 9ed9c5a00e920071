//! The race that shows the time saved by the mask: in the fused kernel, in the composed form and in the
//! literal form. The mask saves little if the product is most of the work, and much if every attended
//! vector is formed.

use uard_attention::{Matcher, Precision, WeightRule};

use super::SLOWEST;
use super::data::Data;
use super::entry::{self, KernelOptions, RaceEntry, ReferencePairs};
use crate::peers::{composed, literal};
use crate::race::Contestant;
use crate::report::Row;
use crate::suites::{BenchContext, SuiteResults};

/// Races the masked rule with the rule zero, which keeps nearly every query, in three forms.
///
/// # Errors
/// If a contestant fails.
pub fn race(
    context: &BenchContext,
    whole: &Data,
    reference: &ReferencePairs,
    results: &mut SuiteResults,
) -> anyhow::Result<()> {
    let data = whole.slice(SLOWEST.0, SLOWEST.1)?;
    let mut entries = Vec::new();
    for rule in [WeightRule::Masked, WeightRule::Zero] {
        let options = KernelOptions {
            rule,
            ..KernelOptions::masked(Precision::F32)
        };
        entries.push(RaceEntry::ours(context, &data, reference, options)?);
        entries.push(by_composition(context, &data, reference, options)?);
        entries.push(literally(&data, reference, options)?);
    }
    let title = format!("what the mask saves, {}, both sides, f32", data.size());
    let race = entry::race(context, title, entries)?;
    let saved = |form: usize| {
        let (masked, zero) = (&race.rows[form], &race.rows[form + 3]);
        format!(
            "{:.0} %",
            100.0 * (1.0 - masked.seconds_per_unit() / zero.seconds_per_unit())
        )
    };
    results.promise(
        "time that the mask saves, by form",
        "reported beside the paper's 50 to 73 %",
        format!(
            "fused kernel {}, composed form {}, literal form {}",
            saved(0),
            saved(1),
            saved(2)
        ),
    );
    results.race(race);
    Ok(())
}

/// The composed form in candle's operations, which computes masked cells too.
pub fn by_composition<'a>(
    context: &BenchContext,
    data: &'a Data,
    reference: &ReferencePairs,
    options: KernelOptions,
) -> anyhow::Result<RaceEntry<'a>> {
    let config = options.config();
    let matcher = Matcher::new(config)?;
    let Data { regions, words, .. } = &reference.sample;
    let values = composed::all_pairs(&matcher, regions, words, data.threshold)?;
    let expected = reference.similarities(&config)?;
    let row = Row {
        name: "composed form, candle".to_owned(),
        rule: options.rule.to_string(),
        precision: "f32".to_owned(),
        threads: context.threads,
        ..Row::default()
    };
    let row = row.with_differences(expected.differences(&values, reference.sample.captions()));
    let contestant = Contestant::new("composed form", move || {
        let values = composed::all_pairs(&matcher, &data.regions, &data.words, data.threshold)?;
        std::hint::black_box(values);
        Ok(())
    });
    Ok(RaceEntry::on(data, row, contestant))
}

/// The literal form, which skips queries and cells below the threshold.
fn literally<'a>(
    data: &'a Data,
    reference: &ReferencePairs,
    options: KernelOptions,
) -> anyhow::Result<RaceEntry<'a>> {
    let config = options.config();
    let threshold = config.threshold(data.threshold);
    let temperature = config.inverse_temperature(uard_attention::QuerySide::Words);
    let rows = |data: &Data| literal::Rows::read(&data.regions, &data.words);
    let values = rows(&reference.sample)?.all_pairs(threshold, temperature);
    let expected = reference.similarities(&config)?;
    let row = Row {
        name: "literal form".to_owned(),
        rule: options.rule.to_string(),
        precision: "f32".to_owned(),
        threads: 1,
        ..Row::default()
    };
    let row = row.with_differences(expected.differences(&values, reference.sample.captions()));
    let fragments = rows(data)?;
    let contestant = Contestant::new("literal form", move || {
        std::hint::black_box(fragments.all_pairs(threshold, temperature));
        Ok(())
    });
    Ok(RaceEntry::on(data, row, contestant))
}
