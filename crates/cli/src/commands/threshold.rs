//! `uard threshold`: where does relevance begin, given samples of both kinds?

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

/// Samples that a spread needs.
const MINIMUM_SAMPLES: usize = 2;

/// Arguments of `uard threshold`.
#[derive(Debug, clap::Args)]
#[command(after_help = "The threshold is where J(t) is least:\n\n    \
    J(t) = P(relevant <= t) + A P(irrelevant > t)\n\n\
    Where there is none (the means are not in order, the densities do not cross) it is null in \
    JSON, with a reason.\n\n\
    Examples:\n  \
    uard threshold --relevant P.npy --irrelevant N.npy\n  \
    uard threshold --relevant P.npy --irrelevant N.npy --penalty 2 --format json\n  \
    uard threshold --relevant P.npy --irrelevant N.npy --distributions empirical")]
pub struct Arguments {
    /// Relevance of pairs that belong together: npy of f16, f32 or f64, any shape.
    #[arg(long, value_name = "P.npy")]
    relevant: PathBuf,
    /// Relevance of pairs that do not.
    #[arg(long, value_name = "N.npy")]
    irrelevant: PathBuf,
    /// What accepting an irrelevant pair costs, when refusing a relevant one costs 1.
    #[arg(
        long,
        value_name = "A",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    penalty: f64,
    /// Form of both distributions: normal or empirical.
    #[arg(long, value_name = "KIND", default_value_t)]
    distributions: DistributionKind,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Found {
    threshold: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// J at the threshold.
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

impl Moments {
    fn of(distribution: &Distribution) -> Self {
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
    let found = find(&relevant, &irrelevant, penalty);
    match arguments.format {
        Format::Json => print_json(&found),
        Format::Table => print(&as_table(&found)),
    }
}

fn distribution(path: &Path, kind: DistributionKind) -> anyhow::Result<Distribution> {
    Distribution::from_samples(kind, &samples(path)?).with_context(|| path.display().to_string())
}

fn find(relevant: &Distribution, irrelevant: &Distribution, penalty: f64) -> Found {
    let enough = relevant.count().min(irrelevant.count()) >= MINIMUM_SAMPLES;
    let threshold = match enough {
        true => least_error_threshold(relevant, irrelevant, penalty),
        false => Err(NoThreshold::TooFewSamples),
    };
    let error = threshold.map(|t| error_probability(relevant, irrelevant, penalty, t));
    Found {
        threshold: threshold.ok(),
        reason: threshold.err().map(|reason| reason.to_string()),
        error_probability: error.ok(),
        relevant: Moments::of(relevant),
        irrelevant: Moments::of(irrelevant),
    }
}

fn as_table(found: &Found) -> String {
    let mut moments = table(&["samples", "mean", "std", "count"]);
    for (name, side) in [
        ("relevant", &found.relevant),
        ("irrelevant", &found.irrelevant),
    ] {
        moments.add_row([
            name.to_owned(),
            number(side.mean, 6),
            number(side.std, 6),
            side.count.to_string(),
        ]);
    }
    let answer = match (found.threshold, found.error_probability) {
        (Some(threshold), Some(error)) => {
            format!("threshold {threshold:.6}, error probability {error:.6}")
        }
        _ => format!(
            "no threshold: {}",
            found.reason.as_deref().unwrap_or("unknown")
        ),
    };
    format!("{moments}\n{answer}")
}
