//! The suite kernels: all pairs by kernel, precision and rule, and against peers.

mod data;
mod entry;
mod lists;
mod mask;
mod peers;
mod product;

use candle_core::Device;
use uard_attention::{Engine, Precision, Sides, WeightRule};

use self::data::Data;
use self::entry::{KernelOptions, RaceEntry, ReferencePairs};
use super::{BenchContext, SuiteResults};
use crate::arguments::RaceName;
use crate::report::{Race, seconds};
use crate::workload::{Content, Shape, WIDTH};

/// Images and captions of Flickr30K's test set.
const SHAPE: Shape = Shape {
    images: 1000,
    captions: 5000,
    width: WIDTH,
};

/// The share of queries, words and regions together, that have a cell above the threshold.
const KEPT: f64 = 1.0 / 3.0;

/// The number of captions in races of many kernels and rules.
const CAPTIONS_OF_RULES: usize = 1000;

/// The number of captions in races with slow contestants.
pub const CAPTIONS_OF_PEERS: usize = 100;

/// The number of images and of captions for contestants that take milliseconds a pair.
pub const SLOWEST: (usize, usize) = (100, 20);

/// Runs the races of the kernels.
///
/// # Errors
/// If a contestant fails.
pub fn run(context: &BenchContext, results: &mut SuiteResults) -> anyhow::Result<()> {
    let shape = context.arguments.shape(SHAPE);
    eprintln!(
        "packing {} images and {} captions",
        shape.images, shape.captions
    );
    let whole = Data::draw(shape, Content::Random, KEPT)?;
    let reference = ReferencePairs::new(&whole)?;
    let includes = |race| context.arguments.includes_race(race);
    if includes(RaceName::AllPairs) {
        all_pairs(context, &whole, &reference, results)?;
    }
    if includes(RaceName::Lists) {
        lists::race(context, &whole, results)?;
    }
    if includes(RaceName::Rules) {
        let slice = whole.slice(shape.images, CAPTIONS_OF_RULES)?;
        rules(context, &slice, &reference, results)?;
    }
    if includes(RaceName::Kernels) {
        kernels(context, &whole, &reference, results)?;
    }
    if includes(RaceName::Mask) {
        mask::race(context, &whole, &reference, results)?;
    }
    if includes(RaceName::Peers) {
        peers::race(context, &whole, &reference, results)?;
    }
    if includes(RaceName::OneCore) {
        peers::race_alone(context, &whole, &reference, results)?;
    }
    Ok(())
}

/// Times our kernels on the similarities of all pairs, in bf16 and in f32.
fn all_pairs(
    context: &BenchContext,
    whole: &Data,
    reference: &ReferencePairs,
    results: &mut SuiteResults,
) -> anyhow::Result<()> {
    let mut entries = Vec::new();
    for precision in [Precision::Bf16, Precision::F32] {
        entries.push(RaceEntry::ours(
            context,
            whole,
            reference,
            KernelOptions::masked(precision),
        )?);
    }
    let title = format!("all pairs, {}, both sides, {}", whole.size(), whole.kept()?);
    let race = entry::race(context, title, entries)?;
    let share = |precision: Precision| {
        let row = race
            .rows
            .iter()
            .find(|row| row.precision == precision.to_string());
        let share = row.and_then(|row| row.share_of_ceiling).unwrap_or(f64::NAN);
        format!("{:.0} %", 100.0 * share)
    };
    results.promise(
        "share of this run's bf16 GEMM ceiling, all pairs",
        "50 %; aim 75 %",
        share(Precision::Bf16),
    );
    results.promise(
        "avx512 alone, f32: share of this run's f32 GEMM ceiling",
        "60 %; aim 80 %",
        format!("{} ({})", share(Precision::F32), race.rows[0].name),
    );
    results.promise(
        "bf16 against the f64 reference",
        "2e-3",
        format!("{:.1e}", race.rows[0].difference.unwrap_or(f64::NAN)),
    );
    results.race(race);
    Ok(())
}

