//! How fast are all pairs? By kernel, precision and rule, and against the peers.

mod data;
mod entry;
mod lists;
mod mask;
mod peers;
mod product;

use candle_core::Device;
use uard_attention::{Engine, Precision, Sides, WeightRule};
use uard_benches::workload::Content;

use self::data::Data;
use self::entry::{Asked, Entry, Judge};
use super::{Found, Setting};
use crate::arguments::RaceName;
use crate::report::{Race, seconds};

/// Images and captions of Flickr30K's test set.
const SHAPE: (usize, usize) = (1000, 5000);

/// Queries, words and regions together, that have an answer.
const KEPT: f64 = 1.0 / 3.0;

/// Captions of the races in which many kernels and rules take part.
const CAPTIONS_OF_RULES: usize = 1000;

/// Captions of the races in which slow contestants take part.
pub const CAPTIONS_OF_PEERS: usize = 100;

/// Images and captions of what takes milliseconds a pair.
pub const SLOWEST: (usize, usize) = (100, 20);

/// Runs the races of the kernels.
///
/// # Errors
/// When a contestant of ours fails, or a peer that is there.
pub fn run(setting: &Setting, found: &mut Found) -> anyhow::Result<()> {
    let shape = setting.arguments.shape(SHAPE);
    eprintln!(
        "packing {} images and {} captions",
        shape.images, shape.captions
    );
    let whole = Data::draw(shape, Content::Random, KEPT)?;
    let judge = Judge::new(&whole)?;
    let wants = |race| setting.arguments.wants(race);
    if wants(RaceName::AllPairs) {
        all_pairs(setting, &whole, &judge, found)?;
    }
    if wants(RaceName::Lists) {
        lists::race(setting, &whole, found)?;
    }
    if wants(RaceName::Rules) {
        let slice = whole.slice(shape.images, CAPTIONS_OF_RULES)?;
        rules(setting, &slice, &judge, found)?;
    }
    if wants(RaceName::Kernels) {
        kernels(setting, &whole, &judge, found)?;
    }
    if wants(RaceName::Mask) {
        mask::race(setting, &whole, &judge, found)?;
    }
    if wants(RaceName::Peers) {
        peers::race(setting, &whole, &judge, found)?;
    }
    if wants(RaceName::OneCore) {
        peers::race_alone(setting, &whole, &judge, found)?;
    }
    Ok(())
}

/// The whole job, in the precisions that fill a matrix.
fn all_pairs(
    setting: &Setting,
    whole: &Data,
    judge: &Judge,
    found: &mut Found,
) -> anyhow::Result<()> {
    let mut entries = Vec::new();
    for precision in [Precision::Bf16, Precision::F32] {
        entries.push(Entry::ours(
            setting,
            whole,
            judge,
            Asked::masked(precision),
        )?);
    }
    let title = format!("all pairs, {}, both sides, {}", whole.size(), whole.kept()?);
    let race = entry::race(setting, title, entries)?;
    let share = |precision: Precision| {
        let row = race
            .rows
            .iter()
            .find(|row| row.precision == precision.to_string());
        let share = row.and_then(|row| row.share_of_ceiling).unwrap_or(f64::NAN);
        format!("{:.0} %", 100.0 * share)
    };
    found.promise(
        "share of this run's bf16 GEMM ceiling, all pairs",
        "50 %; aim 75 %",
        share(Precision::Bf16),
    );
    found.promise(
        "avx512 alone, f32: share of this run's f32 GEMM ceiling",
        "60 %; aim 80 %",
        format!("{} ({})", share(Precision::F32), race.rows[0].name),
    );
    found.promise(
        "bf16 against the f64 reference",
        "2e-3",
        format!("{:.1e}", race.rows[0].difference.unwrap_or(f64::NAN)),
    );
    found.race(race);
    Ok(())
}

/// Rules on one kernel: what attention costs beside the product, and what the mask saves.
fn rules(setting: &Setting, data: &Data, judge: &Judge, found: &mut Found) -> anyhow::Result<()> {
    for precision in [Precision::Bf16, Precision::F32] {
        let mut entries = Vec::new();
        for rule in [
            WeightRule::MaxSim,
            WeightRule::Masked,
            WeightRule::Nearest,
            WeightRule::Zero,
            WeightRule::Scan,
        ] {
            let asked = Asked {
                rule,
                ..Asked::masked(precision)
            };
            entries.push(Entry::ours(setting, data, judge, asked)?);
        }
        entries.push(product::entry(setting, data, precision)?);
        let title = format!(
            "rules on one kernel, {}, both sides, {precision}",
            data.size()
        );
        let race = entry::race(setting, title, entries)?;
        let [maxsim, masked, nearest, zero, _, product] = &race.rows[..] else {
            anyhow::bail!("five rules and the product have six rows");
        };
        found.promise(
            &format!("masked against maxsim on the same kernel, {precision}"),
            "at most 1.3 times its time; aim 1.1",
            format!("{:.2} times", masked.of_one() / maxsim.of_one()),
        );
        found.promise(
            &format!("nearest against masked on the same kernel, {precision}"),
            "reported",
            format!("{:.2} times", nearest.of_one() / masked.of_one()),
        );
        found.promise(
            &format!("where a pair's time goes, masked, {precision}"),
            "reported",
            format!(
                "product {}, maxima and store {}, exponentials and Gram form {}",
                seconds(product.of_one()),
                seconds(maxsim.of_one() - product.of_one()),
                seconds(masked.of_one() - maxsim.of_one()),
            ),
        );
        found.promise(
            &format!("time that the mask saves on the fused kernel, {precision}"),
            "reported beside the paper's 50 to 73 %",
            format!("{:.0} %", 100.0 * (1.0 - masked.of_one() / zero.of_one())),
        );
        found.race(race);
    }
    Ok(())
}

/// Every kernel that this machine runs, on all threads and on one.
fn kernels(
    setting: &Setting,
    whole: &Data,
    judge: &Judge,
    found: &mut Found,
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
            let asked = Asked {
                kernel,
                ..Asked::masked(precision)
            };
            entries.push(Entry::ours(setting, data, judge, asked)?);
            if kernel != Engine::Scalar && setting.threads > 1 {
                let alone = Asked {
                    threads: 1,
                    ..asked
                };
                entries.push(Entry::ours(setting, data, judge, alone)?);
            }
        }
    }
    let title = format!("kernels, {}, both sides, masked", slice.size());
    found.race(entry::race(setting, title, entries)?);
    Ok(())
}

/// Both sides, or words alone: the side that MaxSim libraries have.
fn sides_name(sides: Sides) -> &'static str {
    match sides {
        Sides::Both => "both sides",
        Sides::Words => "words ask",
        Sides::Regions => "regions ask",
    }
}

/// The race of that title, for promises that compare across races.
fn race_named<'a>(found: &'a Found, beginning: &str) -> Option<&'a Race> {
    found
        .races
        .iter()
        .find(|race| race.title.starts_with(beginning))
}
