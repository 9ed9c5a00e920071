//! `RegionEncoder`: one linear layer from region features to the joint space, and scaling to unit
//! length.

use candle_core::Tensor;
use uard_core::Regions;
use uard_core::linear::linear;
use uard_core::parameters::Parameters;
use uard_core::random::{Draws, uniform};
use uard_linalg::matmul::Matmul;

use crate::{Error, Result};

/// Encodes region features x as unit vectors: `normalized(W x + b)`.
///
/// The parameters are `{prefix}.weight`, `[D, F]`, and `{prefix}.bias`, `[D]`.
///
/// # Source
/// SCAN's `EncoderImagePrecomp`: weights uniform in ±√6/√(F + D), biases zero.
#[derive(Debug, Clone)]
pub struct RegionEncoder {
    weight: Tensor,
    bias: Tensor,
    matmul: Matmul,
}

impl RegionEncoder {
    /// Creates the parameters. The weights are drawn from the random stream that has their name as
    /// label.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(
        parameters: &mut Parameters,
        prefix: &str,
        feature_width: usize,
        joint_width: usize,
        draws: &Draws,
    ) -> Result<Self> {
        let bound = 6f32.sqrt() / ((feature_width + joint_width) as f32).sqrt();
        let name = format!("{prefix}.weight");
        let count = joint_width * feature_width;
        let weight = uniform(&mut draws.stream(&name, &[]), -bound, bound, count);
        let weight = parameters.create(&name, weight, &[joint_width, feature_width])?;
        let bias = vec![0.0; joint_width];
        let bias = parameters.create(&format!("{prefix}.bias"), bias, &[joint_width])?;
        Ok(Self {
            weight,
            bias,
            matmul: Matmul::F32,
        })
    }

    /// The same encoder with this precision of its matrix products.
    #[must_use]
    pub fn with_matmul(self, matmul: Matmul) -> Self {
        Self { matmul, ..self }
    }

    /// Computes the regions of each image as unit vectors, the rows of the result.
    ///
    /// # Shapes
    /// `features` [I, R, F] f32; `counts` I numbers from 1 to R. The rows are [I, R, D]; rows
    /// beyond an image's count are zero, whatever the features there.
    ///
    /// # Errors
    /// The features have another width than the weights, or a count is out of range.
    pub fn forward(&self, features: &Tensor, counts: Vec<usize>) -> Result<Regions> {
        let (images, regions, width) = features.dims3()?;
        let (joint_width, feature_width) = self.weight.dims2()?;
        if width != feature_width {
            return Err(Error::Core(uard_core::Error::ShapeMismatch {
                tensor: "region features".to_owned(),
                axis: "F",
                expected: feature_width,
                found: width,
            }));
        }
        let features = features.reshape((images * regions, width))?;
        // Features are data: nobody asks for their gradient.
        let features = features.detach();
        let rows = linear(&features, &self.weight, &self.bias, self.matmul)?;
        let rows = rows.reshape((images, regions, joint_width))?;
        Ok(Regions::normalized(&rows, counts)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// The tolerance for f32 sums over at most 5 features.
    const TOLERANCE: f64 = 1e-6;

    fn encoder() -> (Parameters, RegionEncoder) {
        let mut parameters = Parameters::new(&Device::Cpu);
        let draws = Draws::new(3);
        let encoder = RegionEncoder::new(&mut parameters, "image", 5, 4, &draws).unwrap();
        (parameters, encoder)
    }

    fn features(images: usize) -> Tensor {
        let mut stream = Draws::new(9).stream("features", &[]);
        let values = uniform(&mut stream, -1.0, 1.0, images * 3 * 5);
        Tensor::from_vec(values, (images, 3, 5), &Device::Cpu).unwrap()
    }

    #[test]
    fn rows_are_unit_and_padding_rows_zero() {
        let (_, encoder) = encoder();
        let regions = encoder.forward(&features(2), vec![3, 1]).unwrap();
        let norms = regions.rows().sqr().unwrap().sum(2).unwrap();
        let expected = Tensor::new(&[[1f32, 1.0, 1.0], [1.0, 0.0, 0.0]], &Device::Cpu).unwrap();
        uard_testkit::assert_close(&norms, &expected, TOLERANCE);
    }

    #[test]
    fn an_image_alone_equals_the_image_in_a_batch() {
        let (_, encoder) = encoder();
        let whole = encoder.forward(&features(2), vec![3, 2]).unwrap();
        let second = features(2).narrow(0, 1, 1).unwrap().contiguous().unwrap();
        let alone = encoder.forward(&second, vec![2]).unwrap();
        let expected = whole.rows().narrow(0, 1, 1).unwrap();
        uard_testkit::assert_close(alone.rows(), &expected, TOLERANCE);
    }

    #[test]
    fn weights_stay_in_their_bound_and_biases_start_at_zero() {
        let (parameters, _) = encoder();
        let weight = parameters.get("image.weight").unwrap();
        assert_eq!(weight.dims(), [4, 5]);
        let bound = (6.0f32 / 9.0).sqrt();
        let weight = weight.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(weight.iter().all(|w| w.abs() <= bound) && weight.iter().any(|w| *w != 0.0));
        assert_eq!(
            parameters
                .get("image.bias")
                .unwrap()
                .to_vec1::<f32>()
                .unwrap(),
            [0.0; 4]
        );
    }

    #[test]
    fn every_parameter_gets_a_gradient() {
        let (parameters, encoder) = encoder();
        let regions = encoder.forward(&features(2), vec![3, 1]).unwrap();
        let loss = regions.rows().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        for (name, var) in parameters.iter() {
            let gradient = gradients
                .get(var)
                .expect("the encoder uses every parameter");
            uard_testkit::assert_finite_nonzero(name, gradient);
        }
    }

    #[test]
    fn gradients_equal_those_of_composed_operations() {
        let (parameters, encoder) = encoder();
        let features = features(2);
        let target = features.narrow(2, 0, 4).unwrap().contiguous().unwrap();
        let regions = encoder.forward(&features, vec![3, 1]).unwrap();
        let loss = |rows: &Tensor| (rows * &target).unwrap().sum_all().unwrap();
        let found = loss(regions.rows()).backward().unwrap();
        let weight = parameters.get("image.weight").unwrap();
        let bias = parameters.get("image.bias").unwrap();
        let rows = features.reshape((6, 5)).unwrap();
        let rows = rows.matmul(&weight.t().unwrap()).unwrap();
        let rows = rows
            .broadcast_add(bias)
            .unwrap()
            .reshape((2, 3, 4))
            .unwrap();
        let composed = Regions::normalized(&rows, vec![3, 1]).unwrap();
        let expected = loss(composed.rows()).backward().unwrap();
        for var in [weight, bias] {
            let (found, expected) = (found.get(var).unwrap(), expected.get(var).unwrap());
            uard_testkit::assert_close(found, expected, TOLERANCE);
        }
    }

    #[test]
    fn products_of_bf16_differ_within_their_rounding() {
        let (_, encoder) = encoder();
        let exact = encoder.forward(&features(2), vec![3, 1]).unwrap();
        let encoder = encoder.with_matmul(Matmul::Bf16);
        let rounded = encoder.forward(&features(2), vec![3, 1]).unwrap();
        // Features and weights are rounded by at most 2^-9 of each number.
        uard_testkit::assert_close(rounded.rows(), exact.rows(), 8e-3);
        let difference = (rounded.rows() - exact.rows()).unwrap().abs().unwrap();
        let difference = difference.max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(difference > 1e-6, "{difference}");
    }

    #[test]
    fn features_of_another_width_are_refused() {
        let (_, encoder) = encoder();
        let wrong = Tensor::zeros((1, 2, 6), candle_core::DType::F32, &Device::Cpu).unwrap();
        let message = encoder.forward(&wrong, vec![2]).unwrap_err().to_string();
        assert!(message.contains("expected 5 along F, found 6"), "{message}");
    }
}
