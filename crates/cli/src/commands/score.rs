//! `uard score`: how similar are images and captions, given the fragments of any model?

use std::ops::Range;
use std::path::PathBuf;

use candle_core::Device;
use uard_attention::search::{Preserve, Search};
use uard_attention::{Engine, Matcher, MatcherConfig, Precision, Sides, WeightRule};
use uard_core::{Regions, Words};
use uard_data::npy::InPlaceF32;

use super::kernel;
use crate::arrays::{Named, RaggedArray};
use crate::exit::wrong;
use crate::terminal::{advance, bar, note};

const REGIONS: Named = Named {
    axes: "images, regions, width",
    entry: "image",
    fragment: "region",
};

const WORDS: Named = Named {
    axes: "captions, words, width",
    entry: "caption",
    fragment: "word",
};

/// What `--precision exact` promises.
const PRESERVE: Preserve<'_> = Preserve {
    top: 10,
    matched: &[],
};

/// Images or captions that are read and normalised at once.
const ENTRIES_AT_ONCE: usize = 256;

/// Arguments of `uard score`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Rows need no unit length: they are normalised here. What lies beyond an \
    image's or a caption's count is ignored.\n\n\
    Examples:\n  \
    uard score --regions R.npy --words W.npy --threshold 0.25 --out S.npy\n  \
    uard score --regions R.npy --words W.npy --region-counts RC.npy --word-counts WC.npy \\\n             \
    --threshold 0.25 --sides words --out S.npy\n  \
    uard score --regions R.npy --words W.npy --rule scan --out S.npy"
)]
pub struct Arguments {
    /// Regions [images, regions, width].
    #[arg(long, value_name = "R.npy")]
    regions: PathBuf,
    /// Words [captions, words, width].
    #[arg(long, value_name = "W.npy")]
    words: PathBuf,
    /// Valid regions of each image, integers; without it all.
    #[arg(long, value_name = "RC.npy")]
    region_counts: Option<PathBuf>,
    /// Valid words of each caption, integers; without it all.
    #[arg(long, value_name = "WC.npy")]
    word_counts: Option<PathBuf>,
    /// Relevance above which fragments attend, from -1 to 1; needed by masked and nearest.
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    threshold: Option<f64>,
    /// Multiplies the logits; without it 10, or SCAN's 9 and 4.
    #[arg(long, value_name = "L", allow_negative_numbers = true)]
    inverse_temperature: Option<f64>,
    /// Who asks: both, words or regions.
    #[arg(long, value_name = "SIDES", default_value = "both")]
    sides: Sides,
    /// How relevance becomes weight: masked, nearest, zero, scan or maxsim.
    #[arg(long, value_name = "RULE", default_value_t)]
    rule: WeightRule,
    /// Which code computes it: auto, reference, tensor, scalar, avx2, avx512, amx, or cuda for an
    /// NVIDIA GPU.
    #[arg(long, value_name = "KERNEL", default_value = "auto")]
    kernel: Engine,
    /// In which numbers: f32, bf16, exact (bf16, with the lists of the ten best of f32), or f16 on a
    /// GPU; without it f32, and f16 on a GPU.
    #[arg(long, value_name = "PRECISION")]
    precision: Option<Precision>,
    /// Similarities [images, captions], f32.
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
            "{} has width {}, {} has width {}: encode both into one joint space",
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
    let on_progress = |done, total| advance(&bar, done, total);
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
    search.similarities_preserving(regions, words, &PRESERVE, out.values(), &on_progress)?;
    out.finish()?;
    bar.finish_and_clear();
    note(&format!(
        "{images} images x {captions} captions in {}, by {running}",
        arguments.out.display()
    ));
    Ok(())
}

/// Beside what is collected, only these entries are in memory.
fn blocks(entries: usize) -> impl Iterator<Item = Range<usize>> {
    let starts = (0..entries).step_by(ENTRIES_AT_ONCE);
    starts.map(move |start| start..entries.min(start + ENTRIES_AT_ONCE))
}

/// The other rules have no threshold, or zero.
fn threshold(arguments: &Arguments) -> anyhow::Result<f64> {
    match (arguments.threshold, arguments.rule) {
        (Some(threshold), _) if (-1.0..=1.0).contains(&threshold) => Ok(threshold),
        (Some(threshold), _) => Err(wrong(format!(
            "--threshold {threshold}: expected a cosine from -1 to 1"
        ))),
        (None, rule) if rule.takes_threshold() => Err(wrong(format!(
            "--threshold T is needed: the rule {rule} attends to what lies above it"
        ))),
        (None, _) => Ok(0.0),
    }
}
