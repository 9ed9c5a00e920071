//! What does the mask save? Little where the product is all there is, most of the time where every
//! attended vector is formed: the fused kernel, the composed form and the literal one side by side.

use uard_attention::{Matcher, Precision, WeightRule};

use super::SLOWEST;
use super::data::Data;
use super::entry::{self, Asked, Entry, Judge};
use crate::peers::{composed, literal};
use crate::race::Contestant;
use crate::report::Row;
use crate::suites::{Found, Setting};

/// Races the masked rule with the threshold at zero, which keeps nearly every query, in three
/// forms.
///
/// # Errors
/// When a contestant fails.
pub fn race(
    setting: &Setting,
    whole: &Data,
    judge: &Judge,
    found: &mut Found,
) -> anyhow::Result<()> {
    let data = whole.slice(SLOWEST.0, SLOWEST.1)?;
    let mut entries = Vec::new();
    for rule in [WeightRule::Masked, WeightRule::Zero] {
        let asked = Asked {
            rule,
            ..Asked::masked(Precision::F32)
        };
        entries.push(Entry::ours(setting, &data, judge, asked)?);
        entries.push(by_composition(setting, &data, judge, asked)?);
        entries.push(literally(&data, judge, asked)?);
    }
    let title = format!("what the mask saves, {}, both sides, f32", data.size());
    let race = entry::race(setting, title, entries)?;
    let saved = |form: usize| {
        let (masked, zero) = (&race.rows[form], &race.rows[form + 3]);
        format!("{:.0} %", 100.0 * (1.0 - masked.of_one() / zero.of_one()))
    };
    found.promise(
        "time that the mask saves, by form",
        "reported beside the paper's 50 to 73 %",
        format!(
            "fused kernel {}, composed form {}, literal form {}",
            saved(0),
            saved(1),
            saved(2)
        ),
    );
    found.race(race);
    Ok(())
}

/// candle's own operations, which mask and skip nothing.
pub fn by_composition<'a>(
    setting: &Setting,
    data: &'a Data,
    judge: &Judge,
    asked: Asked,
) -> anyhow::Result<Entry<'a>> {
    let config = asked.config();
    let matcher = Matcher::new(config)?;
    let sample = (&judge.sample.regions, &judge.sample.words);
    let values = composed::all_pairs(&matcher, sample, data.threshold)?;
    let judged = judge.reference(&config)?;
    let row = Row {
        name: "composed form, candle".to_owned(),
        rule: asked.rule.to_string(),
        precision: "f32".to_owned(),
        threads: setting.threads,
        ..Row::default()
    };
    let row = row.judged(judged.differences(&values, judge.sample.captions()));
    let contestant = Contestant::new("composed form", move || {
        let fragments = (&data.regions, &data.words);
        std::hint::black_box(composed::all_pairs(&matcher, fragments, data.threshold)?);
        Ok(())
    });
    Ok(Entry::on(data, row, contestant))
}

/// The formulas as they are written, which skip queries and cells below the threshold.
fn literally<'a>(data: &'a Data, judge: &Judge, asked: Asked) -> anyhow::Result<Entry<'a>> {
    let config = asked.config();
    let threshold = config.threshold(data.threshold);
    let temperature = config.inverse_temperature(uard_attention::QuerySide::Words);
    let rows = |data: &Data| literal::Rows::read(&data.regions, &data.words);
    let values = rows(&judge.sample)?.all_pairs(threshold, temperature);
    let judged = judge.reference(&config)?;
    let row = Row {
        name: "literal form".to_owned(),
        rule: asked.rule.to_string(),
        precision: "f32".to_owned(),
        threads: 1,
        ..Row::default()
    };
    let row = row.judged(judged.differences(&values, judge.sample.captions()));
    let fragments = rows(data)?;
    let contestant = Contestant::new("literal form", move || {
        std::hint::black_box(fragments.all_pairs(threshold, temperature));
        Ok(())
    });
    Ok(Entry::on(data, row, contestant))
}
