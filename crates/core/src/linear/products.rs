//! How does a linear layer run on CUDA? On candle's products, as an operator: candle's own would
//! compute a gradient of the rows as well when they are data.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result as CandleResult, Shape, Tensor};

use crate::Result;

/// As [`super::linear`].
pub(super) fn linear(rows: &Tensor, (weight, bias): (&Tensor, &Tensor)) -> Result<Tensor> {
    let product = rows
        .contiguous()?
        .apply_op2(&weight.contiguous()?, Product)?;
    Ok(product.broadcast_add(bias)?)
}

/// `x W^T` of rows [N, F] and a weight [D, F].
struct Product;

impl Product {
    fn on<S: BackendStorage>(
        (rows, of_rows): (&S, &Layout),
        (weight, of_weight): (&S, &Layout),
    ) -> CandleResult<(S, Shape)> {
        let ((count, width), (out, _)) = (of_rows.shape().dims2()?, of_weight.shape().dims2()?);
        let turned = of_weight.transpose(0, 1)?;
        let product = rows.matmul(weight, (1, count, out, width), of_rows, &turned)?;
        Ok((product, Shape::from((count, out))))
    }
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "linear-product"
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        of_rows: &Layout,
        weight: &CpuStorage,
        of_weight: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        Self::on((rows, of_rows), (weight, of_weight))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        rows: &candle_core::CudaStorage,
        of_rows: &Layout,
        weight: &candle_core::CudaStorage,
        of_weight: &Layout,
    ) -> CandleResult<(candle_core::CudaStorage, Shape)> {
        Self::on((rows, of_rows), (weight, of_weight))
    }

    fn bwd(
        &self,
        rows: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        upstream: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        let upstream = upstream.contiguous()?;
        let (data, weights) = (rows.detach(), weight.detach());
        let of_rows = rows.track_op().then(|| upstream.matmul(&weights));
        let of_weight = upstream.t()?.matmul(&data)?;
        Ok((of_rows.transpose()?, Some(of_weight)))
    }
}
