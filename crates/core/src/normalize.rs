//! Divides rows by their length, with a gradient: our operator on the CPU, candle's operations elsewhere.

mod operator;

use candle_core::{D, DType, Tensor};

use crate::Result;

/// Added to squared lengths before the root. It is far below [`SQUARED_LENGTHS`], so that it changes no
/// digit, and far above f32's smallest number.
const SQUARED_LENGTH_EPSILON: f64 = 1e-24;

/// The range of squared lengths in which f32 and f64 compute squares without a loss that matters. A row
/// outside, shorter than 1e-4 or longer than 3e18, is divided by its largest magnitude first.
const SQUARED_LENGTHS: (f64, f64) = (1e-8, 1e37);

/// Divides each row by its length.
///
/// ```text
/// y = x / sqrt(sum_d x_d^2 + 1e-24)
/// ```
///
/// # Shapes
/// `rows` [.., D] f32 or f64; the result has the same shape.
///
/// Rows of any length work: one whose squares would leave the range of the type is scaled first, which
/// changes neither direction nor gradient. A zero row has no direction: it stays zero and its gradient
/// is zero. A row with NaN or an infinite number becomes NaN.
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

/// Rounds a row to f32 and keeps its direction: a row whose numbers or squares would leave the range of
/// f32 is divided by its largest magnitude first.
///
/// # Panics
/// When the slices differ in length, a mistake of the caller.
pub fn rounded_row(row: &[f64], rounded: &mut [f32]) {
    assert_eq!(row.len(), rounded.len(), "as many numbers in as out");
    let squared: f64 = row.iter().map(|x| x * x).sum();
    let largest = row.iter().copied().map(f64::abs).fold(0.0, f64::max);
    let is_ordinary = (SQUARED_LENGTHS.0..=SQUARED_LENGTHS.1).contains(&squared);
    let divisor = match is_ordinary || largest == 0.0 || largest.is_infinite() {
        true => 1.0,
        false => largest,
    };
    for (rounded, x) in rounded.iter_mut().zip(row) {
        *rounded = (x / divisor) as f32;
    }
}

/// [`unit_rows`] of the first `counts[n]` rows of each entry n. The other rows become zero, whatever
/// numbers they hold, and their gradient is zero.
///
/// # Shapes
/// `rows` [N, L, D] f32 or f64; `validity` [N, L], 1 for the first `counts[n]` rows and 0 for the others;
/// it is called only where candle's operations need it.
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
        // Not multiplied by zero: padding may hold NaN.
        let is_valid = validity()?.unsqueeze(2)?.gt(0f64)?;
        let is_valid = is_valid.broadcast_as(rows.shape())?;
        composed(&is_valid.where_cond(rows, &rows.zeros_like()?)?)
    }
}

fn by_operator(rows: &Tensor, counts: &[usize], longest: usize) -> Result<Tensor> {
    Ok(match rows.dtype() {
        DType::F64 => operator::unit_rows::<f64>(rows, counts, longest)?,
        _ => operator::unit_rows::<f32>(rows, counts, longest)?,
    })
}

/// [`unit_rows`] in candle's operations, for any device.
fn composed(rows: &Tensor) -> Result<Tensor> {
    let rows = rows.broadcast_div(&divisors(&rows.detach())?)?;
    let squared = rows.sqr()?.sum_keepdim(D::Minus1)?;
    let has_direction = squared.gt(0f64)?.to_dtype(squared.dtype())?;
    let inverse = squared
        .affine(1.0, SQUARED_LENGTH_EPSILON)?
        .sqrt()?
        .recip()?;
    Ok(rows.broadcast_mul(&(inverse * has_direction)?)?)
}

