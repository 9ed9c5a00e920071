//! `uard threshold`: computes the least-error threshold between samples of relevant and irrelevant pairs.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use uard_relevance::{
    Distribution, DistributionKind, NoThreshold, error_probability, least_error_threshold,
};

use super::Format;
use crate::arrays::samples;
use crate::exit::wrong;
use crate::tables::{number, table};
use crate::terminal::{print, print_json};

/// The lowest number of samples with which a standard deviation exists.
const MINIMUM_SAMPLES: usize = 2;

/// Arguments of `uard threshold`.
#[derive(Debug, clap::Args)]
#[command(after_help = "The threshold is the t with the least J(t):\n\n    \
    J(t) = P(relevant <= t) + A P(irrelevant > t)\n\n\
    If there is none (the relevant mean is not the larger one, or the densities do not cross), the \
    reason is printed, and the threshold is null in JSON.\n\n\
    Examples:\n  \
    uard threshold --relevant P.npy --irrelevant N.npy\n  \
    uard threshold --relevant P.npy --irrelevant N.npy --penalty 2 --format json\n  \
    uard threshold --relevant P.npy --irrelevant N.npy --distributions empirical")]
pub struct Arguments {
    /// Relevance of matched pairs: npy of f16, f32 or f64, any shape.
    #[arg(long, value_name = "P.npy")]
    relevant: PathBuf,
    /// Relevance of mismatched pairs, in the same format.
    #[arg(long, value_name = "N.npy")]
    irrelevant: PathBuf,
    /// Cost of an irrelevant sample above the threshold, if a relevant one below it costs 1.
    #[arg(
        long,
        value_name = "A",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    penalty: f64,
    /// Kind of both distributions: normal or empirical.
    #[arg(long, value_name = "KIND", default_value_t)]
    distributions: DistributionKind,
    /// The format of the printed result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The printed result.
#[derive(Debug, Serialize)]
struct ThresholdResult {
    threshold: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The error J of the help text, at the threshold.
    error_probability: Option<f64>,
    relevant: Moments,
    irrelevant: Moments,
}

#[derive(Debug, Serialize)]
struct Moments {
    mean: f64,
    std: f64,
    count: usize,
}

impl From<&Distribution> for Moments {
    fn from(distribution: &Distribution) -> Self {
        Self {
            mean: distribution.mean(),
            std: distribution.std(),
            count: distribution.count(),
        }
    }
}

/// Finds and prints the threshold.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let penalty = arguments.penalty;
    if !(penalty.is_finite() && penalty > 0.0) {
        return Err(wrong(format!(
            "--penalty {penalty}: expected a finite number above 0"
        )));
    }
    let relevant = distribution(&arguments.relevant, arguments.distributions)?;
    let irrelevant = distribution(&arguments.irrelevant, arguments.distributions)?;
    let result = find(&relevant, &irrelevant, penalty);
    match arguments.format {
        Format::Json => print_json(&result),
        Format::Table => print(&as_table(&result)),
    }
}

fn distribution(path: &Path, kind: DistributionKind) -> anyhow::Result<Distribution> {
    Distribution::from_samples(kind, &samples(path)?).with_context(|| path.display().to_string())
}

fn find(relevant: &Distribution, irrelevant: &Distribution, penalty: f64) -> ThresholdResult {
    let enough = relevant.count().min(irrelevant.count()) >= MINIMUM_SAMPLES;
    let threshold = match enough {
        true => least_error_threshold(relevant, irrelevant, penalty),
        false => Err(NoThreshold::TooFewSamples),
    };
    let error = threshold.map(|t| error_probability(relevant, irrelevant, penalty, t));
    ThresholdResult {
        threshold: threshold.ok(),
        reason: threshold.err().map(|reason| reason.to_string()),
        error_probability: error.ok(),
        relevant: relevant.into(),
        irrelevant: irrelevant.into(),
    }
}

fn as_table(result: &ThresholdResult) -> String {
    let mut moments = table(&["samples", "mean", "std", "count"]);
    for (name, side) in [
        ("relevant", &result.relevant),
        ("irrelevant", &result.irrelevant),
    ] {
        moments.add_row([
            name.to_owned(),
            number(side.mean, 6),
            number(side.std, 6),
            side.count.to_string(),
        ]);
    }
    let line = match (result.threshold, result.error_probability) {
        (Some(threshold), Some(error)) => {
            format!("threshold {threshold:.6}, error probability {error:.6}")
        }
        _ => format!(
            "no threshold: {}",
            result.reason.as_deref().unwrap_or("unknown")
        ),
    };
    format!("{moments}\n{line}")
}