/// The race of the rules on one kernel: the time of attention beside the product, and the time that the
/// mask saves.
fn rules(
    context: &BenchContext,
    data: &Data,
    reference: &ReferencePairs,
    results: &mut SuiteResults,
) -> anyhow::Result<()> {
    for precision in [Precision::Bf16, Precision::F32] {
        let mut entries = Vec::new();
        for rule in [
            WeightRule::MaxSim,
            WeightRule::Masked,
            WeightRule::Nearest,
            WeightRule::Zero,
            WeightRule::Scan,
        ] {
            let options = KernelOptions {
                rule,
                ..KernelOptions::masked(precision)
            };
            entries.push(RaceEntry::ours(context, data, reference, options)?);
        }
        entries.push(product::entry(context, data, precision)?);
        let title = format!(
            "rules on one kernel, {}, both sides, {precision}",
            data.size()
        );
        let race = entry::race(context, title, entries)?;
        let [maxsim, masked, nearest, zero, _, product] = &race.rows[..] else {
            anyhow::bail!("five rules and the product have six rows");
        };
        results.promise(
            &format!("masked against maxsim on the same kernel, {precision}"),
            "at most 1.3 times its time; aim 1.1",
            format!(
                "{:.2} times",
                masked.seconds_per_unit() / maxsim.seconds_per_unit()
            ),
        );
        results.promise(
            &format!("nearest against masked on the same kernel, {precision}"),
            "reported",
            format!(
                "{:.2} times",
                nearest.seconds_per_unit() / masked.seconds_per_unit()
            ),
        );
        results.promise(
            &format!("where a pair's time goes, masked, {precision}"),
            "reported",
            format!(
                "product {}, maxima and store {}, exponentials and Gram form {}",
                seconds(product.seconds_per_unit()),
                seconds(maxsim.seconds_per_unit() - product.seconds_per_unit()),
                seconds(masked.seconds_per_unit() - maxsim.seconds_per_unit()),
            ),
        );
        results.promise(
            &format!("time that the mask saves on the fused kernel, {precision}"),
            "reported beside the paper's 50 to 73 %",
            format!(
                "{:.0} %",
                100.0 * (1.0 - masked.seconds_per_unit() / zero.seconds_per_unit())
            ),
        );
        results.race(race);
    }
    Ok(())
}

/// The race of every kernel that this machine runs, on all threads and on one.
fn kernels(
    context: &BenchContext,
    whole: &Data,
    reference: &ReferencePairs,
    results: &mut SuiteResults,
) -> anyhow::Result<()> {
    let slice = whole.slice(whole.images(), CAPTIONS_OF_PEERS)?;
    let small = whole.slice(SLOWEST.0, SLOWEST.1)?;
    let mut entries = Vec::new();
    for precision in [Precision::Bf16, Precision::F32] {
        for kernel in [Engine::Amx, Engine::Avx512, Engine::Avx2, Engine::Scalar] {
            if !kernel
                .open(None, &Device::Cpu)
                .is_ok_and(|running| running.fallback().is_none())
            {
                continue;
            }
            let data = if kernel == Engine::Scalar {
                &small
            } else {
                &slice
            };
            let options = KernelOptions {
                kernel,
                ..KernelOptions::masked(precision)
            };
            entries.push(RaceEntry::ours(context, data, reference, options)?);
            if kernel != Engine::Scalar && context.threads > 1 {
                let alone = KernelOptions {
                    threads: 1,
                    ..options
                };
                entries.push(RaceEntry::ours(context, data, reference, alone)?);
            }
        }
    }
    let title = format!("kernels, {}, both sides, masked", slice.size());
    results.race(entry::race(context, title, entries)?);
    Ok(())
}

/// The name of the sides in tables.
fn sides_name(sides: Sides) -> &'static str {
    match sides {
        Sides::Both => "both sides",
        Sides::Words => "words ask",
        Sides::Regions => "regions ask",
    }
}

/// The race whose title begins with `beginning`, for promises that compare several races.
fn race_named<'a>(results: &'a SuiteResults, beginning: &str) -> Option<&'a Race> {
    results
        .races
        .iter()
        .find(|race| race.title.starts_with(beginning))
}
