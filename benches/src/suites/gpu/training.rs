//! What does a training step cost on a GPU, beside PyTorch's with every attended vector formed?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use candle_core::Device;
use uard_benches::step::{self, FEATURES, Step, VOCABULARY};
use uard_benches::workload::{self, REGIONS, WIDTH};
use uard_core::device::{DeviceChoice, open};
use uard_core::gpu::Driver;
use uard_core::matmul::Matmul;
use uard_core::random::Draws;
use uard_training::config::TrainConfig;
use uard_training::negatives::Negatives;

use crate::peers::python::Python;
use crate::race::{self, Contestant};
use crate::report::{Race, Requirement, Row, seconds};
use crate::suites::{Found, Setting};
use crate::workers::Worker;

/// Captions of a batch, as published.
const BATCH: usize = 128;

/// Batches of an epoch of Flickr30K: 145,000 captions.
const STEPS: f64 = 1133.0;

/// Batches of captions in its dev split of 5,000.
const DEV_BATCHES: f64 = 40.0;

/// Epochs of a published run.
const EPOCHS: f64 = 20.0;

/// How often the driver is asked how much memory is free.
const EVERY: Duration = Duration::from_micros(200);

/// Races a step; `evaluation` is the time of matching a dev split.
///
/// # Errors
/// When the GPU has too little memory, or a step of ours fails.
pub fn race(
    driver: &Arc<Driver>,
    setting: &Setting,
    evaluation: f64,
    found: &mut Found,
) -> anyhow::Result<()> {
    let device = open(DeviceChoice::Cuda)?.device;
    let configs = [Matmul::F32, Matmul::Bf16].map(config);
    let (mut steps, mut rows) = (Vec::new(), Vec::new());
    for config in &configs {
        let config = config
            .as_ref()
            .map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let (step, kib) = with_peak(driver, || first_steps(config, &device))?;
        rows.push(row_of_ours(config.training.matmul, kib));
        steps.push(step);
    }
    let mut peers = start_peers(setting.python, &mut rows, found)?;
    let title = format!(
        "training step on the GPU, {BATCH} captions and images, {REGIONS} x {FEATURES} features, \
         width {WIDTH}, hardest negatives"
    );
    let mut contestants: Vec<Contestant> = Vec::new();
    for step in &mut steps {
        contestants.push(Contestant::new("ours", move || take(step)).ours(true));
    }
    for worker in &mut peers {
        contestants.push(Contestant::timing_itself("PyTorch", || worker.round()));
    }
    let timings = race::run(&title, &mut contestants, setting.rounds())?;
    drop(contestants);
    let rows = rows.into_iter().zip(&timings);
    let mut rows: Vec<Row> = rows.map(|(row, seconds)| row.timed(seconds)).collect();
    for (row, worker) in rows.iter_mut().skip(steps.len()).zip(&mut peers) {
        row.peak_kib = worker.peak_kib().ok();
    }
    require(&rows, found);
    promise_epochs(&rows, evaluation, found);
    found.race(Race { title, rows });
    Ok(())
}

/// The settings of the real run at the published width and batch.
fn config(matmul: Matmul) -> anyhow::Result<TrainConfig> {
    let mut config = step::config()?;
    config.model.joint_width = WIDTH;
    config.training.batch = BATCH;
    config.training.matmul = matmul;
    Ok(config)
}

fn take(step: &mut Step) -> anyhow::Result<()> {
    step.take(Negatives::Hardest)?;
    step.wait()
}

/// A model whose kernels are compiled and whose memory has been as large as it gets.
fn first_steps<'a>(config: &'a TrainConfig, device: &Device) -> anyhow::Result<Step<'a>> {
    let mut step = Step::new(config, device)?;
    for _ in 0..3 {
        take(&mut step)?;
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

fn row_of_ours(matmul: Matmul, kib: u64) -> Row {
    Row {
        name: "ours, a step".to_owned(),
        rule: "masked, both sides".to_owned(),
        precision: matmul.to_string(),
        ours: true,
        units: 1.0,
        peak_kib: Some(kib),
        note: "peak: what the driver says is free, asked 5,000 times a second".to_owned(),
        ..Row::default()
    }
}

/// Starts PyTorch's steps; who fails takes no part.
fn start_peers(
    python: Option<&Python>,
    rows: &mut Vec<Row>,
    found: &mut Found,
) -> anyhow::Result<Vec<Worker>> {
    let Some(python) = python else {
        return Ok(Vec::new());
    };
    python.lay_out_counts(&workload::word_counts(BATCH, &Draws::new(0)))?;
    let word_width = step::config()?.text.word_width;
    let sizes = [
        ("features", FEATURES),
        ("vocabulary", VOCABULARY),
        ("regions", REGIONS),
        ("width", WIDTH),
        ("word-width", word_width),
    ];
    let arguments = sizes.map(|(name, size)| format!("--{name}={size}"));
    let mut workers = Vec::new();
    for precision in ["f32", "tf32"] {
        let started = python.start_script("training.py", precision, &arguments);
        match started.and_then(|mut worker| worker.round().map(|_| worker)) {
            Ok(worker) => {
                rows.push(Row {
                    name: "PyTorch, a step".to_owned(),
                    rule: "masked, both sides".to_owned(),
                    precision: precision.to_owned(),
                    units: 1.0,
                    note: format!("{}; peak: max_memory_allocated", worker.name),
                    ..Row::default()
                });
                workers.push(worker);
            }
            Err(error) => found.miss(
                format!("PyTorch, a step in {precision}"),
                format!("{error:#}"),
            ),
        }
    }
    Ok(workers)
}

/// f32 against f32: bf16 and tf32 are shown beside them.
fn require(rows: &[Row], found: &mut Found) {
    let theirs = rows.iter().find(|row| !row.ours && row.precision == "f32");
    let Some((ours, theirs)) = rows.first().zip(theirs) else {
        return;
    };
    let times = theirs.median / ours.median;
    found.requirements.push(Requirement {
        about: "training step in f32 against PyTorch's in f32".to_owned(),
        must: "10 times faster".to_owned(),
        found: format!(
            "{times:.1} times: {} and {}",
            seconds(ours.median),
            seconds(theirs.median)
        ),
        met: times >= 10.0,
        fatal: false,
    });
    let Some((ours, theirs)) = ours.peak_kib.zip(theirs.peak_kib) else {
        return;
    };
    found.requirements.push(Requirement {
        about: "its memory".to_owned(),
        must: "a tenth".to_owned(),
        found: format!("{} and {} MiB", ours / 1024, theirs / 1024),
        met: 10 * ours <= theirs,
        fatal: false,
    });
}

/// Epochs of Flickr30K's size, from the step that was measured.
fn promise_epochs(rows: &[Row], evaluation: f64, found: &mut Found) {
    for row in rows {
        let seconds = EPOCHS * ((STEPS + DEV_BATCHES) * row.median + evaluation);
        found.promise(
            &format!(
                "{EPOCHS} epochs of Flickr30K's size: {}, {}",
                row.name, row.precision
            ),
            "computed, not run",
            format!(
                "{:.1} minutes: {STEPS} steps an epoch; its evaluation is our matching, and \
                 {DEV_BATCHES} batches at the price of a step, which is more than it takes",
                seconds / 60.0
            ),
        );
    }
}
