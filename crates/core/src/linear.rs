//! A linear layer with gradients of its input and its parameters: an operator on the CPU (with our own
//! products) and on CUDA (with candle's), and candle's operations elsewhere.

use candle_core::{DType, Device, Result as CandleResult, Tensor, WithDType};
use rayon::prelude::*;
use uard_linalg::matmul::Matmul;
use uard_linalg::product::{Matrix, Output};
use uard_linalg::vector::{AddRows, Number, vectorised};

use crate::operator::{cpu_operator, operator};
use crate::slices::reading;
use crate::{Error, Result};

/// Rows of one task, which sums their gradients in order. The sums of the tasks are added in order too.
const ROWS: usize = 256;

const NAME: &str = "linear";

/// `x W^T + b`.
///
/// # Shapes
/// `rows` [N, F], `weight` [D, F], `bias` `[D]`, all f32 or all f64; the result is [N, D].
///
/// On the CPU a row's result does not depend on the other rows or on the number of threads. On the CPU
/// and on CUDA no gradient is computed for rows that are data, not part of a graph.
///
/// # Errors
/// When the shapes do not fit each other.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use uard_core::linear::linear;
/// use uard_linalg::matmul::Matmul;
///
/// let rows = Tensor::new(&[[1f32, 2.0]], &Device::Cpu)?;
/// let weight = Tensor::new(&[[3f32, 4.0], [5.0, 6.0]], &Device::Cpu)?;
/// let bias = Tensor::new(&[0f32, 1.0], &Device::Cpu)?;
/// let product = linear(&rows, &weight, &bias, Matmul::F32)?;
/// assert_eq!(product.to_vec2::<f32>()?, [[11.0, 18.0]]);
/// # Ok::<(), uard_core::Error>(())
/// ```
pub fn linear(rows: &Tensor, weight: &Tensor, bias: &Tensor, matmul: Matmul) -> Result<Tensor> {
    let (_, width) = rows.dims2()?;
    let (out, features) = weight.dims2()?;
    for (tensor, axis, expected, found) in [
        ("weight of a linear layer", "F", width, features),
        ("bias of a linear layer", "D", out, bias.dims1()?),
    ] {
        if expected != found {
            return Err(Error::ShapeMismatch {
                tensor: tensor.to_owned(),
                axis,
                expected,
                found,
            });
        }
    }
    Ok(match (rows.device(), rows.dtype()) {
        (Device::Cpu, DType::F64) => by_our_products::<f64>(rows, weight, bias, matmul)?,
        (Device::Cpu, _) => by_our_products::<f32>(rows, weight, bias, matmul)?,
        (Device::Cuda(_), _) => by_candles_products(rows, weight, bias)?,
        (Device::Metal(_), _) => composed(rows, weight, bias)?,
    })
}

/// [`linear`] in candle's operations, for any device.
fn composed(rows: &Tensor, weight: &Tensor, bias: &Tensor) -> CandleResult<Tensor> {
    rows.matmul(&weight.t()?)?.broadcast_add(bias)
}

/// The operator on the CPU.
fn by_our_products<T: WithDType + Number>(
    rows: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    matmul: Matmul,
) -> CandleResult<Tensor> {
    let ((count, width), out) = (rows.dims2()?, bias.dims1()?);
    let (x, w) = (rows.detach().contiguous()?, weight.detach().contiguous()?);
    let mut product = Vec::with_capacity(count * out);
    {
        let bias = bias.contiguous()?;
        let bias = reading(&bias);
        let bias = bias.numbers::<T>(NAME)?;
        (0..count).for_each(|_| product.extend_from_slice(bias));
    }
    matmul.parallel_product(
        &mut product,
        Matrix::row_major(reading(&x).numbers(NAME)?, count, width),
        Matrix::row_major(reading(&w).numbers(NAME)?, out, width).transposed(),
        Output::Accumulate,
    );
    let (inputs, is_data) = ([weight, bias, rows], !rows.track_op());
    let inputs = &inputs[..if is_data { 2 } else { 3 }];
    cpu_operator(product, (count, out), inputs, move |_, upstream| {
        let dy = reading(upstream);
        let dy = dy.numbers::<T>(NAME)?;
        let gradient = Matrix::row_major(dy, count, out);
        let mut of_weight = vec![T::ZERO; out * width];
        matmul.parallel_product(
            &mut of_weight,
            gradient.transposed(),
            Matrix::row_major(reading(&x).numbers(NAME)?, count, width),
            Output::Overwrite,
        );
        let mut gradients = vec![
            Tensor::from_vec(of_weight, (out, width), &Device::Cpu)?,
            Tensor::from_vec(sum_of_rows(dy, out), out, &Device::Cpu)?,
        ];
        // The gradient of rows costs as much as the layer. Where they are data nobody needs it.
        if !is_data {
            let mut of_rows = vec![T::ZERO; count * width];
            let weight = reading(&w);
            let weight = Matrix::row_major(weight.numbers(NAME)?, out, width);
            matmul.parallel_product(&mut of_rows, gradient, weight, Output::Overwrite);
            gradients.push(Tensor::from_vec(of_rows, (count, width), &Device::Cpu)?);
        }
        Ok(gradients)
    })
}

