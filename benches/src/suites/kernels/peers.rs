//! How do the peers compare? PyTorch and candle on all threads; NumKong and ours on one.

use uard_attention::{MatcherConfig, Precision, Sides, WeightRule};

use super::data::Data;
use super::entry::{self, Asked, Entry, Judge};
use super::{CAPTIONS_OF_PEERS, SLOWEST, mask, race_named};
use crate::peers::python::Python;
use crate::peers::reference::Sample;
use crate::race::Contestant;
use crate::report::Row;
use crate::suites::{Found, Setting};
use crate::workers::Worker;

/// Forms of benches/peers/scan.py that match all pairs.
const TORCH_FORMS: [(&str, &str); 2] = [
    ("loop", "PyTorch, SCAN's loop over captions"),
    ("batched", "PyTorch, SCAN in tiles"),
];

/// Races ours with PyTorch, candle's operations and the reference, on all threads.
///
/// # Errors
/// When a contestant fails.
pub fn race(
    setting: &Setting,
    whole: &Data,
    judge: &Judge,
    found: &mut Found,
) -> anyhow::Result<()> {
    let captions = match setting.arguments.full {
        true => whole.captions(),
        false => CAPTIONS_OF_PEERS,
    };
    let slice = whole.slice(whole.images(), captions)?;
    let small = whole.slice(SLOWEST.0, SLOWEST.1)?;
    let mut torch = start_torch(setting, &slice)?;
    let mut entries = Vec::new();
    for rule in [WeightRule::Masked, WeightRule::Scan] {
        for precision in [Precision::Bf16, Precision::F32] {
            let asked = Asked {
                rule,
                ..Asked::masked(precision)
            };
            entries.push(Entry::ours(setting, &slice, judge, asked)?);
        }
    }
    if let Some(python) = setting.python {
        for (name, worker) in &mut torch {
            entries.push(by_torch(setting, python, (&slice, judge), (name, worker))?);
        }
    }
    let composed = Asked::masked(Precision::F32);
    entries.push(mask::by_composition(setting, &slice, judge, composed)?);
    entries.push(by_reference(&small));
    let title = format!("peers, {}, both sides", slice.size());
    let race = entry::race(setting, title, entries)?;
    let looped = race.rows.iter().find(|row| row.name == TORCH_FORMS[0].1);
    let job = race_named(found, "all pairs").map(|race| race.rows[0].of_one());
    if let (Some(looped), Some(job)) = (looped, job) {
        let pairs = whole.pairs() as f64;
        let about = format!(
            "{} against SCAN's loop in PyTorch, both directions",
            whole.size()
        );
        let times = looped.of_one() / job;
        let (theirs, ours) = (looped.of_one() * pairs, job * pairs);
        found.promise(
            &about,
            "100 times faster; aim 300",
            format!("{times:.0} times: {theirs:.0} s and {ours:.1} s"),
        );
    }
    found.race(race);
    Ok(())
}

fn start_torch(setting: &Setting, data: &Data) -> anyhow::Result<Vec<(&'static str, Worker)>> {
    let Some(python) = setting.python else {
        return Ok(Vec::new());
    };
    python.lay_out(&data.regions, &data.words)?;
    let mut workers = Vec::new();
    for (form, name) in TORCH_FORMS {
        workers.push((name, python.start(form)?));
    }
    Ok(workers)
}

/// A form of SCAN in PyTorch; its first round is judged before the race.
fn by_torch<'a>(
    setting: &Setting,
    python: &Python,
    (data, judge): (&Data, &Judge),
    (name, worker): (&str, &'a mut Worker),
) -> anyhow::Result<Entry<'a>> {
    let config = MatcherConfig {
        rule: WeightRule::Scan,
        ..MatcherConfig::default()
    };
    worker.round()?;
    let values = python.found(worker)?;
    let differences = judge
        .reference(&config)?
        .differences(&values, data.captions());
    let row = Row {
        name: name.to_owned(),
        rule: "scan, both sides".to_owned(),
        precision: "f32".to_owned(),
        threads: setting.threads,
        note: worker.name.clone(),
        ..Row::default()
    };
    let row = row.judged(differences);
    let contestant = Contestant::timing_itself(name, || worker.round());
    Ok(Entry::on(data, row, contestant))
}

fn by_reference(data: &Data) -> Entry<'_> {
    let row = Row {
        name: "reference".to_owned(),
        rule: "masked, both sides".to_owned(),
        precision: "f64".to_owned(),
        threads: 1,
        ..Row::default()
    };
    let contestant = Contestant::new("reference", move || {
        let fragments = (&data.regions, &data.words);
        let sample = Sample::compute(&MatcherConfig::default(), fragments, data.threshold)?;
        std::hint::black_box(sample.values);
        Ok(())
    });
    Entry::on(data, row, contestant)
}

/// Races ours with NumKong, core by core: one thread each.
///
/// # Errors
/// When a contestant fails.
pub fn race_alone(
    setting: &Setting,
    whole: &Data,
    judge: &Judge,
    found: &mut Found,
) -> anyhow::Result<()> {
    let slice = whole.slice(whole.images(), CAPTIONS_OF_PEERS)?;
    let alone = Asked {
        rule: WeightRule::MaxSim,
        sides: Sides::Words,
        threads: 1,
        ..Asked::masked(Precision::Bf16)
    };
    let mut entries = vec![
        Entry::ours(setting, &slice, judge, alone)?,
        Entry::ours(
            setting,
            &slice,
            judge,
            Asked {
                threads: 1,
                ..Asked::masked(Precision::Bf16)
            },
        )?,
    ];
    numkong(&slice, judge, alone, (&mut entries, found))?;
    let title = format!("one core, {}", slice.size());
    let race = entry::race(setting, title, entries)?;
    if let [ours, _, theirs] = &race.rows[..] {
        found.promise(
            "products a second of one core against NumKong's MaxSim in bf16",
            "1.5 times; aim 3",
            format!("{:.2} times", ours.rate() / theirs.rate()),
        );
    }
    found.race(race);
    Ok(())
}

#[cfg(not(feature = "numkong"))]
fn numkong(
    _: &Data,
    _: &Judge,
    _: Asked,
    (_, found): (&mut Vec<Entry>, &mut Found),
) -> anyhow::Result<()> {
    found.miss("NumKong", crate::peers::numkong::MISSING);
    Ok(())
}

#[cfg(feature = "numkong")]
fn numkong(
    data: &Data,
    judge: &Judge,
    asked: Asked,
    (entries, _): (&mut Vec<Entry>, &mut Found),
) -> anyhow::Result<()> {
    use crate::peers::numkong::Packed;
    let mut found = vec![0.0; judge.sample.pairs()];
    Packed::new(&judge.sample.regions, &judge.sample.words)?.similarities_into(&mut found)?;
    let sample = judge.reference(&asked.config())?;
    let row = Row {
        name: "NumKong".to_owned(),
        rule: "maxsim, words ask".to_owned(),
        precision: "bf16".to_owned(),
        threads: 1,
        note: crate::peers::numkong::how(),
        ..Row::default()
    };
    let row = row.judged(sample.differences(&found, judge.sample.captions()));
    let packed = Packed::new(&data.regions, &data.words)?;
    let mut out = vec![0.0; data.pairs()];
    let contestant = Contestant::new("NumKong", move || packed.similarities_into(&mut out));
    entries.push(Entry::on(data, row, contestant));
    Ok(())
}
