//! How is an exact result rounded to single precision, in any direction?
//!
//! Sums and products of single-precision numbers are exact as a sum of two doubles, `high + low`.

/// A direction of rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    Nearest,
    Zero,
    Down,
    Up,
}

impl Rounding {
    /// Reads `rn`, `rz`, `rm`, `rp`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "rn" => Self::Nearest,
            "rz" => Self::Zero,
            "rm" => Self::Down,
            "rp" => Self::Up,
            _ => return None,
        })
    }
}

/// `a + b` without an error: the rounded sum, and what is missing.
pub(crate) fn exact_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let part = sum - a;
    let missing = (a - (sum - part)) + (b - part);
    match sum.is_finite() {
        true => (sum, missing),
        false => (sum, 0.0),
    }
}

/// How `rounded` compares with `high + low`.
fn excess(rounded: f32, high: f64, low: f64) -> f64 {
    match rounded.is_finite() {
        true => (f64::from(rounded) - high) - low,
        false => f64::from(rounded),
    }
}

/// `high + low` rounded in one direction; `low` is far below `high`.
pub(crate) fn single(high: f64, low: f64, rounding: Rounding) -> f32 {
    if !high.is_finite() {
        return high as f32;
    }
    if rounding == Rounding::Nearest {
        return nearest(high, low);
    }
    let near = high as f32;
    let excess = excess(near, high, low);
    let down = match rounding {
        Rounding::Zero => high > 0.0,
        _ => rounding == Rounding::Down,
    };
    match down {
        _ if excess == 0.0 => near,
        true if excess > 0.0 => near.next_down(),
        false if excess < 0.0 => near.next_up(),
        _ => near,
    }
}

/// By way of a double that is rounded to odd, so that a tie is none where `low` decides.
fn nearest(high: f64, low: f64) -> f32 {
    let odd = match low {
        0.0 => high,
        _ if high.to_bits() & 1 == 1 => high,
        _ if low > 0.0 => high.next_up(),
        _ => high.next_down(),
    };
    odd as f32
}

/// `high + low` rounded to odd in single precision: rounding once more to half is right.
pub(crate) fn odd_single(high: f64, low: f64) -> f32 {
    let near = high as f32;
    if !high.is_finite() || near.is_infinite() || near.to_bits() & 1 == 1 {
        return near;
    }
    match excess(near, high, low) {
        0.0 => near,
        excess if excess > 0.0 => near.next_down(),
        excess if excess < 0.0 => near.next_up(),
        _ => near,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directed_rounding_encloses_the_exact_sum() {
        let (high, low) = exact_sum(1.0, 2f64.powi(-60));
        assert_eq!(single(high, low, Rounding::Nearest), 1.0);
        assert_eq!(single(high, low, Rounding::Zero), 1.0);
        assert_eq!(single(high, low, Rounding::Down), 1.0);
        assert_eq!(single(high, low, Rounding::Up), 1.0_f32.next_up());
        let (high, low) = exact_sum(-1.0, -(2f64.powi(-60)));
        assert_eq!(single(high, low, Rounding::Zero), -1.0);
        assert_eq!(single(high, low, Rounding::Down), (-1.0_f32).next_down());
    }

    #[test]
    fn a_tie_broken_far_below_rounds_up() {
        let tie = 1.0 + 2f64.powi(-24);
        let (high, low) = exact_sum(tie, 2f64.powi(-70));
        assert_eq!(single(high, low, Rounding::Nearest), 1.0_f32.next_up());
        assert_eq!(single(tie, 0.0, Rounding::Nearest), 1.0);
    }

    #[test]
    fn overflow_stops_at_the_largest_number_where_rounding_goes_inward() {
        let large = 2f64 * f64::from(f32::MAX);
        assert_eq!(single(large, 0.0, Rounding::Zero), f32::MAX);
        assert_eq!(single(large, 0.0, Rounding::Down), f32::MAX);
        assert_eq!(single(large, 0.0, Rounding::Up), f32::INFINITY);
        assert_eq!(single(-large, 0.0, Rounding::Zero), f32::MIN);
    }
}
