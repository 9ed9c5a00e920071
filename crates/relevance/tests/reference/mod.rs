//! The threshold of least error, found by trying every cut (a candidate threshold) of a grid. This
//! is slow; tests compare the closed form with it.
//!
//! It imports only `std` and integrates densities numerically, so it does not even share the error
//! function `erfc` with the code under test.

use std::f64::consts::PI;

/// A normal density: one of the two hills between which the threshold lies.
#[derive(Debug, Clone, Copy)]
pub struct Hill {
    /// Mean.
    pub mean: f64,
    /// Standard deviation, positive.
    pub std: f64,
}

/// Cuts to be tried: `cells + 1` of them, evenly from `low` to `high`.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    /// The first cut.
    pub low: f64,
    /// The last cut.
    pub high: f64,
    /// Number of steps between them.
    pub cells: usize,
}

/// A cut and its error.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// The cut.
    pub threshold: f64,
    /// J at the cut.
    pub error: f64,
}

/// J at every cut of the grid.
///
/// ```text
/// J(t) = ∫_{-∞}^{t} f+ + penalty ∫_{t}^{∞} f-        f+, f- the densities of the two hills
/// ```
/// Integrals are computed by Simpson's rule; 40 standard deviations stand for infinity. The steps
/// of the grid should be much smaller than a standard deviation.
pub fn errors_on_grid(relevant: Hill, irrelevant: Hill, penalty: f64, grid: Grid) -> Vec<Cut> {
    let step = (grid.high - grid.low) / grid.cells as f64;
    let mut refused = mass_below(relevant, grid.low);
    let mut accepted = 1.0 - mass_below(irrelevant, grid.low);
    let mut cuts = Vec::with_capacity(grid.cells + 1);
    for index in 0..=grid.cells {
        let threshold = grid.low + index as f64 * step;
        let error = refused + penalty * accepted;
        cuts.push(Cut { threshold, error });
        refused += simpson(relevant, threshold, threshold + step);
        accepted -= simpson(irrelevant, threshold, threshold + step);
    }
    cuts
}

/// The cut of least J on the grid, the lowest of equals.
pub fn least_error_on_grid(relevant: Hill, irrelevant: Hill, penalty: f64, grid: Grid) -> Cut {
    let cuts = errors_on_grid(relevant, irrelevant, penalty, grid);
    let mut best = cuts[0];
    for cut in cuts {
        if cut.error < best.error {
            best = cut;
        }
    }
    best
}

fn density(hill: Hill, at: f64) -> f64 {
    let z = (at - hill.mean) / hill.std;
    (-0.5 * z * z).exp() / (hill.std * (2.0 * PI).sqrt())
}

fn simpson(hill: Hill, from: f64, to: f64) -> f64 {
    let middle = density(hill, 0.5 * (from + to));
    (to - from) / 6.0 * (density(hill, from) + 4.0 * middle + density(hill, to))
}

fn mass_below(hill: Hill, at: f64) -> f64 {
    const STEPS: usize = 4000;
    let lowest = hill.mean - 40.0 * hill.std;
    let highest = at.min(hill.mean + 40.0 * hill.std);
    if highest <= lowest {
        return 0.0;
    }
    let step = (highest - lowest) / STEPS as f64;
    (0..STEPS)
        .map(|index| lowest + index as f64 * step)
        .map(|from| simpson(hill, from, from + step))
        .sum()
}

#[test]
fn an_error_in_the_middle_of_equal_hills_is_a_standard_deviation_from_both() {
    let [relevant, irrelevant] = [0.6, 0.4].map(|mean| Hill { mean, std: 0.1 });
    let grid = Grid {
        low: 0.4,
        high: 0.6,
        cells: 200,
    };
    let cuts = errors_on_grid(relevant, irrelevant, 1.0, grid);
    assert!((cuts[100].error - 2.0 * 0.158655).abs() < 1e-6);
}

#[test]
fn the_cut_of_least_error_is_that_of_the_closed_form() {
    let relevant = Hill {
        mean: 0.6,
        std: 0.15,
    };
    let irrelevant = Hill {
        mean: 0.2,
        std: 0.1,
    };
    let grid = Grid {
        low: 0.2,
        high: 0.6,
        cells: 4000,
    };
    let cut = least_error_on_grid(relevant, irrelevant, 1.0, grid);
    assert!((cut.threshold - 0.374971).abs() < 1e-4);
}
