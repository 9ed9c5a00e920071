//! The hinge loss on the similarities of a batch, with its gradient.
//!
//! The loss is piecewise linear in the similarities, so its gradient dL/dS is a matrix of small whole
//! numbers, which is computed here from the values. The backward pass starts from the scalar
//! `sum(S * gradient)`. On CUDA `hinge.cu` computes the same gradient, so that the backward pass
//! can start before the similarities are copied to the host.

use candle_core::Tensor;

use crate::config::{LossConfig, Reduction};
use crate::negatives::{Negatives, Pairing, hardest};
use crate::{Error, Result};

/// The hinge loss of a batch and its gradient with respect to the similarities.
#[derive(Debug, Clone, PartialEq)]
pub struct Hinge {
    /// The loss, summed or averaged over the captions.
    pub value: f64,
    /// dL/dS.
    ///
    /// # Shapes
    /// [I, C] row-major.
    pub gradient: Vec<f32>,
}

/// The hinge loss with a margin.
///
/// ```text
/// L = sum_c  sum_{c' of other images} [margin - S(i_c, c) + S(i_c, c')]_+
///          + sum_{i' other than i_c}  [margin - S(i_c, c) + S(i', c)]_+
/// ```
///
/// With [`Negatives::Hardest`] each inner sum is replaced by its largest term. An image with two
/// captions in the batch is there once; captions of the same image are never negatives.
///
/// # Shapes
/// `similarities` [I, C] row-major, I and C of `pairing`.
///
/// A term of exactly zero has no gradient; a caption without negatives adds nothing; of equally
/// hard negatives the first gets the gradient.
///
/// # Errors
/// When the number of similarities is not I x C, or one of them is not finite.
///
/// # Source
/// VSE++ (Faghri et al. 2018), eq. 5 and 6; the decision on captions of the same image is ours.
pub fn hinge(
    similarities: &[f32],
    pairing: &Pairing,
    config: &LossConfig,
    negatives: Negatives,
) -> Result<Hinge> {
    let expected = pairing.images() * pairing.captions();
    if similarities.len() != expected {
        let found = similarities.len();
        return Err(Error::Length {
            tensor: "similarities",
            expected,
            found,
        });
    }
    if similarities.iter().any(|value| !value.is_finite()) {
        return Err(Error::NonFinite {
            tensor: "similarities".to_owned(),
            step: 0,
        });
    }
    let mut terms = Terms {
        similarities,
        captions: pairing.captions(),
        margin: config.margin,
        value: 0.0,
        gradient: vec![0.0; expected],
    };
    for caption in 0..pairing.captions() {
        terms.add_caption(pairing, caption, negatives);
    }
    Ok(terms.reduced(config.reduction))
}

/// The loss of a batch whose similarities are all equal, as those of a collapsed model are.
///
/// ```text
/// 2 margin C  (sum)        2 margin  (mean)
/// ```
pub fn collapsed_value(config: &LossConfig, captions: usize) -> f64 {
    match config.reduction {
        Reduction::Sum => 2.0 * config.margin * captions as f64,
        Reduction::Mean => 2.0 * config.margin,
    }
}

/// A scalar whose gradient with respect to the similarities is the hinge's.
///
/// # Shapes
/// `similarities` [I, C].
///
/// # Errors
/// When the shapes differ.
pub fn surrogate(similarities: &Tensor, hinge: &Hinge) -> Result<Tensor> {
    let gradient = Tensor::from_vec(
        hinge.gradient.clone(),
        similarities.shape(),
        similarities.device(),
    )?;
    surrogate_with(similarities, &gradient)
}

/// [`surrogate`] with a gradient [I, C] that is on the device already.
pub(crate) fn surrogate_with(similarities: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    Ok((similarities * gradient)?.sum_all()?)
}

/// The sum of the hinge's terms so far, with its gradient.
struct Terms<'a> {
    similarities: &'a [f32],
    captions: usize,
    margin: f64,
    value: f64,
    gradient: Vec<f32>,
}