/// The largest magnitude of each row whose squares would leave the range of its type; 1 for others
/// and for zero rows.
fn divisors(rows: &Tensor) -> Result<Tensor> {
    let squared = rows.sqr()?.sum_keepdim(D::Minus1)?;
    let is_ordinary = (squared.ge(SQUARED_LENGTHS.0)? * squared.le(SQUARED_LENGTHS.1)?)?;
    let largest = rows.abs()?.max_keepdim(D::Minus1)?;
    let one = largest.ones_like()?;
    let largest = largest.eq(0f64)?.where_cond(&one, &largest)?;
    Ok(is_ordinary.where_cond(&one, &largest)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn operator_equals_the_composed_form_in_values_and_gradients() {
        // 37 numbers are no whole number of vectors.
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

    /// Powers of ten by which rows are multiplied; f32 holds all but the last two.
    const SCALES: [f64; 9] = [1e-44, 1e-38, 1e-20, 1e-12, 1e-5, 1e19, 1e37, 1e-300, 1e300];

    #[test]
    fn length_changes_no_direction() {
        let numbers: Vec<f64> = (0..2 * 37).map(|at| f64::from(at).sin()).collect();
        let rows = Tensor::from_vec(numbers, (2, 37), &Device::Cpu).unwrap();
        let expected = unit_rows(&rows).unwrap();
        for form in [unit_rows, composed] {
            for scale in SCALES {
                let scaled = (&rows * scale).unwrap();
                uard_testkit::assert_close(&form(&scaled).unwrap(), &expected, 1e-13);
                if (1e-38..1e38).contains(&scale) {
                    let scaled = scaled.to_dtype(DType::F32).unwrap();
                    let found = form(&scaled).unwrap().to_dtype(DType::F64).unwrap();
                    uard_testkit::assert_close(&found, &expected, 1e-6);
                }
            }
        }
    }

    #[test]
    fn length_divides_the_gradient() {
        let numbers: Vec<f64> = (0..37).map(|at| f64::from(at).sin()).collect();
        let rows = Tensor::from_vec(numbers, (1, 37), &Device::Cpu).unwrap();
        let gradient = |form: fn(&Tensor) -> Result<Tensor>, scale: f64, dtype| {
            let raw = (&rows * scale).unwrap().to_dtype(dtype).unwrap();
            let raw = Var::from_tensor(&raw).unwrap();
            let target = rows.to_dtype(dtype).unwrap().exp().unwrap();
            let loss = (form(&raw).unwrap() * target).unwrap().sum_all().unwrap();
            let gradient = loss.backward().unwrap().get(&raw).unwrap().clone();
            (gradient.to_dtype(DType::F64).unwrap() * scale).unwrap()
        };
        let expected = gradient(unit_rows, 1.0, DType::F64);
        for form in [unit_rows, composed] {
            for scale in SCALES {
                uard_testkit::assert_close(&gradient(form, scale, DType::F64), &expected, 1e-12);
            }
            for scale in [1e-30, 1e-12, 1e19, 1e30] {
                uard_testkit::assert_close(&gradient(form, scale, DType::F32), &expected, 1e-5);
            }
        }
    }

    #[test]
    fn a_row_of_the_smallest_numbers_has_a_direction_and_a_finite_gradient() {
        let smallest = f32::from_bits(1);
        let rows = Var::new(&[[smallest, 0.0]], &Device::Cpu).unwrap();
        let unit = unit_rows(&rows).unwrap();
        assert_eq!(unit.to_vec2::<f32>().unwrap(), [[1.0, 0.0]]);
        let gradients = unit.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&rows).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(gradient[0][0], 0.0);
    }

    #[test]
    fn a_row_that_is_not_finite_becomes_nan() {
        for bad in [f32::NAN, f32::INFINITY] {
            let rows = Tensor::new(&[[bad, 0.0], [0.0, bad], [1.0, bad]], &Device::Cpu).unwrap();
            for form in [unit_rows, composed] {
                let found = form(&rows).unwrap().to_vec2::<f32>().unwrap();
                assert!(found.concat().iter().all(|x| x.is_nan()), "{found:?}");
            }
        }
    }

    #[test]
    fn rounding_keeps_ordinary_rows_and_the_direction_of_all() {
        let row = [0.1, -0.7, 1e-30];
        let mut rounded = [0.0; 3];
        rounded_row(&row, &mut rounded);
        assert_eq!(rounded, row.map(|x| x as f32));
        for scale in SCALES {
            rounded_row(&[0.5 * scale, -scale, 0.0], &mut rounded);
            assert!(rounded[1] < 0.0 && rounded[2] == 0.0, "{rounded:?}");
            assert!((rounded[0] / rounded[1] + 0.5).abs() < 1e-6, "{rounded:?}");
        }
        rounded_row(&[0.0, f64::INFINITY, 1.0], &mut rounded);
        assert_eq!(rounded, [0.0, f32::INFINITY, 1.0]);
        rounded_row(&[0.0; 3], &mut rounded);
        assert_eq!(rounded, [0.0; 3]);
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
