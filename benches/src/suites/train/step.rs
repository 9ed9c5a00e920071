//! The race of a whole training step on random data of Flickr8k's sizes.

use candle_core::Device;
use uard_training::negatives::Negatives;

use crate::race::{self, Contestant};
use crate::report::{Race, Row};
use crate::step::{Setup, Step};
use crate::suites::{BenchContext, SuiteResults};
use crate::workload::REGIONS;

/// Times a step of the warm-up, and one after it.
///
/// # Errors
/// If the step fails.
pub fn race(context: &BenchContext, results: &mut SuiteResults) -> anyhow::Result<()> {
    let kinds = [
        ("step", "hardest negatives", Negatives::Hardest),
        ("step", "all negatives", Negatives::All),
    ];
    let setup = Setup::flickr8k()?;
    let title = format!(
        "training step, {} captions and images, {REGIONS} x {} features, width {}",
        setup.config.training.batch, setup.features, setup.config.model.joint_width
    );
    let mut steps = Vec::new();
    for _ in kinds {
        steps.push(Step::new(&setup, &Device::Cpu)?);
    }
    let mut contestants: Vec<Contestant> = kinds
        .iter()
        .zip(&mut steps)
        .map(|((_, name, negatives), step)| {
            Contestant::timing_each(*name, || step.take(*negatives)).ours(true)
        })
        .collect();
    let timings = race::run(&title, &mut contestants, context.rounds())?;
    drop(contestants);
    let rows = kinds
        .iter()
        .zip(&timings)
        .map(|((name, rule, _), seconds)| {
            Row {
                name: (*name).to_owned(),
                rule: (*rule).to_owned(),
                precision: "f32".to_owned(),
                ours: true,
                threads: context.threads,
                units: 1.0,
                ..Row::default()
            }
            .timed(seconds)
        });
    let rows: Vec<Row> = rows.collect();
    results.promise(
        "a whole training step of Flickr8k's shape, hardest negatives (made-up features, no reading)",
        "0.2 s; aim 0.1 s",
        format!("{:.3} s", rows[0].median),
    );
    results.race(Race { title, rows });
    Ok(())
}