impl Terms<'_> {
    fn add_caption(&mut self, pairing: &Pairing, caption: usize, negatives: Negatives) {
        let image = pairing.image_of_caption()[caption];
        let (values, captions) = (self.similarities, self.captions);
        let matched = image * captions + caption;
        let in_row = |other: usize| image * captions + other;
        let in_column = |other: usize| other * captions + caption;
        match negatives {
            Negatives::All => {
                for other in pairing.mismatched_captions(caption) {
                    self.add(matched, in_row(other));
                }
                for other in pairing.mismatched_images(caption) {
                    self.add(matched, in_column(other));
                }
            }
            Negatives::Hardest => {
                let row = hardest(pairing.mismatched_captions(caption), |c| values[in_row(c)]);
                let column = hardest(pairing.mismatched_images(caption), |i| values[in_column(i)]);
                for cell in row.map(in_row).into_iter().chain(column.map(in_column)) {
                    self.add(matched, cell);
                }
            }
        }
    }

    /// Adds the term of a matched and a mismatched cell, both indices into the similarities.
    fn add(&mut self, matched: usize, mismatched: usize) {
        let gap = f64::from(self.similarities[mismatched]) - f64::from(self.similarities[matched]);
        let cost = self.margin + gap;
        if cost > 0.0 {
            self.value += cost;
            self.gradient[matched] -= 1.0;
            self.gradient[mismatched] += 1.0;
        }
    }

    fn reduced(mut self, reduction: Reduction) -> Hinge {
        if reduction == Reduction::Mean {
            let captions = self.captions.max(1);
            self.value /= captions as f64;
            self.gradient
                .iter_mut()
                .for_each(|cell| *cell /= captions as f32);
        }
        Hinge {
            value: self.value,
            gradient: self.gradient,
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use proptest::prelude::*;

    use super::*;

    /// The loss in plain loops as VSE++ states it, without any of the code above.
    fn reference(values: &[f64], image_of_caption: &[usize], images: usize, all: bool) -> f64 {
        let captions = image_of_caption.len();
        let mut total = 0.0;
        for (c, &own) in image_of_caption.iter().enumerate() {
            let matched = values[own * captions + c];
            let mut rows = vec![0.0];
            let mut columns = vec![0.0];
            for (other, &image) in image_of_caption.iter().enumerate() {
                if image != own {
                    rows.push((0.2 - matched + values[own * captions + other]).max(0.0));
                }
            }
            for image in 0..images {
                if image != own {
                    columns.push((0.2 - matched + values[image * captions + c]).max(0.0));
                }
            }
            for terms in [rows, columns] {
                let largest = terms.iter().copied().fold(0.0, f64::max);
                total += if all { terms.iter().sum() } else { largest };
            }
        }
        total
    }

    fn config() -> LossConfig {
        LossConfig::default()
    }

    proptest! {
        #[test]
        fn value_and_gradient_follow_the_formula(
            values in prop::collection::vec(-1.0f32..1.0, 4 * 6),
            owners in prop::collection::vec(0usize..4, 6),
        ) {
            let mut owners = owners;
            owners[5] = 3;
            let pairing = Pairing::new(owners.clone());
            for (negatives, all) in [(Negatives::All, true), (Negatives::Hardest, false)] {
                let found = hinge(&values, &pairing, &config(), negatives).unwrap();
                let wide: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
                let expected = reference(&wide, &owners, 4, all);
                prop_assert!((found.value - expected).abs() < 1e-9);
                for cell in 0..wide.len() {
                    let at = |step: f64| {
                        let mut moved = wide.clone();
                        moved[cell] += step;
                        reference(&moved, &owners, 4, all)
                    };
                    // Where the loss has a kink within the step, the two difference quotients
                    // disagree and neither is the gradient.
                    let (left, right) = ((at(0.0) - at(-1e-6)) / 1e-6, (at(1e-6) - at(0.0)) / 1e-6);
                    if (left - right).abs() < 1e-3 {
                        prop_assert!((f64::from(found.gradient[cell]) - right).abs() < 1e-3);
                    }
                }
            }
        }
    }

    #[test]
    fn equal_similarities_give_the_collapsed_value_and_only_the_first_negative_a_gradient() {
        let pairing = Pairing::new((0..128).collect());
        let found = hinge(
            &vec![0.5; 128 * 128],
            &pairing,
            &config(),
            Negatives::Hardest,
        )
        .unwrap();
        assert!((found.value - 51.2).abs() < 1e-9);
        assert!((collapsed_value(&config(), 128) - 51.2).abs() < 1e-9);
        assert_eq!(found.gradient.iter().sum::<f32>(), 0.0);
        assert_eq!(found.gradient.iter().filter(|&&g| g > 0.0).count(), 2 * 127);
    }

    #[test]
    fn a_batch_of_one_image_has_no_loss() {
        let pairing = Pairing::new(vec![0, 0]);
        let found = hinge(&[0.1, 0.9], &pairing, &config(), Negatives::Hardest).unwrap();
        assert_eq!(
            found,
            Hinge {
                value: 0.0,
                gradient: vec![0.0, 0.0]
            }
        );
    }

    #[test]
    fn a_satisfied_margin_has_no_gradient() {
        let pairing = Pairing::new(vec![0, 1]);
        let found = hinge(&[0.9, 0.1, 0.0, 0.8], &pairing, &config(), Negatives::All).unwrap();
        assert_eq!(
            found,
            Hinge {
                value: 0.0,
                gradient: vec![0.0; 4]
            }
        );
    }

    #[test]
    fn mean_is_the_sum_over_the_captions() {
        let pairing = Pairing::new(vec![0, 1]);
        let mean = LossConfig {
            reduction: Reduction::Mean,
            ..config()
        };
        let values = [0.3, 0.4, 0.2, 0.1];
        let sum = hinge(&values, &pairing, &config(), Negatives::All).unwrap();
        let found = hinge(&values, &pairing, &mean, Negatives::All).unwrap();
        assert_eq!(found.value, sum.value / 2.0);
        assert_eq!(found.gradient[0], sum.gradient[0] / 2.0);
    }

    #[test]
    fn a_similarity_that_is_not_finite_is_an_error() {
        let pairing = Pairing::new(vec![0, 1]);
        let values = [0.3, f32::NAN, 0.2, 0.1];
        assert!(hinge(&values, &pairing, &config(), Negatives::All).is_err());
    }

    #[test]
    fn the_gradient_of_the_surrogate_is_that_of_the_hinge() {
        let similarities = Var::new(&[[0.3f32, 0.4], [0.2, 0.1]], &Device::Cpu).unwrap();
        let pairing = Pairing::new(vec![0, 1]);
        let found = hinge(
            &[0.3, 0.4, 0.2, 0.1],
            &pairing,
            &config(),
            Negatives::Hardest,
        )
        .unwrap();
        let gradients = surrogate(&similarities, &found)
            .unwrap()
            .backward()
            .unwrap();
        let gradient = gradients.get(&similarities).unwrap().flatten_all().unwrap();
        assert_eq!(gradient.to_vec1::<f32>().unwrap(), found.gradient);
    }
}
