//! The race of a batch's similarities, forward and backward: time and memory of the operator and the
//! composed form. Every contestant is a process of its own, so that its peak memory can be measured.

use anyhow::Context;
use candle_core::Var;
use uard_attention::{Matcher, MatcherConfig};
use uard_core::random::Draws;
use uard_core::{Regions, Words};
use uard_linalg::matmul::Matmul;

use crate::machine;
use crate::race::{self, Contestant};
use crate::report::{Race, Row};
use crate::suites::{BenchContext, SuiteResults};
use crate::workers::{self, Job, Worker};
use crate::workload::{self, Content, Shape, WIDTH};

/// Number of images, and of captions, in the published batches.
const BATCH: usize = 128;

/// Possible batch sizes of the composed form, largest first.
const COMPOSED_BATCHES: [usize; 7] = [512, 384, 256, 128, 96, 64, 32];

/// The share of the free memory that the composed form may use, so that the system does not swap.
const SHARE_OF_MEMORY: f64 = 0.6;

const OURS: &str = "operator";

/// Words that are similar to a region of their image, as after training.
const CONTENT: Content = Content::Matched { relevance: 0.5 };

/// The share of queries, words and regions together, that have a cell above the threshold.
const KEPT: f64 = 1.0 / 3.0;

/// A job in the race.
struct Contender {
    job: Job,
    name: &'static str,
    batch: usize,
    matmul: Matmul,
    note: String,
}

impl Contender {
    fn operator(batch: usize, matmul: Matmul) -> Self {
        Self {
            job: Job::Operator(batch, matmul),
            name: OURS,
            batch,
            matmul,
            note: String::new(),
        }
    }

    fn contestant<'a>(&self, worker: &'a mut Worker) -> Contestant<'a> {
        Contestant::timing_itself(self.name, || worker.round()).ours(self.name == OURS)
    }

    /// The contender's row of the report, without times.
    fn row(&self, context: &BenchContext, memory: &Memory) -> Row {
        let parts = [self.note.clone(), memory.note()];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Row {
            name: self.name.to_owned(),
            rule: format!("masked, batch {}", self.batch),
            precision: self.matmul.to_string(),
            ours: self.name == OURS,
            threads: context.threads,
            units: (self.batch * self.batch) as f64,
            peak_kib: Some(memory.peak_kib),
            note: parts.join("; "),
            ..Row::default()
        }
    }
}

/// The memory of a job, measured in a process of its own whose allocator returns free memory at once, which
/// is slower.
struct Memory {
    began_kib: u64,
    peak_kib: u64,
}

impl Memory {
    fn measure(job: Job) -> anyhow::Result<Self> {
        let mut worker = job.start_thrifty()?;
        for _ in 0..2 {
            worker.round()?;
        }
        Ok(Self {
            began_kib: worker.began_kib.context("memory is not known here")?,
            peak_kib: worker.peak_kib()?,
        })
    }

    fn mib(kib: u64) -> f64 {
        kib as f64 / 1024.0
    }

    fn note(&self) -> String {
        format!("{:.0} MiB of it before a round", Self::mib(self.began_kib))
    }

    fn above_data(&self) -> f64 {
        Self::mib(self.peak_kib.saturating_sub(self.began_kib))
    }
}

/// Races the operator at the published batch size with the composed form at the largest batch size
/// that fits in memory.
///
/// # Errors
/// If a worker fails.
pub fn race(context: &BenchContext, results: &mut SuiteResults) -> anyhow::Result<()> {
    let (batch, note) = largest_composed()?;
    let contenders = [
        Contender::operator(BATCH, Matmul::F32),
        Contender::operator(BATCH, Matmul::Bf16),
        Contender::operator(batch, Matmul::F32),
        Contender {
            job: Job::Composed(batch),
            name: "composed form, candle",
            batch,
            matmul: Matmul::F32,
            note,
        },
    ];
    let mut memories = Vec::new();
    for contender in &contenders {
        memories.push(Memory::measure(contender.job)?);
    }
    let mut workers = Vec::new();
    for contender in &contenders {
        workers.push(contender.job.start()?);
    }
    let title = format!("matcher, forward and backward, width {WIDTH}, a gradient on every pair");
    let mut contestants: Vec<Contestant> = contenders
        .iter()
        .zip(&mut workers)
        .map(|(contender, worker)| contender.contestant(worker))
        .collect();
    let timings = race::run(&title, &mut contestants, context.rounds())?;
    drop(contestants);
    let rows = contenders.iter().zip(&memories).zip(&timings);
    let rows = rows.map(|((one, memory), seconds)| one.row(context, memory).timed(seconds));
    let rows: Vec<Row> = rows.collect();
    let [operator, bf16, _, composed] = &rows[..] else {
        anyhow::bail!("four contenders have four rows");
    };
    results.promise(
        "training operator at batch 128 against the composed form at its largest batch, per pair",
        "15 times faster, a twentieth of the memory; aim 40 times",
        format!(
            "{:.1} times faster, {:.1} with products in bf16; above its data {:.0} MiB where the \
             composed form takes {:.0} MiB, both at batch {batch}",
            composed.seconds_per_unit() / operator.seconds_per_unit(),
            composed.seconds_per_unit() / bf16.seconds_per_unit(),
            memories[2].above_data(),
            memories[3].above_data(),
        ),
    );
    results.race(Race { title, rows });
    Ok(())
}

/// The largest batch size at which the composed form fits in memory, and how its memory was
/// estimated.
fn largest_composed() -> anyhow::Result<(usize, String)> {
    let smallest = COMPOSED_BATCHES[COMPOSED_BATCHES.len() - 1];
    let mut worker = Job::Composed(smallest).start_thrifty()?;
    worker.round()?;
    let began = worker.began_kib.unwrap_or(0);
    let peak = worker.peak_kib()?.saturating_sub(began) as f64;
    drop(worker);
    let free = machine::available_kib().unwrap_or(8 << 20) as f64;
    let need = |batch: usize| peak * ((batch * batch) as f64 / (smallest * smallest) as f64);
    let fits = |batch: &usize| need(*batch) <= SHARE_OF_MEMORY * free;
    let batch = COMPOSED_BATCHES.into_iter().find(fits).unwrap_or(smallest);
    let why = format!(
        "{:.0} MiB above its data at batch {smallest}; grows with the square of the batch",
        peak / 1024.0
    );
    Ok((batch, why))
}

/// Serves rounds of one contestant.
///
/// # Errors
/// If candle fails.
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
    let matmul = match job {
        Job::Operator(_, matmul) => matmul,
        _ => Matmul::F32,
    };
    let matcher = Matcher::new(MatcherConfig::default())?.with_matmul(matmul);
    let region_rows = Var::from_tensor(regions.rows())?;
    let word_rows = Var::from_tensor(words.rows())?;
    let (region_counts, word_counts) = (regions.counts().to_vec(), words.counts().to_vec());
    drop((regions, words));
    machine::reset_peak();
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
