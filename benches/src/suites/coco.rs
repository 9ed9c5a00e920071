//! What do 5,000 images and 25,000 captions take, the size of COCO's test set? Time and memory.
//!
//! A round takes minutes and is run once, without another one to warm up. One process of its own: it
//! packs batch by batch, as features come from a file, and finds the
//! lists of the best; the matrix of all pairs never exists.

use uard_attention::search::Search;
use uard_attention::{Engine, Matcher, MatcherConfig, PackedRegions, PackedWords, Precision};
use uard_benches::statistics::Timings;
use uard_benches::workload::{self, Content, Shape, WIDTH};
use uard_core::random::Draws;

use super::{Found, Setting};
use crate::report::{Race, Row};
use crate::workers::{self, Job};

/// Images and captions of COCO's test set.
const SHAPE: (usize, usize) = (5000, 25_000);

/// Entries that are drawn and packed at a time.
const BATCH: usize = 500;

/// The longest list that recall asks for.
const LISTED: usize = 10;

/// Queries, words and regions together, that have an answer.
const KEPT: f64 = 1.0 / 3.0;

/// A process may have so much.
const MOST_MIB: f64 = 6.0 * 1024.0;

/// The precisions that are raced; each packs what it needs.
const PRECISIONS: [Precision; 3] = [Precision::Bf16, Precision::Exact, Precision::F32];

/// Times the job in each precision, each in a process of its own, one after the other.
///
/// # Errors
/// When a worker fails.
pub fn run(setting: &Setting, found: &mut Found) -> anyhow::Result<()> {
    let shape = setting.arguments.shape(SHAPE);
    let mut rows = Vec::new();
    let title = format!(
        "lists of the best {LISTED} of COCO's size, {} images x {} captions, both sides",
        shape.images, shape.captions
    );
    for precision in PRECISIONS {
        let mut worker = Job::Coco(precision, shape.images, shape.captions).start()?;
        eprintln!("{title}, {precision}");
        let mut seconds = Timings::default();
        for _ in 0..setting.arguments.rounds(1) {
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
            threads: setting.threads,
            units: (shape.images * shape.captions) as f64,
            multiply_adds: (shape.images * workload::REGIONS * words * WIDTH) as f64,
            peak_kib: Some(worker.peak_kib()?),
            ..Row::default()
        };
        rows.push(row.timed(&seconds).under(setting.ceilings));
    }
    let peaks = rows.iter().map(|row| {
        let mib = row.peak_kib.unwrap_or(0) as f64 / 1024.0;
        let verdict = if mib < MOST_MIB { "" } else { ", too much" };
        format!(
            "{} {:.0} MiB in {:.0} s{verdict}",
            row.precision, mib, row.median
        )
    });
    found.promise(
        &format!("memory of the {} x {} job", shape.images, shape.captions),
        "under 6 GB",
        peaks.collect::<Vec<_>>().join("; "),
    );
    found.race(Race { title, rows });
    Ok(())
}

/// Serves rounds in one precision.
///
/// # Errors
/// When packing or a search fails.
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
    let content = (shape, Content::Random);
    for batch in batches(shape.captions) {
        words.push(&workload::words_of(batch, content, &draws)?)?;
    }
    let (regions, words) = (regions.finish(), words.finish());
    let threshold = {
        let some_regions = workload::regions_of(0..shape.images.min(50), shape, &draws)?;
        let some_words = workload::words_of(0..shape.captions.min(100), content, &draws)?;
        workload::threshold_keeping(KEPT, &some_regions, &some_words)?
    };
    let matcher = Matcher::new(MatcherConfig::default())?;
    let search = Search::new(&matcher, threshold, Engine::Auto, precision)?;
    workers::serve(search.running().engine().name(), || {
        std::hint::black_box(search.top_k(&regions, &words, LISTED, &|_, _| ())?);
        Ok(())
    })
}
