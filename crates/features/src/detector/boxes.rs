//! Operations on boxes, given by their corners (x1, y1, x2, y2) in pixels: area, overlap, clipping
//! and correction.

use super::error::DetectorError;
use crate::Result;
use crate::backbone::Size;

/// The largest exponent of a correction, ln(1000 / 16): sides become at most 1000 / 16 times as
/// long.
const LONGEST_EXPONENT: f32 = 4.135_166_6;

/// Width and height; negative where the corners are swapped.
pub fn sides(corners: [f32; 4]) -> (f32, f32) {
    (corners[2] - corners[0], corners[3] - corners[1])
}

pub fn area(corners: [f32; 4]) -> f32 {
    let (width, height) = sides(corners);
    width * height
}

/// Intersection over union; NaN where both boxes have no area.
pub fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let shared = width * height;
    shared / (area(a) + area(b) - shared)
}

/// The part of a box inside of a photo.
pub fn clipped(corners: [f32; 4], photo: Size) -> [f32; 4] {
    let (width, height) = (photo.width as f32, photo.height as f32);
    let [x1, y1, x2, y2] = corners;
    [
        x1.clamp(0.0, width),
        y1.clamp(0.0, height),
        x2.clamp(0.0, width),
        y2.clamp(0.0, height),
    ]
}

/// Whether both sides are above zero and at least `least` long.
pub fn is_at_least(corners: [f32; 4], least: f32) -> bool {
    let (width, height) = sides(corners);
    let shorter = width.min(height);
    shorter > 0.0 && shorter >= least
}

/// A box after the correction that a network predicts: (dx, dy, dw, dh).
///
/// ```text
/// centre' = centre + side dx / wx,  side' = side exp(dw / ww)
/// ```
///
/// `weights` are (wx, wy, ww, wh), the factors by which the corrections were multiplied in
/// training.
///
/// # Source
/// Girshick et al., Rich feature hierarchies, CVPR 2014, appendix C.
pub fn corrected(corners: [f32; 4], corrections: [f32; 4], weights: [f32; 4]) -> [f32; 4] {
    let (width, height) = sides(corners);
    let (x, y) = (corners[0] + 0.5 * width, corners[1] + 0.5 * height);
    let stretched = |at: usize, side: f32| {
        libm::expf((corrections[at] / weights[at]).min(LONGEST_EXPONENT)) * side
    };
    let x = corrections[0] / weights[0] * width + x;
    let y = corrections[1] / weights[1] * height + y;
    let (width, height) = (0.5 * stretched(2, width), 0.5 * stretched(3, height));
    [x - width, y - height, x + width, y + height]
}

/// Boxes from a list of numbers, four for each box.
pub fn quadruples(numbers: &[f32]) -> impl Iterator<Item = [f32; 4]> {
    numbers
        .chunks_exact(4)
        .map(|four| [four[0], four[1], four[2], four[3]])
}

/// Refuses NaN and infinities, which cannot be ordered. `what` names the numbers in the error.
pub fn all_finite(numbers: &[f32], what: &'static str) -> Result<()> {
    match numbers.iter().all(|number| number.is_finite()) {
        true => Ok(()),
        false => Err(DetectorError::NotFinite { what }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_is_the_intersection_over_the_union() {
        let a = [0.0, 0.0, 10.0, 10.0];
        assert_eq!(overlap(a, a), 1.0);
        assert_eq!(overlap(a, [5.0, 0.0, 15.0, 10.0]), 50.0 / 150.0);
        assert_eq!(overlap(a, [10.0, 0.0, 20.0, 10.0]), 0.0);
        assert!(overlap([1.0; 4], [1.0; 4]).is_nan());
    }

    #[test]
    fn corrections_move_by_multiples_of_sides_and_stretch_by_exponents() {
        let corners = [10.0, 20.0, 30.0, 60.0];
        let same = corrected(corners, [0.0; 4], [1.0; 4]);
        assert_eq!(same, corners);
        let moved = corrected(corners, [1.0, -0.5, 0.0, 0.0], [2.0, 1.0, 1.0, 1.0]);
        assert_eq!(moved, [20.0, 0.0, 40.0, 40.0]);
        let wide = corrected(
            corners,
            [0.0, 0.0, 5.0 * 2f32.ln(), 0.0],
            [1.0, 1.0, 5.0, 1.0],
        );
        assert!(
            (wide[0] - 0.0).abs() < 1e-4 && (wide[2] - 40.0).abs() < 1e-4,
            "{wide:?}"
        );
        let widest = corrected(corners, [0.0, 0.0, 99.0, 0.0], [1.0; 4]);
        assert!((sides(widest).0 - 20.0 * 62.5).abs() < 1e-2, "{widest:?}");
    }

    #[test]
    fn empty_boxes_are_below_every_limit() {
        assert!(!is_at_least([3.0, 3.0, 3.0, 9.0], 0.0));
        assert!(!is_at_least([9.0, 3.0, 3.0, 9.0], 0.0));
        assert!(is_at_least([3.0, 3.0, 4.0, 9.0], 1.0));
        assert!(!is_at_least([3.0, 3.0, 4.0, 9.0], 1.5));
        assert_eq!(
            clipped([-4.0, 2.0, 50.0, 70.0], Size::new(60, 40)),
            [0.0, 2.0, 40.0, 60.0]
        );
    }
}
