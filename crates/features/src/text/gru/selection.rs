//! Which rows of a storage do indices name? For operators that select rows and have a gradient of
//! their own.

use candle_core::backend::BackendStorage;
use candle_core::{Layout, Result, Shape};

/// The rows [N, E] of a matrix [V, E] that N indices on its device name; zeros for `u32::MAX`.
pub(super) fn selected<S: BackendStorage>(
    (rows, of_rows): (&S, &Layout),
    (index, of_index): (&S, &Layout),
) -> Result<(S, Shape)> {
    let (_, width) = of_rows.shape().dims2()?;
    let found = rows.index_select(index, of_rows, of_index, 0)?;
    Ok((found, Shape::from((of_index.shape().elem_count(), width))))
}
