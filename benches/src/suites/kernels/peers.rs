//! The races against peers: PyTorch and candle on all threads, NumKong on one.

use uard_attention::{MatcherConfig, Precision, Sides, WeightRule};

use super::data::Data;
use super::entry::{self, KernelOptions, RaceEntry, ReferencePairs};
use super::{CAPTIONS_OF_PEERS, SLOWEST, mask, race_named};
use crate::peers::python::Python;
use crate::peers::reference::Sample;
use crate::race::Contestant;
use crate::report::Row;
use crate::suites::{BenchContext, SuiteResults};
use crate::workers::Worker;

/// Forms of SCAN in PyTorch: the argument FORM of benches/peers/scan.py, and the name in tables.
const TORCH_FORMS: [(&str, &str); 2] = [
    ("loop", "PyTorch, SCAN's loop over captions"),
    ("batched", "PyTorch, SCAN in tiles"),
];

/// Races our kernels with PyTorch, candle's operations and the reference, on all threads.
///
/// # Errors
/// If a contestant fails.
pub fn race(
    context: &BenchContext,
    whole: &Data,
    reference: &ReferencePairs,
    results: &mut SuiteResults,
) -> anyhow::Result<()> {
    let captions = match context.arguments.full {
        true => whole.captions(),
        false => CAPTIONS_OF_PEERS,
    };
    let slice = whole.slice(whole.images(), captions)?;
    let small = whole.slice(SLOWEST.0, SLOWEST.1)?;
    let mut torch = start_torch(context, &slice)?;
    let mut entries = Vec::new();
    for rule in [WeightRule::Masked, WeightRule::Scan] {
        for precision in [Precision::Bf16, Precision::F32] {
            let options = KernelOptions {
                rule,
                ..KernelOptions::masked(precision)
            };
            entries.push(RaceEntry::ours(context, &slice, reference, options)?);
        }
    }
    if let Some(python) = context.python {
        for form in &mut torch {
            entries.push(by_torch(context, python, &slice, reference, form)?);
        }
    }
    let composed = KernelOptions::masked(Precision::F32);
    entries.push(mask::by_composition(context, &slice, reference, composed)?);
    entries.push(by_reference(&small));
    let title = format!("peers, {}, both sides", slice.size());
    let race = entry::race(context, title, entries)?;
    let looped = race.rows.iter().find(|row| row.name == TORCH_FORMS[0].1);
    let job = race_named(results, "all pairs").map(|race| race.rows[0].seconds_per_unit());
    if let (Some(looped), Some(job)) = (looped, job) {
        let pairs = whole.pairs() as f64;
        let about = format!(
            "{} against SCAN's loop in PyTorch, both directions",
            whole.size()
        );
        let times = looped.seconds_per_unit() / job;
        let (theirs, ours) = (looped.seconds_per_unit() * pairs, job * pairs);
        results.promise(
            &about,
            "100 times faster; aim 300",
            format!("{times:.0} times: {theirs:.0} s and {ours:.1} s"),
        );
    }
    results.race(race);
    Ok(())
}

/// A running PyTorch process that computes one form of SCAN.
struct TorchForm {
    /// Name of the form in tables.
    name: &'static str,
    worker: Worker,
}

fn start_torch(context: &BenchContext, data: &Data) -> anyhow::Result<Vec<TorchForm>> {
    let Some(python) = context.python else {
        return Ok(Vec::new());
    };
    python.write_arrays(&data.regions, &data.words)?;
    let mut workers = Vec::new();
    for (form, name) in TORCH_FORMS {
        let worker = python.start(form)?;
        workers.push(TorchForm { name, worker });
    }
    Ok(workers)
}

