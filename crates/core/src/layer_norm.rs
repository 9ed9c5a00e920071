//! Layer norm with a gradient: our operator on the CPU, candle's operations elsewhere.

mod operator;

use candle_core::{D, DType, Tensor};

use crate::{Error, Result};

/// Normalizes each row to mean zero and variance one, then applies weight and bias.
///
/// ```text
/// y = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * weight + bias
/// ```
///
/// # Shapes
/// `rows` [.., H], `weight` `[H]`, `bias` `[H]`, all f32 or all f64; the result is like `rows`.
///
/// A row of equal numbers becomes `bias`. A row's result depends on that row alone, and the gradients
/// of weight and bias are summed in the order of the rows, so the number of threads changes nothing.
/// Unlike `candle_nn::ops::layer_norm` this has a gradient.
///
/// # Errors
/// When weight or bias have another width than the rows, or `epsilon` is not above zero, which would
/// make a row of equal numbers NaN.
///
/// # Source
/// Ba, Kiros, Hinton, *Layer Normalization*, 2016, equations 3 and 4, with the epsilon of PyTorch.
pub fn layer_norm(rows: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    let width = rows.dim(D::Minus1)?;
    for (tensor, found) in [
        ("weight of a layer norm", weight.dims1()?),
        ("bias of a layer norm", bias.dims1()?),
    ] {
        if found != width {
            return Err(Error::ShapeMismatch {
                tensor: tensor.to_owned(),
                axis: "H",
                expected: width,
                found,
            });
        }
    }
    if !(epsilon.is_finite() && epsilon > 0.0) {
        return Err(Error::Epsilon { found: epsilon });
    }
    Ok(match (rows.device().is_cpu(), rows.dtype()) {
        (true, DType::F64) => operator::layer_norm::<f64>(rows, weight, bias, epsilon)?,
        (true, _) => operator::layer_norm::<f32>(rows, weight, bias, epsilon)?,
        (false, _) => composed(rows, weight, bias, epsilon)?,
    })
}

/// [`layer_norm`] in candle's operations, for any device.
fn composed(rows: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    let centred = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let inverse = variance.affine(1.0, epsilon)?.sqrt()?.recip()?;
    let normal = centred.broadcast_mul(&inverse)?;
    Ok(normal.broadcast_mul(weight)?.broadcast_add(bias)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    const EPSILON: f64 = 1e-5;

    fn numbers(count: usize, dtype: DType) -> Tensor {
        let numbers: Vec<f64> = (0..count).map(|at| 3.0 + (at as f64 * 1.7).sin()).collect();
        let numbers = Tensor::from_vec(numbers, count, &Device::Cpu).unwrap();
        numbers.to_dtype(dtype).unwrap()
    }

    /// Rows, weight and bias of some width, as variables.
    fn inputs(rows: usize, width: usize, dtype: DType) -> [Var; 3] {
        let matrix = numbers(rows * width, dtype).reshape((rows, width)).unwrap();
        let weight = numbers(width, dtype).sqrt().unwrap();
        let bias = numbers(width, dtype).log().unwrap();
        [matrix, weight, bias].map(|tensor| Var::from_tensor(&tensor).unwrap())
    }

    /// A scalar whose gradient differs from number to number.
    fn loss(normal: &Tensor) -> candle_core::Result<Tensor> {
        let target = numbers(normal.elem_count(), normal.dtype()).sqr()?.sin()?;
        (normal * target.reshape(normal.dims())?)?.sum_all()
    }

    #[test]
    fn operator_equals_the_composed_form_in_values_and_gradients() {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            // A width that is no whole number of vectors, several blocks of rows, one number a row.
            for (rows, width) in [(3, 37), (150, 16), (2, 5), (4, 1)] {
                let vars = inputs(rows, width, dtype);
                let [x, weight, bias] = &vars;
                let found = layer_norm(x, weight, bias, EPSILON).unwrap();
                let expected = composed(x, weight, bias, EPSILON).unwrap();
                uard_testkit::assert_close(&found, &expected, tolerance);
                let found = loss(&found).unwrap().backward().unwrap();
                let expected = loss(&expected).unwrap().backward().unwrap();
                for var in &vars {
                    let (found, expected) = (found.get(var).unwrap(), expected.get(var).unwrap());
                    uard_testkit::assert_close(found, expected, tolerance);
                }
            }
        }
    }

    #[test]
    fn gradients_match_finite_differences() {
        uard_testkit::assert_gradients(
            |x| {
                let normal = layer_norm(&x[0], &x[1], &x[2], EPSILON);
                loss(&normal.map_err(candle_core::Error::wrap)?)
            },
            &inputs(4, 7, DType::F64),
            1e-7,
        );
    }

    #[test]
    fn row_of_equal_numbers_becomes_the_bias_with_a_finite_gradient() {
        let rows = Var::new(&[[2f32, 2.0, 2.0], [0.0, 0.0, 0.0]], &Device::Cpu).unwrap();
        let weight = Tensor::new(&[1f32, 2.0, 3.0], &Device::Cpu).unwrap();
        let bias = Tensor::new(&[0.5f32, -1.0, 0.0], &Device::Cpu).unwrap();
        let normal = layer_norm(&rows, &weight, &bias, 1e-12).unwrap();
        let found = normal.to_vec2::<f32>().unwrap();
        assert_eq!(found, [[0.5, -1.0, 0.0], [0.5, -1.0, 0.0]]);
        let gradients = loss(&normal).unwrap().backward().unwrap();
        uard_testkit::assert_finite_nonzero("rows", gradients.get(&rows).unwrap());
    }

    #[test]
    fn rows_have_mean_zero_and_spread_one_before_weight_and_bias() {
        let [rows, ..] = inputs(2, 300, DType::F32);
        let ones = Tensor::ones(300, DType::F32, &Device::Cpu).unwrap();
        let normal = layer_norm(&rows, &ones, &ones.zeros_like().unwrap(), 1e-12).unwrap();
        let mean = normal.mean(1).unwrap().to_vec1::<f32>().unwrap();
        let spread = normal.sqr().unwrap().mean(1).unwrap();
        assert!(mean.iter().all(|mean| mean.abs() < 1e-6), "{mean:?}");
        uard_testkit::assert_close(
            &spread,
            &Tensor::ones(2, DType::F32, &Device::Cpu).unwrap(),
            1e-5,
        );
    }

    #[test]
    fn threads_change_no_byte() {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let vars = inputs(500, 40, DType::F32);
                let normal = layer_norm(&vars[0], &vars[1], &vars[2], EPSILON).unwrap();
                let gradients = loss(&normal).unwrap().backward().unwrap();
                let gradients = vars.map(|var| gradients.get(&var).unwrap().clone());
                (normal, gradients)
            })
        };
        let ((one, one_gradients), (three, three_gradients)) = (run(1), run(3));
        uard_testkit::assert_same_bytes(&three, &one);
        for (three, one) in three_gradients.iter().zip(&one_gradients) {
            uard_testkit::assert_same_bytes(three, one);
        }
    }

    #[test]
    fn another_width_and_an_epsilon_of_zero_are_refused() {
        let [rows, weight, bias] = inputs(2, 4, DType::F32);
        let narrow = weight.narrow(0, 0, 3).unwrap();
        let message = layer_norm(&rows, &narrow, &bias, EPSILON)
            .unwrap_err()
            .to_string();
        assert!(message.contains("expected 4 along H, found 3"), "{message}");
        let message = layer_norm(&rows, &weight, &bias, 0.0)
            .unwrap_err()
            .to_string();
        assert!(message.contains("above zero"), "{message}");
    }
}
