//! The suite coco: time and memory of lists of the best for 5,000 images and 25,000 captions, the size of
//! COCO's test set.
//!
//! A round takes minutes and is run once, without a warm-up. Each precision runs in a process of its own,
//! which packs batch by batch, as features are read from a file. The matrix of all pairs is never built.

use uard_attention::search::Search;
use uard_attention::{Engine, Matcher, MatcherConfig, PackedRegions, PackedWords, Precision};
use uard_core::random::Draws;

use super::{BenchContext, SuiteResults};
use crate::report::{Race, Row};
use crate::statistics::Timings;
use crate::workers::{self, Job};
use crate::workload::{self, Content, Shape, WIDTH};

/// Images and captions of COCO's test set.
const SHAPE: Shape = Shape {
    images: 5000,
    captions: 25_000,
    width: WIDTH,
};

/// The number of entries that are drawn and packed at a time.
const BATCH: usize = 500;

/// The length of the lists, which is the largest K of R@K.
const LISTED: usize = 10;

/// The share of queries, words and regions together, that have a cell above the threshold.
const KEPT: f64 = 1.0 / 3.0;

/// The promised limit of a process's memory, in MiB.
const MOST_MIB: f64 = 6.0 * 1024.0;

/// The raced precisions.
const PRECISIONS: [Precision; 3] = [Precision::Bf16, Precision::Exact, Precision::F32];

/// Times the job in each precision, each in a process of its own, one after the other.
///
/// # Errors
/// If a worker fails.
pub fn run(context: &BenchContext, results: &mut SuiteResults) -> anyhow::Result<()> {
    let shape = context.arguments.shape(SHAPE);
    let mut rows = Vec::new();
    let title = format!(
        "lists of the best {LISTED} of COCO's size, {} images x {} captions, both sides",
        shape.images, shape.captions
    );
    for precision in PRECISIONS {
        let mut worker = Job::Coco(precision, shape.images, shape.captions).start()?;
        eprintln!("{title}, {precision}");
        let mut seconds = Timings::default();
        for _ in 0..context.arguments.rounds(1) {
            seconds.push(worker.round()?);
        }
        let words: usize = workload::word_counts(shape.captions, &Draws::new(0))
            .iter()
            .sum();
        let row = Row {
            name: worker.name.clone(),
            rule: "masked".to_owned(),
            precision: precision.to_string(),
            ours: true,
            threads: context.threads,
            units: (shape.images * shape.captions) as f64,
            multiply_adds: (shape.images * workload::REGIONS * words * WIDTH) as f64,
            peak_kib: Some(worker.peak_kib()?),
            ..Row::default()
        };
        rows.push(row.timed(&seconds).with_ceiling_share(context.ceilings));
    }
    let peaks = rows.iter().map(|row| {
        let mib = row.peak_kib.unwrap_or(0) as f64 / 1024.0;
        let verdict = if mib < MOST_MIB { "" } else { ", too much" };
        format!(
            "{} {:.0} MiB in {:.0} s{verdict}",
            row.precision, mib, row.median
        )
    });
    results.promise(
        &format!("memory of the {} x {} job", shape.images, shape.captions),
        "under 6 GB",
        peaks.collect::<Vec<_>>().join("; "),
    );
    results.race(Race { title, rows });
    Ok(())
}

/// Serves rounds in one precision.
///
/// # Errors
/// If packing or a search fails.
pub fn serve(precision: Precision, shape: Shape) -> anyhow::Result<()> {
    let draws = Draws::new(0);
    let batches = |entries: usize| {
        (0..entries)
            .step_by(BATCH)
            .map(move |at| at..entries.min(at + BATCH))
    };
    let mut regions = PackedRegions::builder(WIDTH, precision)?;
    for batch in batches(shape.images) {
        regions.push(&workload::regions_of(batch, shape, &draws)?)?;
    }
    let mut words = PackedWords::builder(WIDTH, precision)?;
    let content = Content::Random;
    for batch in batches(shape.captions) {
        words.push(&workload::words_of(batch, shape, content, &draws)?)?;
    }
    let (regions, words) = (regions.finish(), words.finish());
    let threshold = {
        let some_regions = workload::regions_of(0..shape.images.min(50), shape, &draws)?;
        let some_words = workload::words_of(0..shape.captions.min(100), shape, content, &draws)?;
        workload::threshold_keeping(KEPT, &some_regions, &some_words)?
    };
    let matcher = Matcher::new(MatcherConfig::default())?;
    let search = Search::new(&matcher, threshold, Engine::Auto, precision)?;
    workers::serve(search.running().engine().name(), || {
        std::hint::black_box(search.top_k(&regions, &words, LISTED)?);
        Ok(())
    })
}
