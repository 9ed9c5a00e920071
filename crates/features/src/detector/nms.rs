//! Which of many overlapping boxes stay? Those that no better box covers: non-maximum suppression.

use super::boxes::overlap;

/// Greedy suppression: boxes from the highest score to the lowest, without those that overlap a
/// box before them that stayed by more than `overlap` (intersection over union).
///
/// Of equal scores the lower index is first. Boxes without area suppress each other never.
///
/// # Panics
/// When there are not as many scores as boxes.
///
/// ```
/// use uard_features::detector::nms;
/// let boxes = [[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [20.0, 0.0, 30.0, 10.0]];
/// assert_eq!(nms(&boxes, &[0.8, 0.9, 0.1], 0.5).collect::<Vec<_>>(), [1, 2]);
/// ```
pub fn nms<'a>(boxes: &'a [[f32; 4]], scores: &[f32], overlap: f64) -> Survivors<'a> {
    assert_eq!(boxes.len(), scores.len(), "a score for each box");
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    Survivors {
        boxes,
        overlap,
        order: order.into_iter(),
        kept: Vec::new(),
    }
}

/// Indices of the boxes that stay, the highest score first; found one by one, so that whoever needs
/// few takes few.
#[derive(Debug)]
pub struct Survivors<'a> {
    boxes: &'a [[f32; 4]],
    overlap: f64,
    order: std::vec::IntoIter<usize>,
    kept: Vec<usize>,
}

impl Survivors<'_> {
    fn suppresses(&self, better: usize, other: usize) -> bool {
        f64::from(overlap(self.boxes[better], self.boxes[other])) > self.overlap
    }
}

impl Iterator for Survivors<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            let next = self.order.next()?;
            if !self.kept.iter().any(|kept| self.suppresses(*kept, next)) {
                self.kept.push(next);
                return Some(next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: [[f32; 4]; 4] = [
        [0.0, 0.0, 10.0, 10.0],
        [4.0, 0.0, 14.0, 10.0],
        [8.0, 0.0, 18.0, 10.0],
        [0.0, 0.0, 10.0, 10.0],
    ];

    fn kept(survivors: Survivors<'_>) -> Vec<usize> {
        survivors.collect()
    }

    #[test]
    fn what_a_suppressed_box_covers_stays() {
        // Neighbours share 60 of 140, the outer ones 20 of 180.
        let scores = [0.9, 0.8, 0.7, 0.6];
        assert_eq!(kept(nms(&ROW, &scores, 0.4)), [0, 2]);
        assert_eq!(kept(nms(&ROW, &scores, 0.43)), [0, 1, 2]);
        assert_eq!(kept(nms(&ROW, &scores, 1.0)), [0, 1, 2, 3]);
    }

    #[test]
    fn overlap_of_the_bound_itself_is_no_suppression() {
        let boxes = [[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 1.0, 1.0]];
        assert_eq!(kept(nms(&boxes, &[1.0, 0.5], 0.5)), [0, 1]);
        assert_eq!(kept(nms(&boxes, &[1.0, 0.5], 0.499)), [0]);
    }

    #[test]
    fn of_equal_scores_the_lower_index_stays() {
        assert_eq!(kept(nms(&ROW, &[0.5; 4], 0.4)), [0, 2]);
        assert_eq!(kept(nms(&ROW, &[0.5, 0.5, 0.5, 0.7], 0.4)), [3, 2]);
    }

    #[test]
    fn boxes_without_area_suppress_each_other_never() {
        let boxes = [[3.0; 4], [3.0; 4]];
        assert_eq!(kept(nms(&boxes, &[0.1, 0.2], 0.0)), [1, 0]);
        assert!(kept(nms(&[], &[], 0.5)).is_empty());
    }
}
