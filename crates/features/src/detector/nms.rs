//! Non-maximum suppression: of boxes that overlap, only the one with the highest score is kept.

use super::boxes::overlap;

/// Greedy non-maximum suppression: goes through the boxes from the highest score to the lowest, and
/// keeps each whose overlap (intersection over union) with every box kept before is at most
/// `overlap`.
///
/// Of equal scores the lower index is first. Boxes without area never suppress each other.
///
/// # Panics
/// When the numbers of scores and boxes differ.
pub fn nms<'a>(boxes: &'a [[f32; 4]], scores: &[f32], overlap: f64) -> KeptBoxes<'a> {
    assert_eq!(boxes.len(), scores.len(), "a score for each box");
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    KeptBoxes {
        boxes,
        overlap,
        order: order.into_iter(),
        kept: Vec::new(),
    }
}

/// Iterator over the indices of kept boxes, the highest score first. Each step computes one index,
/// so that taking the first few costs little.
#[derive(Debug)]
pub struct KeptBoxes<'a> {
    boxes: &'a [[f32; 4]],
    overlap: f64,
    order: std::vec::IntoIter<usize>,
    kept: Vec<usize>,
}

impl KeptBoxes<'_> {
    fn suppresses(&self, better: usize, other: usize) -> bool {
        f64::from(overlap(self.boxes[better], self.boxes[other])) > self.overlap
    }
}

impl Iterator for KeptBoxes<'_> {
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

    fn kept(boxes: KeptBoxes<'_>) -> Vec<usize> {
        boxes.collect()
    }

    #[test]
    fn suppressed_boxes_suppress_no_others() {
        // Neighbouring boxes overlap by 60 / 140, the first and third by 20 / 180.
        let scores = [0.9, 0.8, 0.7, 0.6];
        assert_eq!(kept(nms(&ROW, &scores, 0.4)), [0, 2]);
        assert_eq!(kept(nms(&ROW, &scores, 0.43)), [0, 1, 2]);
        assert_eq!(kept(nms(&ROW, &scores, 1.0)), [0, 1, 2, 3]);
    }

    #[test]
    fn an_overlap_equal_to_the_limit_does_not_suppress() {
        let boxes = [[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 1.0, 1.0]];
        assert_eq!(kept(nms(&boxes, &[1.0, 0.5], 0.5)), [0, 1]);
        assert_eq!(kept(nms(&boxes, &[1.0, 0.5], 0.499)), [0]);
    }

    #[test]
    fn of_equal_scores_the_lower_index_is_kept() {
        assert_eq!(kept(nms(&ROW, &[0.5; 4], 0.4)), [0, 2]);
        assert_eq!(kept(nms(&ROW, &[0.5, 0.5, 0.5, 0.7], 0.4)), [3, 2]);
    }

    #[test]
    fn boxes_without_area_never_suppress_each_other() {
        let boxes = [[3.0; 4], [3.0; 4]];
        assert_eq!(kept(nms(&boxes, &[0.1, 0.2], 0.0)), [1, 0]);
        assert!(kept(nms(&[], &[], 0.5)).is_empty());
    }
}
