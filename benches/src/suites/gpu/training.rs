//! What does a training step cost on a GPU, beside PyTorch's with every attended vector formed?
//!
//! "Faster than PyTorch" means with the same numbers: f32 against f32, and TF32 against TF32, each a
//! race and a requirement of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use candle_core::Device;
use uard_benches::step::{Setup, Step};
use uard_benches::workload::{self, REGIONS};
use uard_core::gpu::Driver;
use uard_core::random::Draws;
use uard_linalg::matmul::Matmul;
use uard_training::negatives::Negatives;

use crate::peers::python::Python;
use crate::race::{self, Contestant};
use crate::report::{Race, Requirement, Row, seconds};
use crate::suites::{Found, Setting};
use crate::workers::Worker;

/// How often the driver is asked how much memory is free.
const EVERY: Duration = Duration::from_micros(200);

/// Steps before the clock: kernels are compiled, and memory has been as large as it gets.
const FIRST_STEPS: usize = 3;

/// What ours is asked for, and what CUDA makes of it, in PyTorch's words.
const NUMBERS: [(Matmul, &str); 2] = [(Matmul::F32, "f32"), (Matmul::Bf16, "tf32")];

/// Races a step of `configs/flickr30k.toml`, once in f32 and once in TF32; only one peer at a time
/// holds memory.
pub fn run(driver: &Arc<Driver>, device: &Device, setting: &Setting, found: &mut Found) {
    for numbers in NUMBERS {
        let part = format!("training step in {}", numbers.1);
        found.survive(&part, |found| {
            race((driver, device), numbers, setting, found)
        });
    }
}

fn race(
    (driver, device): (&Arc<Driver>, &Device),
    (matmul, numbers): (Matmul, &str),
    setting: &Setting,
    found: &mut Found,
) -> anyhow::Result<()> {
    let mut setup = Setup::flickr30k()?;
    setup.config.training.matmul = matmul;
    let (mut step, kib) = with_peak(driver, || first_steps(&setup, device))?;
    let mut rows = vec![row_of_ours(numbers, kib)];
    let mut peer = setting
        .python
        .and_then(|python| start_peer(python, (&setup, numbers), &mut rows, found));
    let title = format!(
        "training step on the GPU, {} captions and images, {REGIONS} x {} features, width {}, \
         hardest negatives, {numbers}",
        setup.config.training.batch, setup.features, setup.config.model.joint_width
    );
    let ours = Contestant::timing_each("ours", || step.take(Negatives::Hardest)).ours(true);
    let mut contestants = vec![ours];
    if let Some(worker) = &mut peer {
        let theirs = Contestant::timing_itself("PyTorch", || worker.round());
        contestants.push(theirs.may_leave());
    }
    let timings = race::run(&title, &mut contestants, setting.rounds())?;
    let left = race::left(&contestants);
    drop(contestants);
    let rows = rows.into_iter().zip(&timings);
    let rows: Vec<Row> = rows.map(|(row, seconds)| row.timed(seconds)).collect();
    let mut rows = found.stayed(rows, left);
    for (row, worker) in rows.iter_mut().skip(1).zip(&mut peer) {
        row.peak_kib = worker.peak_kib().ok();
    }
    require(&rows, numbers, found);
    found.race(Race { title, rows });
    Ok(())
}

fn first_steps<'a>(setup: &'a Setup, device: &Device) -> anyhow::Result<Step<'a>> {
    let mut step = Step::new(setup, device)?;
    for _ in 0..FIRST_STEPS {
        step.take(Negatives::Hardest)?;
    }
    Ok(step)
}

/// What a job gives, and by how much the GPU's free memory shrank at the most, in KiB.
fn with_peak<T>(
    driver: &Arc<Driver>,
    job: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, u64)> {
    let before = driver.free_bytes()?;
    let (lowest, over) = (AtomicUsize::new(before), AtomicBool::new(false));
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // What the driver does not say is said by the job, which asks it for more.
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

fn row_of_ours(numbers: &str, kib: u64) -> Row {
    Row {
        name: "ours, a step".to_owned(),
        rule: "masked, both sides".to_owned(),
        precision: numbers.to_owned(),
        ours: true,
        units: 1.0,
        peak_kib: Some(kib),
        note: "peak: what the driver says is free, asked 5,000 times a second".to_owned(),
        ..Row::default()
    }
}

/// Starts PyTorch's step; if it fails it takes no part.
fn start_peer(
    python: &Python,
    (setup, numbers): (&Setup, &str),
    rows: &mut Vec<Row>,
    found: &mut Found,
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
            found.miss(
                format!("PyTorch, a step in {numbers}"),
                format!("{error:#}"),
            );
            None
        }
    }
}

fn started(python: &Python, setup: &Setup, numbers: &str) -> anyhow::Result<Worker> {
    let config = &setup.config;
    python.lay_out_counts(&workload::word_counts(
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

/// Both with the same numbers. The memory is judged where no other model of ours was before: what
/// its pool still has would be missing from a second one's.
fn require(rows: &[Row], numbers: &str, found: &mut Found) {
    let [ours, theirs] = rows else {
        return;
    };
    let times = theirs.median / ours.median;
    found.requirements.push(Requirement {
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
    let Some((ours, theirs)) = peaks.filter(|_| numbers == NUMBERS[0].1) else {
        return;
    };
    found.requirements.push(Requirement {
        about: format!("memory of a training step in {numbers}"),
        must: "a tenth of PyTorch's".to_owned(),
        found: format!("{} and {} MiB", ours / 1024, theirs / 1024),
        met: 10 * ours <= theirs,
        fatal: false,
    });
}
