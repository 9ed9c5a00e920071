//! What does a batch's similarity cost, forward and backward, in time and in memory?
//!
//! Every contestant is a process of its own, so that each has a peak of memory of its own.

use candle_core::Var;
use uard_attention::{Matcher, MatcherConfig};
use uard_benches::workload::{self, Content, Shape, WIDTH};
use uard_core::random::Draws;
use uard_core::{Regions, Words};

use crate::machine;
use crate::race::{self, Contestant};
use crate::report::{Race, Row};
use crate::suites::{Found, Setting};
use crate::workers::{self, Job, Worker};

/// Images and captions of the published batches.
const BATCH: usize = 128;

/// Batches that the composed form may be asked for, largest first.
const COMPOSED_BATCHES: [usize; 5] = [128, 96, 64, 48, 32];

/// The composed form may have so much of the free memory: beyond it the machine swaps or kills.
const SHARE_OF_MEMORY: f64 = 0.6;

const OURS: &str = "operator";

/// As after training.
const CONTENT: Content = Content::Matched { relevance: 0.5 };

/// Queries, words and regions together, that have an answer.
const KEPT: f64 = 1.0 / 3.0;

/// Races the operator at the published batch with the composed form at the largest it can run.
///
/// # Errors
/// When a worker fails.
pub fn race(setting: &Setting, found: &mut Found) -> anyhow::Result<()> {
    let (batch, why) = largest_composed()?;
    let jobs = [
        (Job::Operator(BATCH), OURS, BATCH, String::new()),
        (Job::Operator(batch), OURS, batch, String::new()),
        (Job::Composed(batch), "composed form, candle", batch, why),
    ];
    let mut workers = Vec::new();
    for (job, ..) in &jobs {
        workers.push(job.start()?);
    }
    let title = format!("matcher, forward and backward, width {WIDTH}, a gradient on every pair");
    let mut contestants: Vec<Contestant> = jobs
        .iter()
        .zip(&mut workers)
        .map(|((_, name, ..), worker)| {
            let contestant = Contestant::timing_itself(*name, || worker.round());
            if *name == OURS {
                contestant.ours()
            } else {
                contestant
            }
        })
        .collect();
    let timings = race::run(&title, &mut contestants, setting.arguments.rounds)?;
    drop(contestants);
    let mut rows = Vec::new();
    for (((_, name, batch, note), worker), seconds) in jobs.iter().zip(&mut workers).zip(&timings) {
        rows.push(
            Row {
                name: (*name).to_owned(),
                rule: format!("masked, batch {batch}"),
                precision: "f32".to_owned(),
                ours: *name == OURS,
                threads: setting.threads,
                units: (batch * batch) as f64,
                peak_kib: Some(worker.peak_kib()?),
                note: noted(note, worker.began_kib),
                ..Row::default()
            }
            .timed(seconds),
        );
    }
    let began: Vec<Option<u64>> = workers.iter().map(|worker| worker.began_kib).collect();
    promise(&rows, &began, found);
    found.race(Race { title, rows });
    Ok(())
}

/// What must be known to read a row: how much of its memory is there before a round.
fn noted(note: &str, began_kib: Option<u64>) -> String {
    let began = began_kib.map(|kib| format!("{:.0} MiB of it before a round", kib as f64 / 1024.0));
    let parts = [note, began.as_deref().unwrap_or_default()];
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

fn promise(rows: &[Row], began: &[Option<u64>], found: &mut Found) {
    let [operator, _, composed] = rows else {
        return;
    };
    let memory = |at: usize| {
        let peak = rows[at].peak_kib.zip(began[at]);
        peak.map_or(f64::NAN, |(peak, began)| {
            peak.saturating_sub(began) as f64 / 1024.0
        })
    };
    found.promise(
        "training operator at batch 128 against the composed form at its largest batch, per pair",
        "15 times faster, a twentieth of the memory; aim 40 times",
        format!(
            "{:.1} times faster; above its data {:.0} MiB at batch {BATCH}, {:.0} MiB where the \
             composed form takes {:.0} MiB",
            composed.of_one() / operator.of_one(),
            memory(0),
            memory(1),
            memory(2),
        ),
    );
}

/// The largest batch whose memory, growing with its square, fits; and how that was found.
fn largest_composed() -> anyhow::Result<(usize, String)> {
    let smallest = COMPOSED_BATCHES[COMPOSED_BATCHES.len() - 1];
    let mut worker: Worker = Job::Composed(smallest).start()?;
    worker.round()?;
    let peak = worker.peak_kib()? as f64;
    drop(worker);
    let free = machine::available_kib().unwrap_or(8 << 20) as f64;
    let need = |batch: usize| peak * ((batch * batch) as f64 / (smallest * smallest) as f64);
    let fits = |batch: &usize| need(*batch) <= SHARE_OF_MEMORY * free;
    let batch = COMPOSED_BATCHES.into_iter().find(fits).unwrap_or(smallest);
    let why = format!(
        "{:.0} MiB at batch {smallest}; memory grows with the square of the batch",
        peak / 1024.0
    );
    Ok((batch, why))
}

/// Serves rounds of one contestant.
///
/// # Errors
/// When candle refuses the batch.
pub fn serve(batch: usize, job: Job) -> anyhow::Result<()> {
    let draws = Draws::new(0);
    let shape = Shape {
        images: batch,
        captions: batch,
        width: WIDTH,
    };
    let regions = workload::regions(shape, &draws)?;
    let words = workload::words(shape, CONTENT, &draws)?;
    let threshold = workload::threshold_keeping(KEPT, &regions, &words)?;
    let matcher = Matcher::new(MatcherConfig::default())?;
    let region_rows = Var::from_tensor(regions.rows())?;
    let word_rows = Var::from_tensor(words.rows())?;
    let (region_counts, word_counts) = (regions.counts().to_vec(), words.counts().to_vec());
    drop((regions, words));
    machine::forget_peak();
    workers::serve("uard-bench", || {
        let regions = Regions::normalized(&region_rows, region_counts.clone())?;
        let words = Words::normalized(&word_rows, word_counts.clone())?;
        let found = match job {
            Job::Composed(_) => matcher.composed_similarities(&regions, &words, threshold)?,
            _ => matcher.similarities(&regions, &words, threshold)?,
        };
        std::hint::black_box(found.values.sum_all()?.backward()?);
        Ok(())
    })
}
