//! The product of panels as plain loops, for every processor. Tests compare the other kernels with it.

use super::{ColumnPanels, Element, PANEL, RowPanels};

/// Sums over depth in order, with one accumulator for each entry.
pub fn product<T: Element>(
    rows: RowPanels<'_, T>,
    columns: ColumnPanels<'_, T>,
    out: &mut [f32],
    stride: usize,
) {
    for (row_panel, rows) in rows.iter().enumerate() {
        for (column_panel, columns) in columns.iter().enumerate() {
            let block = block::<T>(rows, columns);
            for (row, sums) in block.iter().enumerate() {
                let start = (row_panel * PANEL + row) * stride + column_panel * PANEL;
                out[start..start + PANEL].copy_from_slice(sums);
            }
        }
    }
}

/// The products of one panel of rows with one panel of columns.
fn block<T: Element>(rows: &[T], columns: &[T]) -> [[f32; PANEL]; PANEL] {
    let mut sums = [[0.0; PANEL]; PANEL];
    let lines = rows.chunks_exact(PANEL * T::LINE);
    for (lines, columns) in lines.zip(columns.chunks_exact(T::LINE * PANEL)) {
        for (sums, line) in sums.iter_mut().zip(lines.chunks_exact(T::LINE)) {
            let groups = line.chunks_exact(T::GROUP);
            for (group, columns) in groups.zip(columns.chunks_exact(PANEL * T::GROUP)) {
                for (sum, column) in sums.iter_mut().zip(columns.chunks_exact(T::GROUP)) {
                    for (a, b) in group.iter().zip(column) {
                        *sum += a.to_f32() * b.to_f32();
                    }
                }
            }
        }
    }
    sums
}
