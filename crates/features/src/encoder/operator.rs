//! How does a linear layer over data run on the CPU? With gradients of its parameters alone.
//!
//! Features are data: nobody asks for their gradient, and it would cost as much as the layer.

use candle_core::{CpuStorage, CustomOp2, Device, Error, Layout, Result, Shape, Storage, Tensor};
use rayon::prelude::*;
use uard_core::matmul::Matmul;
use uard_core::product::{Matrix, Output};
use uard_core::vector::{AddRows, vectorised};

/// Rows whose gradients are summed one after the other; the sums are added in order.
const ROWS: usize = 256;

/// `x W^T + b` as a function of W [D, F] and b [D], f32.
#[derive(Debug)]
pub(super) struct LinearOfData {
    /// x [N, F], contiguous, f32, on the CPU.
    features: Tensor,
    matmul: Matmul,
}

/// `x W^T + b`, differentiable by W and b only.
///
/// # Shapes
/// `features` [N, F], `weight` [D, F], `bias` [D]; the result is [N, D].
///
/// # Errors
/// When they are not f32 on the CPU, or do not fit each other.
pub(super) fn linear(
    features: &Tensor,
    (weight, bias): (&Tensor, &Tensor),
    matmul: Matmul,
) -> Result<Tensor> {
    let operator = LinearOfData {
        features: features.contiguous()?.detach(),
        matmul,
    };
    weight
        .contiguous()?
        .apply_op2(&bias.contiguous()?, operator)
}

impl CustomOp2 for LinearOfData {
    fn name(&self) -> &'static str {
        "linear-of-data"
    }

    fn cpu_fwd(
        &self,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (width, depth) = weight_layout.shape().dims2()?;
        let weight = numbers(weight, weight_layout)?;
        let bias = numbers(bias, bias_layout)?;
        let (count, _) = self.features.dims2()?;
        let mut out = vec![0.0; count * width];
        out.par_chunks_mut((ROWS * width).max(1)).for_each(|rows| {
            rows.chunks_exact_mut(width.max(1))
                .for_each(|row| row.copy_from_slice(bias));
        });
        with_numbers(&self.features, |features| {
            let features = Matrix::row_major(features, count, depth);
            let weight = Matrix::row_major(weight, width, depth);
            self.matmul.parallel_product(
                &mut out,
                features,
                weight.transposed(),
                Output::Accumulate,
            );
            Ok(())
        })?;
        Ok((CpuStorage::F32(out), Shape::from((count, width))))
    }

    fn bwd(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        _rows: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (width, depth) = weight.dims2()?;
        let (count, _) = self.features.dims2()?;
        let mut to_weight = vec![0.0; width * depth];
        let to_bias = with_numbers(&upstream.contiguous()?, |upstream| {
            with_numbers(&self.features, |features| {
                let features = Matrix::row_major(features, count, depth);
                let upstream = Matrix::row_major(upstream, count, width);
                self.matmul.parallel_product(
                    &mut to_weight,
                    upstream.transposed(),
                    features,
                    Output::Overwrite,
                );
                Ok(())
            })?;
            Ok(sum_of_rows(upstream, width))
        })?;
        Ok((
            Some(Tensor::from_vec(to_weight, weight.shape(), &Device::Cpu)?),
            Some(Tensor::from_vec(to_bias, bias.shape(), &Device::Cpu)?),
        ))
    }
}

fn sum_of_rows(rows: &[f32], width: usize) -> Vec<f32> {
    let parts: Vec<Vec<f32>> = rows
        .par_chunks((ROWS * width).max(1))
        .map(|rows| {
            let mut sums = vec![0.0; width];
            vectorised(AddRows {
                sums: &mut sums,
                rows,
            });
            sums
        })
        .collect();
    let mut sums = vec![0.0; width];
    for part in &parts {
        vectorised(AddRows {
            sums: &mut sums,
            rows: part,
        });
    }
    sums
}

fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => Err(Error::RequiresContiguous {
            op: "linear-of-data",
        }
        .bt()),
    }
}

fn with_numbers<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(numbers(storage, layout)?),
        _ => Err(Error::Msg("linear-of-data: its tensors must be on the CPU".to_owned()).bt()),
    }
}
