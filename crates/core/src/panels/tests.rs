//! Does every instruction set give the products of the scalar loops?

use super::*;

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut stream = crate::random::Draws::new(seed).stream("panels", &[]);
    crate::random::uniform(&mut stream, -1.0, 1.0, count)
}

fn packed<T: Element>(vectors: &[f32], width: usize) -> (Vec<T>, Vec<T>) {
    let depth = padded_depth(width);
    let count = vectors.len() / width;
    let mut rows = vec![T::default(); panels_for(count) * PANEL * depth];
    let mut columns = rows.clone();
    for (at, vector) in vectors.chunks(width).enumerate() {
        RowPanels::place(&mut rows, depth, at, vector);
        ColumnPanels::place(&mut columns, depth, at, vector);
    }
    (rows, columns)
}

#[test]
fn a_vector_comes_back_from_both_layouts() {
    let (width, count) = (33, 18);
    let vectors = numbers(width * count, 1);
    let (rows, columns) = packed::<f32>(&vectors, width);
    let (rows, columns) = (RowPanels::new(&rows, 64), ColumnPanels::new(&columns, 64));
    assert_eq!((rows.panels(), columns.panels()), (2, 2));
    for at in 0..count {
        let expected = &vectors[at * width..][..width];
        assert_eq!(rows.vector(at, width), expected);
        assert_eq!(columns.vector(at, width), expected);
    }
}

#[test]
fn the_scalar_product_is_the_sum_over_depth() {
    let (width, count) = (40, 17);
    let vectors = numbers(width * count, 2);
    let (rows, columns) = packed::<f32>(&vectors, width);
    let (rows, columns) = (RowPanels::new(&rows, 64), ColumnPanels::new(&columns, 64));
    let stride = 37;
    let mut out = vec![7.0; 32 * stride];
    product(Instructions::SCALAR, rows, columns, &mut out, stride);
    for (i, a) in vectors.chunks(width).enumerate() {
        for (j, b) in vectors.chunks(width).enumerate() {
            let expected: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            assert!((out[i * stride + j] - expected).abs() < 1e-5);
        }
        assert_eq!(
            out[i * stride + 36],
            7.0,
            "beyond the panels nothing is written"
        );
    }
}
