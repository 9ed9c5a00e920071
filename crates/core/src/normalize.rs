//! How does a row become a unit vector without poisoning its gradient?

use candle_core::{D, Tensor};

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
