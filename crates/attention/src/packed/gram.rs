//! The Gram matrix of an entry, computed by products of packed panels.
//!
//! Every bit of a product depends on its two vectors and the instruction set alone. So batches and
//! precisions do not change the matrix, and it is exactly symmetric.

use uard_linalg::matmul::Matmul;
use uard_linalg::product::{Matrix, Output, PackedRight};

use super::layout::gram_stride;

/// `out[a][b] = v_a · v_b`.
///
/// # Shapes
/// `vectors` rows of `width` numbers, `out` as many rows of [`gram_stride`] numbers. The numbers of a row
/// beyond the products stay as they are.
pub fn gram(vectors: &[f32], width: usize, out: &mut [f32]) {
    let count = vectors.len() / width;
    let rows = Matrix::row_major(vectors, count, width);
    let mut products = vec![0.0; count * count];
    PackedRight::new(Matmul::F32, rows.transposed()).product(
        &mut products,
        rows,
        Output::Overwrite,
    );
    let to_rows = out.chunks_exact_mut(gram_stride(count));
    for (to, from) in to_rows.zip(products.chunks_exact(count)) {
        to[..count].copy_from_slice(from);
    }
}
