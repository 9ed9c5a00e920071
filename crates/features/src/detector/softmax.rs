//! Softmax of logits and the most confident label.

use super::frozen::Label;

/// `exp(x - max) / sum of exp(x - max)`, in f32.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers = logits.iter().map(|logit| libm::expf(logit - largest));
    let mut powers: Vec<f32> = powers.collect();
    let sum: f32 = powers.iter().sum();
    powers.iter_mut().for_each(|power| *power /= sum);
    powers
}

/// The index of the largest number, the first of equals; 0 for an empty slice.
pub fn largest(numbers: &[f32]) -> usize {
    let better = |best: usize, at: usize| {
        if numbers[at] > numbers[best] {
            at
        } else {
            best
        }
    };
    (0..numbers.len()).fold(0, better)
}

/// The largest confidence with its index as the label's id.
pub fn best(confidences: &[f32]) -> Label {
    let id = largest(confidences);
    Label {
        id,
        confidence: confidences.get(id).copied().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidences_sum_to_one_however_large_the_logits() {
        let found = softmax(&[1000.0, 1000.0, -1000.0]);
        assert_eq!(found, [0.5, 0.5, 0.0]);
        let found = softmax(&[0.0, 3f32.ln()]);
        assert!((found[1] - 0.75).abs() < 1e-6);
    }

    #[test]
    fn the_first_of_equals_is_the_largest() {
        assert_eq!(largest(&[1.0, 3.0, 3.0]), 1);
        let label = best(&[0.2, 0.7, 0.1]);
        assert_eq!((label.id, label.confidence), (1, 0.7));
    }
}