/// The entry of a form of SCAN in PyTorch; its first round is compared with the reference before the race.
fn by_torch<'a>(
    context: &BenchContext,
    python: &Python,
    data: &Data,
    reference: &ReferencePairs,
    TorchForm { name, worker }: &'a mut TorchForm,
) -> anyhow::Result<RaceEntry<'a>> {
    let config = MatcherConfig {
        rule: WeightRule::Scan,
        ..MatcherConfig::default()
    };
    worker.round()?;
    let values = python.read_similarities(worker)?;
    let differences = reference
        .similarities(&config)?
        .differences(&values, data.captions());
    let row = Row {
        name: (*name).to_owned(),
        rule: "scan, both sides".to_owned(),
        precision: "f32".to_owned(),
        threads: context.threads,
        note: worker.name.clone(),
        ..Row::default()
    };
    let row = row.with_differences(differences);
    let contestant = Contestant::timing_itself(*name, || worker.round());
    Ok(RaceEntry::on(data, row, contestant))
}

fn by_reference(data: &Data) -> RaceEntry<'_> {
    let row = Row {
        name: "reference".to_owned(),
        rule: "masked, both sides".to_owned(),
        precision: "f64".to_owned(),
        threads: 1,
        ..Row::default()
    };
    let contestant = Contestant::new("reference", move || {
        let Data { regions, words, .. } = data;
        let sample = Sample::compute(&MatcherConfig::default(), regions, words, data.threshold)?;
        std::hint::black_box(sample.values);
        Ok(())
    });
    RaceEntry::on(data, row, contestant)
}

/// Races our kernels with NumKong, on one thread each.
///
/// # Errors
/// If a contestant fails.
pub fn race_alone(
    context: &BenchContext,
    whole: &Data,
    reference: &ReferencePairs,
    results: &mut SuiteResults,
) -> anyhow::Result<()> {
    let slice = whole.slice(whole.images(), CAPTIONS_OF_PEERS)?;
    let alone = KernelOptions {
        rule: WeightRule::MaxSim,
        sides: Sides::Words,
        threads: 1,
        ..KernelOptions::masked(Precision::Bf16)
    };
    let mut entries = vec![
        RaceEntry::ours(context, &slice, reference, alone)?,
        RaceEntry::ours(
            context,
            &slice,
            reference,
            KernelOptions {
                threads: 1,
                ..KernelOptions::masked(Precision::Bf16)
            },
        )?,
    ];
    numkong(&slice, reference, alone, &mut entries, results)?;
    let title = format!("one core, {}", slice.size());
    let race = entry::race(context, title, entries)?;
    if let [ours, _, theirs] = &race.rows[..] {
        results.promise(
            "products a second of one core against NumKong's MaxSim in bf16",
            "1.5 times; aim 3",
            format!("{:.2} times", ours.rate() / theirs.rate()),
        );
    }
    results.race(race);
    Ok(())
}

#[cfg(not(feature = "numkong"))]
fn numkong(
    _: &Data,
    _: &ReferencePairs,
    _: KernelOptions,
    _: &mut Vec<RaceEntry>,
    results: &mut SuiteResults,
) -> anyhow::Result<()> {
    results.record_missing("NumKong", crate::peers::numkong::MISSING);
    Ok(())
}

#[cfg(feature = "numkong")]
fn numkong(
    data: &Data,
    reference: &ReferencePairs,
    options: KernelOptions,
    entries: &mut Vec<RaceEntry<'_>>,
    _: &mut SuiteResults,
) -> anyhow::Result<()> {
    use crate::peers::numkong::Packed;
    let mut values = vec![0.0; reference.sample.pairs()];
    let packed = Packed::new(&reference.sample.regions, &reference.sample.words)?;
    packed.similarities_into(&mut values)?;
    let sample = reference.similarities(&options.config())?;
    let row = Row {
        name: "NumKong".to_owned(),
        rule: "maxsim, words ask".to_owned(),
        precision: "bf16".to_owned(),
        threads: 1,
        note: crate::peers::numkong::kernel_name(),
        ..Row::default()
    };
    let row = row.with_differences(sample.differences(&values, reference.sample.captions()));
    let packed = Packed::new(&data.regions, &data.words)?;
    let mut out = vec![0.0; data.pairs()];
    let contestant = Contestant::new("NumKong", move || packed.similarities_into(&mut out));
    entries.push(RaceEntry::on(data, row, contestant));
    Ok(())
}
