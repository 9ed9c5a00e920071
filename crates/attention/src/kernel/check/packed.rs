//! The kernels on packed fragments that this machine can run.

use super::sample::{Sample, batches, matchers};
use super::{Check, Extent, OnCheck, largest_difference};
use crate::kernel::Kernel;
use crate::search::Search;
use crate::{Precision, Result, WeightRule};

/// f32 sums in another order, amplified by the inverse temperature, against f64.
const LIMIT: f64 = 3e-5;

/// Within the relevance of the batches; a cell that rounding moves over it would fail the check.
const THRESHOLD: f64 = 0.203_125;

/// Checks similarities of every kernel, rule and side in f32 against scalar loops in f64 that form
/// the attended vectors.
///
/// # Errors
/// When a kernel fails; a wrong number is a [`Check`] that has not passed.
pub fn matching(extent: Extent, on_check: OnCheck<'_>) -> Result<()> {
    let kernels = Kernel::ALL.into_iter().filter(|kernel| {
        *kernel != Kernel::Auto
            && kernel.is_packed()
            && kernel
                .resolve()
                .is_ok_and(|running| running.fallback().is_none())
    });
    let kernels: Vec<Kernel> = kernels.collect();
    for (at, counts) in batches(extent) {
        let sample = Sample::new(at, &counts)?;
        let sides = (&sample.regions, &sample.words);
        for matcher in matchers(&WeightRule::ALL, extent)? {
            let expected = Kernel::Reference.all_pairs(&matcher, sides, THRESHOLD, &|_, _| ())?;
            let expected: Vec<f64> = expected.values.into_iter().map(f64::from).collect();
            for &kernel in &kernels {
                let search = Search::new(&matcher, THRESHOLD, kernel, Precision::F32)?;
                let found = search.all_pairs(sides.0, sides.1, &|_, _| ())?;
                on_check(Check {
                    name: format!(
                        "{kernel} {} {:?}, batch {at}",
                        matcher.config().rule,
                        matcher.config().sides
                    ),
                    found: largest_difference(&found.values, &expected),
                    limit: LIMIT,
                });
            }
        }
    }
    Ok(())
}
