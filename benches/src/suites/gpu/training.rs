//! The races of a training step on a GPU against PyTorch, which forms every attended vector.
//!
//! Both use the same number type: f32 against f32, and TF32 against TF32, each a race and a requirement of
//! its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use candle_core::Device;
use uard_core::gpu::Driver;
use uard_core::random::Draws;
use uard_linalg::matmul::Matmul;
use uard_training::negatives::Negatives;

use crate::peers::python::Python;
use crate::race::{self, Contestant};
use crate::report::{Race, Requirement, Row, seconds};
use crate::step::{Setup, Step};
use crate::suites::{BenchContext, SuiteResults};
use crate::workers::Worker;
use crate::workload::{self, REGIONS};

/// The time between two queries of the driver for its free memory.
const EVERY: Duration = Duration::from_micros(200);

/// The number of steps that are not timed: kernels are compiled, and memory grows to its largest size.
const FIRST_STEPS: usize = 3;

/// The number type of a step's matrix products.
#[derive(Debug, Clone, Copy)]
struct ProductType {
    /// Our setting `training.matmul`.
    matmul: Matmul,
    /// PyTorch's name of the type that CUDA uses for this setting.
    name: &'static str,
}

const TYPES: [ProductType; 2] = [
    ProductType {
        matmul: Matmul::F32,
        name: "f32",
    },
    ProductType {
        matmul: Matmul::Bf16,
        name: "tf32",
    },
];

/// Races a training step of `configs/flickr30k.toml` against PyTorch, in f32 and in TF32. The
/// second race begins after the first has ended, so that only one PyTorch process holds memory.
pub fn run(
    driver: &Arc<Driver>,
    device: &Device,
    context: &BenchContext,
    results: &mut SuiteResults,
) {
    for numbers in TYPES {
        let part = format!("training step in {}", numbers.name);
        results.run_part(&part, |results| {
            race(driver, device, numbers, context, results)
        });
    }
}

fn race(
    driver: &Arc<Driver>,
    device: &Device,
    ProductType { matmul, name }: ProductType,
    context: &BenchContext,
    results: &mut SuiteResults,
) -> anyhow::Result<()> {
    let mut setup = Setup::flickr30k()?;
    setup.config.training.matmul = matmul;
    let (mut step, kib) = with_peak(driver, || first_steps(&setup, device))?;
    let mut rows = vec![our_row(name, kib)];
    let mut peer = context
        .python
        .and_then(|python| start_peer(python, &setup, name, &mut rows, results));
    let title = format!(
        "training step on the GPU, {} captions and images, {REGIONS} x {} features, width {}, \
         hardest negatives, {name}",
        setup.config.training.batch, setup.features, setup.config.model.joint_width
    );
    let ours = Contestant::timing_each("ours", || step.take(Negatives::Hardest)).ours(true);
    let mut contestants = vec![ours];
    if let Some(worker) = &mut peer {
        let theirs = Contestant::timing_itself("PyTorch", || worker.round());
        contestants.push(theirs.may_fail());
    }
    let timings = race::run(&title, &mut contestants, context.rounds())?;
    let failures = race::failures(&contestants);
    drop(contestants);
    let rows = rows.into_iter().zip(&timings);
    let rows: Vec<Row> = rows.map(|(row, seconds)| row.timed(seconds)).collect();
    let mut rows = results.keep_completed(rows, failures);
    for (row, worker) in rows.iter_mut().skip(1).zip(&mut peer) {
        row.peak_kib = worker.peak_kib().ok();
    }
    add_requirements(&rows, name, results);
    results.race(Race { title, rows });
    Ok(())
}

fn first_steps<'a>(setup: &'a Setup, device: &Device) -> anyhow::Result<Step<'a>> {
    let mut step = Step::new(setup, device)?;
    for _ in 0..FIRST_STEPS {
        step.take(Negatives::Hardest)?;
    }
    Ok(step)
}

/// The result of a job, and the largest decrease of the GPU's free memory while it ran, in KiB.
fn with_peak<T>(
    driver: &Arc<Driver>,
    job: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, u64)> {
    let before = driver.free_bytes()?;
    let (lowest, over) = (AtomicUsize::new(before), AtomicBool::new(false));
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // An error of the driver is ignored here, because it is an error of the job too.
                if let Ok(free) = driver.free_bytes() {
                    lowest.fetch_min(free, Ordering::Relaxed);
                }
                std::thread::sleep(EVERY);
            }
        });
        let done = job();
        over.store(true, Ordering::Relaxed);
        done
    });
    let peak = before - lowest.into_inner();
    Ok((done?, (peak / 1024) as u64))
}

fn our_row(numbers: &str, kib: u64) -> Row {
    Row {
        name: "ours, a step".to_owned(),
        rule: "masked, both sides".to_owned(),
        precision: numbers.to_owned(),
        ours: true,
        units: 1.0,
        peak_kib: Some(kib),
        note: "peak: from the driver's free memory, queried 5,000 times a second".to_owned(),
        ..Row::default()
    }
}

/// Starts PyTorch's step; if it fails, it is recorded as missing.
fn start_peer(
    python: &Python,
    setup: &Setup,
    numbers: &str,
    rows: &mut Vec<Row>,
    results: &mut SuiteResults,
) -> Option<Worker> {
    match started(python, setup, numbers) {
        Ok(worker) => {
            rows.push(Row {
                name: "PyTorch, a step".to_owned(),
                rule: "masked, both sides".to_owned(),
                precision: numbers.to_owned(),
                units: 1.0,
                note: format!("{}; peak: max_memory_allocated", worker.name),
                ..Row::default()
            });
            Some(worker)
        }
        Err(error) => {
            results.record_missing(
                format!("PyTorch, a step in {numbers}"),
                format!("{error:#}"),
            );
            None
        }
    }
}

fn started(python: &Python, setup: &Setup, numbers: &str) -> anyhow::Result<Worker> {
    let config = &setup.config;
    python.write_counts(&workload::word_counts(
        config.training.batch,
        &Draws::new(0),
    ))?;
    let sizes = [
        ("features", setup.features),
        ("vocabulary", setup.vocabulary),
        ("regions", REGIONS),
        ("width", config.model.joint_width),
        ("word-width", config.text.word_width),
    ];
    let arguments = sizes.map(|(name, size)| format!("--{name}={size}"));
    let mut worker = python.start_script("training.py", numbers, &arguments)?;
    worker.round()?;
    Ok(worker)
}

/// Adds the requirements on time and memory. Memory is required only of the first race: in the second one
/// the driver's pool still holds memory of the first.
fn add_requirements(rows: &[Row], numbers: &str, results: &mut SuiteResults) {
    let [ours, theirs] = rows else {
        return;
    };
    let times = theirs.median / ours.median;
    results.requirements.push(Requirement {
        about: format!("training step in {numbers} against PyTorch's in {numbers}"),
        must: "10 times faster".to_owned(),
        found: format!(
            "{times:.1} times: {} and {}",
            seconds(ours.median),
            seconds(theirs.median)
        ),
        met: times >= 10.0,
        fatal: false,
    });
    let peaks = ours.peak_kib.zip(theirs.peak_kib);
    let Some((ours, theirs)) = peaks.filter(|_| numbers == TYPES[0].name) else {
        return;
    };
    results.requirements.push(Requirement {
        about: format!("memory of a training step in {numbers}"),
        must: "a tenth of PyTorch's".to_owned(),
        found: format!("{} and {} MiB", ours / 1024, theirs / 1024),
        met: 10 * ours <= theirs,
        fatal: false,
    });
}
