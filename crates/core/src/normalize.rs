//! How does a row become a unit vector without poisoning its gradient?

mod operator;

use candle_core::{D, DType, Tensor};
use operator::UnitRows;

use crate::Result;

/// Below any squared length of real features, and still far from f32's smallest number.
const SQUARED_LENGTH_EPSILON: f64 = 1e-24;

/// Divides each row by its length.
///
/// ```text
/// y = x / sqrt(sum_d x_d^2 + 1e-24)
/// ```
///
/// # Shapes
/// `rows` [.., D] f32 or f64; the result has the same shape.
///
/// A zero row has no direction: it stays zero and passes no gradient on.
///
/// # Errors
/// When the tensor has no axis or is not floating point.
pub fn unit_rows(rows: &Tensor) -> Result<Tensor> {
    let count = rows.elem_count() / rows.dim(D::Minus1)?.max(1);
    if rows.device().is_cpu() {
        by_operator(rows, &[count], count)
    } else {
        composed(rows)
    }
}

/// [`unit_rows`] of the first `counts[n]` rows of each entry; the others become zero, whatever
/// numbers they hold, and pass no gradient on.
///
/// # Shapes
/// `rows` [N, L, D] f32 or f64; `validity` [N, L], 1 or 0, as `counts` says.
///
/// # Errors
/// When the tensor is not floating point.
pub(crate) fn valid_unit_rows(
    rows: &Tensor,
    counts: &[usize],
    validity: impl FnOnce() -> Result<Tensor>,
) -> Result<Tensor> {
    let (_, longest, _) = rows.dims3()?;
    if rows.device().is_cpu() {
        by_operator(rows, counts, longest)
    } else if counts.iter().all(|&count| count == longest) {
        composed(rows)
    } else {
        composed(&rows.broadcast_mul(&validity()?.unsqueeze(2)?)?)
    }
}

fn by_operator(rows: &Tensor, counts: &[usize], longest: usize) -> Result<Tensor> {
    let rows = rows.contiguous()?;
    Ok(match rows.dtype() {
        DType::F64 => rows.apply_op1(UnitRows::<f64>::new(counts, longest))?,
        _ => rows.apply_op1(UnitRows::<f32>::new(counts, longest))?,
    })
}

/// The same in candle's operations, for any device.
fn composed(rows: &Tensor) -> Result<Tensor> {
    let squared = rows.sqr()?.sum_keepdim(D::Minus1)?;
    let has_direction = squared.gt(0f64)?.to_dtype(squared.dtype())?;
    let inverse = squared
        .affine(1.0, SQUARED_LENGTH_EPSILON)?
        .sqrt()?
        .recip()?;
    Ok(rows.broadcast_mul(&(inverse * has_direction)?)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn operator_equals_the_composed_form_in_values_and_gradients() {
        // 37 numbers: whole vectors and a rest.
        let numbers: Vec<f64> = (0..6 * 37).map(|at| f64::from(at).sin()).collect();
        let rows = Tensor::from_vec(numbers, (2, 3, 37), &Device::Cpu).unwrap();
        for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 1e-6)] {
            let raw = Var::from_tensor(&rows.to_dtype(dtype).unwrap()).unwrap();
            let target = rows.to_dtype(dtype).unwrap().exp().unwrap();
            let gradient = |unit: &Tensor| {
                let loss = (unit * &target).unwrap().sum_all().unwrap();
                loss.backward().unwrap().get(&raw).unwrap().clone()
            };
            let (found, expected) = (unit_rows(&raw).unwrap(), composed(&raw).unwrap());
            uard_testkit::assert_close(&found, &expected, tolerance);
            uard_testkit::assert_close(&gradient(&found), &gradient(&expected), tolerance);
        }
    }

    #[test]
    fn padding_rows_are_zero_and_pass_no_gradient() {
        let rows = Var::new(
            &[[[3f32, 4.0], [f32::NAN, 1.0]], [[0.0, 2.0], [1.0, 0.0]]],
            &Device::Cpu,
        );
        let rows = rows.unwrap();
        let unit = valid_unit_rows(&rows, &[1, 2], || panic!("the CPU needs no mask")).unwrap();
        let found = unit.to_vec3::<f32>().unwrap();
        assert_eq!(found[0][1], [0.0, 0.0]);
        assert_eq!(found[1], [[0.0, 1.0], [1.0, 0.0]]);
        let gradients = unit.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&rows).unwrap().to_vec3::<f32>().unwrap();
        assert_eq!(gradient[0][1], [0.0, 0.0]);
        assert!(gradient[0][0].iter().all(|&g| g != 0.0));
    }

    #[test]
    fn zero_row_stays_zero_and_passes_no_gradient() {
        let rows = Var::new(&[[3f32, 4.0], [0.0, 0.0]], &Device::Cpu).unwrap();
        let unit = unit_rows(&rows).unwrap();
        let rows_now = unit.to_vec2::<f32>().unwrap();
        assert!(
            (rows_now[0][0] - 0.6).abs() < 1e-6 && rows_now[1] == [0.0, 0.0],
            "{rows_now:?}"
        );
        let gradients = unit.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&rows).unwrap().to_vec2::<f32>().unwrap();
        assert!(
            gradient[0].iter().all(|g| g.is_finite() && *g != 0.0),
            "{gradient:?}"
        );
        assert_eq!(gradient[1], [0.0, 0.0]);
    }

    #[test]
    fn gradient_matches_finite_differences() {
        let rows = Var::new(&[[0.3f64, -0.4, 0.9], [1.0, 0.2, 0.1]], &Device::Cpu).unwrap();
        uard_testkit::assert_gradients(
            |inputs| {
                let target = Tensor::new(&[[0.5f64, 1.0, -0.3], [0.2, 0.2, 0.7]], &Device::Cpu)?;
                let unit = unit_rows(&inputs[0]).map_err(candle_core::Error::wrap)?;
                (unit * target)?.sum_all()
            },
            &[rows],
            1e-7,
        );
    }
}
