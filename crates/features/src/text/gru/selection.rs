//! How are rows selected whose gradient is known better than by adding? With that as a function
//! beside the selection.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

/// The rows [N, E] of a matrix [V, E] that N indices on its device name; zeros for `u32::MAX`.
///
/// `gradient` is given the matrix, the indices and the gradient of the rows, and returns that of the
/// matrix.
pub(super) fn selected<G>(rows: &Tensor, index: &Tensor, gradient: G) -> Result<Tensor>
where
    G: Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
{
    rows.contiguous()?.apply_op2(index, Selection(gradient))
}

struct Selection<G>(G);

impl<G> Selection<G> {
    fn on<S: BackendStorage>(
        (rows, of_rows): (&S, &Layout),
        (index, of_index): (&S, &Layout),
    ) -> Result<(S, Shape)> {
        let (_, width) = of_rows.shape().dims2()?;
        let found = rows.index_select(index, of_rows, of_index, 0)?;
        Ok((found, Shape::from((of_index.shape().elem_count(), width))))
    }
}

impl<G> CustomOp2 for Selection<G>
where
    G: Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor> + Send + Sync,
{
    fn name(&self) -> &'static str {
        "gru-selection"
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        of_rows: &Layout,
        index: &CpuStorage,
        of_index: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Self::on((rows, of_rows), (index, of_index))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        rows: &candle_core::CudaStorage,
        of_rows: &Layout,
        index: &candle_core::CudaStorage,
        of_index: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        Self::on((rows, of_rows), (index, of_index))
    }

    fn bwd(
        &self,
        rows: &Tensor,
        index: &Tensor,
        _: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = (self.0)(rows, index, &upstream.contiguous()?)?;
        Ok((Some(gradient), None))
    }
}