/// The operator on CUDA. candle's own graph would also compute the gradient of rows that are data.
fn by_candles_products(rows: &Tensor, weight: &Tensor, bias: &Tensor) -> CandleResult<Tensor> {
    let (x, w) = (rows.detach().contiguous()?, weight.detach().contiguous()?);
    let (inputs, is_data) = ([weight, rows], !rows.track_op());
    let inputs = &inputs[..if is_data { 1 } else { 2 }];
    let product = operator(&x.matmul(&w.t()?)?, inputs, move |upstream| {
        let mut gradients = vec![upstream.t()?.matmul(&x)?];
        if !is_data {
            gradients.push(upstream.matmul(&w)?);
        }
        Ok(gradients)
    })?;
    product.broadcast_add(bias)
}

/// The sum of the rows: those of each task in order, then the tasks' sums in order.
fn sum_of_rows<T: Number>(rows: &[T], width: usize) -> Vec<T> {
    let sum = |rows: &[T]| {
        let mut sums = vec![T::ZERO; width];
        vectorised(AddRows {
            sums: &mut sums,
            rows,
        });
        sums
    };
    let blocks = rows.par_chunks((ROWS * width).max(1));
    sum(&blocks.flat_map_iter(sum).collect::<Vec<T>>())
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::random::{Draws, uniform};

    fn inputs(rows: usize, dtype: DType) -> [Var; 3] {
        let mut at = 0;
        [&[rows, 37][..], &[19, 37], &[19]].map(|shape| {
            at += 1;
            let mut stream = Draws::new(2).stream("linear", &[at]);
            let values = uniform(&mut stream, -1.0, 1.0, shape.iter().product());
            let values = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            Var::from_tensor(&values.to_dtype(dtype).unwrap()).unwrap()
        })
    }

    fn loss(product: &Tensor) -> Tensor {
        product.sin().unwrap().sum_all().unwrap()
    }

    #[test]
    fn operator_equals_the_composed_form_in_values_and_gradients() {
        // Sums over 37 numbers, and over 600 rows.
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            for rows in [1, 5, 600] {
                let vars = inputs(rows, dtype);
                let [x, weight, bias] = &vars;
                let expected = composed(x, weight, bias).unwrap();
                let gradients = loss(&expected).backward().unwrap();
                for found in [
                    linear(x, weight, bias, Matmul::F32).unwrap(),
                    by_candles_products(x, weight, bias).unwrap(),
                ] {
                    uard_testkit::assert_close(&found, &expected, tolerance);
                    let found = loss(&found).backward().unwrap();
                    for var in &vars {
                        let (found, expected) =
                            (found.get(var).unwrap(), gradients.get(var).unwrap());
                        uard_testkit::assert_close(found, expected, tolerance);
                    }
                }
            }
        }
    }

    #[test]
    fn rows_that_are_data_have_no_gradient() {
        let [x, weight, bias] = inputs(5, DType::F32);
        let data = x.detach();
        for product in [
            linear(&data, &weight, &bias, Matmul::F32).unwrap(),
            by_candles_products(&data, &weight, &bias).unwrap(),
        ] {
            let gradients = loss(&product).backward().unwrap();
            assert!(gradients.get(&data).is_none());
            assert!(gradients.get(&weight).is_some());
        }
    }

    #[test]
    fn threads_and_other_rows_change_no_byte() {
        let run = |threads: usize, rows: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let vars = inputs(600, DType::F32);
                let x = vars[0].narrow(0, 0, rows).unwrap();
                let product = linear(&x, &vars[1], &vars[2], Matmul::F32).unwrap();
                let gradients = loss(&product).backward().unwrap();
                (
                    product,
                    vars.map(|var| gradients.get(&var).unwrap().clone()),
                )
            })
        };
        let ((one, of_one), (three, of_three)) = (run(1, 600), run(3, 600));
        uard_testkit::assert_same_bytes(&three, &one);
        for (three, one) in of_three.iter().zip(&of_one) {
            uard_testkit::assert_same_bytes(three, one);
        }
        let (few, _) = run(2, 7);
        uard_testkit::assert_same_bytes(&few, &one.narrow(0, 0, 7).unwrap());
    }

    #[test]
    fn rounding_to_bf16_changes_products_a_little() {
        let [x, weight, bias] = inputs(9, DType::F32);
        let exact = linear(&x, &weight, &bias, Matmul::F32).unwrap();
        let rounded = linear(&x, &weight, &bias, Matmul::Bf16).unwrap();
        // Rounding to bf16 changes each of the 37 + 37 factors, all below 1, by at most 2^-9.
        let (difference, _) = uard_testkit::worst_difference(&rounded, &exact);
        assert!(difference > 1e-6 && difference < 0.1, "{difference}");
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let [x, weight, bias] = inputs(2, DType::F32);
        let narrow = weight.narrow(1, 0, 30).unwrap();
        let message = linear(&x, &narrow, &bias, Matmul::F32).unwrap_err();
        assert!(
            message
                .to_string()
                .contains("expected 37 along F, found 30"),
            "{message}"
        );
        let short = bias.narrow(0, 0, 18).unwrap();
        let message = linear(&x, &weight, &short, Matmul::F32).unwrap_err();
        assert!(
            message
                .to_string()
                .contains("expected 19 along D, found 18"),
            "{message}"
        );
    }
}
