//! `uard score`: how similar are images and captions, given the fragments of any model?

use std::path::PathBuf;

use uard_attention::kernel::Kernel;
use uard_attention::{Matcher, MatcherConfig, Sides, WeightRule};
use uard_core::{Regions, Words};

use crate::arrays::{Named, ragged};
use crate::exit::wrong;
use crate::terminal::{advance, bar, note};
use crate::whole_file::write_array;

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
    /// Relevance above which fragments attend, from -1 to 1; needed by the masked rule.
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    threshold: Option<f64>,
    /// Multiplies the logits; without it 10, or SCAN's 9 and 4.
    #[arg(long, value_name = "L", allow_negative_numbers = true)]
    inverse_temperature: Option<f64>,
    /// Who asks: both, words or regions.
    #[arg(long, value_name = "SIDES", default_value = "both")]
    sides: Sides,
    /// How relevance becomes weight: masked, zero, scan or maxsim.
    #[arg(long, value_name = "RULE", default_value_t)]
    rule: WeightRule,
    /// Which code computes it: auto, reference or tensor.
    #[arg(long, value_name = "KERNEL", default_value = "auto")]
    kernel: Kernel,
    /// Similarities [images, captions], f32.
    #[arg(long, value_name = "S.npy")]
    out: PathBuf,
}

/// Scores every pair and writes the matrix.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let threshold = threshold(arguments)?;
    let matcher = Matcher::new(MatcherConfig {
        rule: arguments.rule,
        sides: arguments.sides,
        inverse_temperature: arguments.inverse_temperature,
    })?;
    let regions = ragged(
        &arguments.regions,
        arguments.region_counts.as_deref(),
        REGIONS,
    )?;
    let words = ragged(&arguments.words, arguments.word_counts.as_deref(), WORDS)?;
    let (width, other) = (regions.rows.dim(2)?, words.rows.dim(2)?);
    if width != other {
        return Err(wrong(format!(
            "{} has width {width}, {} has width {other}: encode both into one joint space",
            arguments.regions.display(),
            arguments.words.display()
        )));
    }
    let regions = Regions::normalized(&regions.rows, regions.counts)?;
    let words = Words::normalized(&words.rows, words.counts)?;
    let (images, captions) = (regions.images(), words.captions());
    let bar = bar(images * captions, "scoring");
    let mut on_tile = |done, total| advance(&bar, done, total);
    let pairs = (&regions, &words);
    let found = arguments
        .kernel
        .all_pairs(&matcher, pairs, threshold, &mut on_tile)?;
    bar.finish_and_clear();
    write_array(&arguments.out, &[images, captions], &found.values)?;
    note(&format!(
        "{images} images x {captions} captions in {}",
        arguments.out.display()
    ));
    Ok(())
}

/// The other rules have no threshold, or zero.
fn threshold(arguments: &Arguments) -> anyhow::Result<f64> {
    match (arguments.threshold, arguments.rule) {
        (Some(threshold), _) if (-1.0..=1.0).contains(&threshold) => Ok(threshold),
        (Some(threshold), _) => Err(wrong(format!(
            "--threshold {threshold}: expected a cosine from -1 to 1"
        ))),
        (None, WeightRule::Masked) => Err(wrong(
            "--threshold T is needed: the masked rule keeps what lies above it",
        )),
        (None, _) => Ok(0.0),
    }
}
