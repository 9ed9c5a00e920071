//! `uard score`: computes the similarities of images and captions from regions and words of any model.

use std::ops::Range;
use std::path::PathBuf;

use candle_core::Device;
use uard_attention::search::{MatrixOutput, Preserve, Search};
use uard_attention::{Engine, Matcher, MatcherConfig, Precision, Sides, WeightRule};
use uard_core::{Regions, Words};
use uard_data::npy::InPlaceF32;

use super::kernel;
use crate::arrays::{AxisNames, RaggedArray};
use crate::exit::wrong;
use crate::terminal::{advance, bar, note};

const REGIONS: AxisNames = AxisNames {
    axes: "images, regions, width",
    entry: "image",
    fragment: "region",
};

const WORDS: AxisNames = AxisNames {
    axes: "captions, words, width",
    entry: "caption",
    fragment: "word",
};

/// The results of f32 that `--precision exact` preserves: the lists of the ten best.
const PRESERVE: Preserve<'_> = Preserve {
    top: 10,
    matched: &[],
};

/// Number of images or captions that are read and normalised at once.
const ENTRIES_AT_ONCE: usize = 256;

/// Arguments of `uard score`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Rows are normalised to unit length first. Regions beyond an image's count and words beyond \
    a caption's count are padding, and ignored.\n\n\
    Examples:\n  \
    uard score --regions R.npy --words W.npy --threshold 0.25 --out S.npy\n  \
    uard score --regions R.npy --words W.npy --region-counts RC.npy --word-counts WC.npy \\\n             \
    --threshold 0.25 --sides words --out S.npy\n  \
    uard score --regions R.npy --words W.npy --rule scan --out S.npy"
)]
pub struct Arguments {
    /// Regions [images, regions, width]: npy of f16, f32 or f64.
    #[arg(long, value_name = "R.npy")]
    regions: PathBuf,
    /// Words [captions, words, width]: npy of f16, f32 or f64.
    #[arg(long, value_name = "W.npy")]
    words: PathBuf,
    /// Number of valid regions of each image, integers [images]. Default: all regions are valid.
    #[arg(long, value_name = "RC.npy")]
    region_counts: Option<PathBuf>,
    /// Number of valid words of each caption, integers [captions]. Default: all words are valid.
    #[arg(long, value_name = "WC.npy")]
    word_counts: Option<PathBuf>,
    /// Relevance above which a region and a word attend to each other, from -1 to 1. The rules masked
    /// and nearest need it.
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    threshold: Option<f64>,
    /// Inverse temperature, which multiplies the logits. Default: 10, or SCAN's 9 and 4 for the rule
    /// scan.
    #[arg(long, value_name = "L", allow_negative_numbers = true)]
    inverse_temperature: Option<f64>,
    /// The queries: both, words or regions.
    #[arg(long, value_name = "SIDES", default_value = "both")]
    sides: Sides,
    /// The rule that turns relevance into attention weights: masked, nearest, zero, scan or maxsim.
    #[arg(long, value_name = "RULE", default_value_t)]
    rule: WeightRule,
    /// The engine that computes similarities: auto, reference, tensor, scalar, avx2, avx512, amx, or
    /// cuda for an NVIDIA GPU.
    #[arg(long, value_name = "KERNEL", default_value = "auto")]
    kernel: Engine,
    /// The precision of relevance: f32, bf16, exact (bf16, with the lists of the ten best of f32), or
    /// f16 on a GPU. Default: f32 on the CPU, f16 on a GPU.
    #[arg(long, value_name = "PRECISION")]
    precision: Option<Precision>,
    /// File for the similarities [images, captions], f32.
    #[arg(long, value_name = "S.npy")]
    out: PathBuf,
}

/// Scores every pair and writes the matrix.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let threshold = threshold(arguments)?;
    let running = kernel::open(arguments.kernel, arguments.precision, &Device::Cpu)?;
    let matcher = Matcher::new(MatcherConfig {
        rule: arguments.rule,
        sides: arguments.sides,
        inverse_temperature: arguments.inverse_temperature,
    })?;
    let regions = RaggedArray::open(
        &arguments.regions,
        arguments.region_counts.as_deref(),
        REGIONS,
    )?;
    let words = RaggedArray::open(&arguments.words, arguments.word_counts.as_deref(), WORDS)?;
    if regions.width() != words.width() {
        return Err(wrong(format!(
            "{} has width {}, {} has width {}: expected the same width, of one joint space",
            arguments.regions.display(),
            regions.width(),
            arguments.words.display(),
            words.width()
        )));
    }
    let (images, captions) = (regions.entries(), words.entries());
    let shape = [images, captions];
    let mut out = InPlaceF32::create(&arguments.out, &shape)?;
    let bar = bar(images * captions, "scoring");
    let search = Search::on(&matcher, threshold, &running)?;
    let mut all_regions = search.regions(regions.width())?;
    for block in blocks(images) {
        let block = regions.block(block)?;
        all_regions.push(&Regions::normalized(&block.rows, block.counts)?)?;
    }
    let mut all_words = search.words(words.width())?;
    for block in blocks(captions) {
        let block = words.block(block)?;
        all_words.push(&Words::normalized(&block.rows, block.counts)?)?;
    }
    let (regions, words) = (all_regions.finish()?, all_words.finish()?);
    let scores = MatrixOutput {
        values: out.values(),
        on_progress: &|done, total| advance(&bar, done, total),
    };
    search.similarities_preserving(regions, words, &PRESERVE, scores)?;
    out.finish()?;
    bar.finish_and_clear();
    note(&format!(
        "similarities of {images} images x {captions} captions written to {}, computed by {running}",
        arguments.out.display()
    ));
    Ok(())
}

/// The ranges of entries that are read at once, so that only one block is in memory beside the
/// collected fragments.
fn blocks(entries: usize) -> impl Iterator<Item = Range<usize>> {
    let starts = (0..entries).step_by(ENTRIES_AT_ONCE);
    starts.map(move |start| start..entries.min(start + ENTRIES_AT_ONCE))
}

/// The threshold of `--threshold`, checked; 0 for the rules that use none.
fn threshold(arguments: &Arguments) -> anyhow::Result<f64> {
    match (arguments.threshold, arguments.rule) {
        (Some(threshold), _) if (-1.0..=1.0).contains(&threshold) => Ok(threshold),
        (Some(threshold), _) => Err(wrong(format!(
            "--threshold {threshold}: expected a cosine from -1 to 1"
        ))),
        (None, rule) if rule.takes_threshold() => Err(wrong(format!(
            "--threshold T is needed: with the rule {rule} only relevance above T is attended to"
        ))),
        (None, _) => Ok(0.0),
    }
}
