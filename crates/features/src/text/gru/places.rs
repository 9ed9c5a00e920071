//! How do rows change places when each goes to one place, or to none twice? Their gradients are rows
//! that go back: a selection. candle's `index_select` has to add instead, because its indices may
//! repeat, and on CUDA its `index_add` walks all of them in every thread.

use candle_core::{Device, Result, Tensor};

use super::selection::selected;

/// A place that no row goes to: `index_select` answers with zeros.
const NO_ROW: u32 = u32::MAX;

/// Where each of N rows goes among M places.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// Of each row.
    places: Vec<u32>,
    /// Of each place, its row or [`NO_ROW`].
    rows: Vec<u32>,
}

impl Places {
    /// From the place of each row, among `count`.
    ///
    /// # Panics
    /// When a place is taken twice, or is none of them.
    pub(super) fn new(places: impl Iterator<Item = usize>, count: usize) -> Self {
        let places: Vec<u32> = places.map(|place| place as u32).collect();
        let mut rows = vec![NO_ROW; count];
        for (row, &place) in places.iter().enumerate() {
            let taken = std::mem::replace(&mut rows[place as usize], row as u32);
            assert_eq!(taken, NO_ROW, "place {place} is taken twice");
        }
        Self { places, rows }
    }

    /// The other way round, where every place has a row.
    pub(super) fn inverse(self) -> Self {
        Self {
            places: self.rows,
            rows: self.places,
        }
    }

    /// Rows [N, H] at their places [M, H]; zero where there is none.
    pub(super) fn moved(&self, rows: &Tensor) -> Result<Tensor> {
        let index = |numbers: &[u32]| index(numbers, rows.device());
        let places = index(&self.places)?;
        selected(rows, &index(&self.rows)?, move |_, _, upstream| {
            upstream.index_select(&places, 0)
        })
    }

    /// The same in candle's operations, for any device.
    pub(super) fn composed(&self, rows: &Tensor) -> Result<Tensor> {
        let none = self.places.len() as u32;
        let wanted: Vec<u32> = self.rows.iter().map(|&row| row.min(none)).collect();
        let index = index(&wanted, rows.device())?;
        match wanted.contains(&none) {
            true => rows.pad_with_zeros(0, 0, 1)?.index_select(&index, 0),
            false => rows.contiguous()?.index_select(&index, 0),
        }
    }
}

fn index(numbers: &[u32], device: &Device) -> Result<Tensor> {
    Tensor::from_slice(numbers, numbers.len(), device)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use uard_testkit::assert_same_bytes;

    use super::*;

    /// Both forms, with the gradients of a loss in which every number has its own weight.
    fn assert_forms_agree(places: &Places, rows: usize) {
        let numbers: Vec<f32> = (0..3 * rows).map(|at| at as f32 - 4.0).collect();
        let var = Tensor::from_vec(numbers, (rows, 3), &Device::Cpu).unwrap();
        let var = Var::from_tensor(&var).unwrap();
        let [found, expected] = [Places::moved, Places::composed].map(|form| {
            let moved = form(places, &var).unwrap();
            let weights = Tensor::arange(1f32, moved.elem_count() as f32 + 1.0, &Device::Cpu);
            let weights = weights.unwrap().reshape(moved.dims()).unwrap();
            let loss = (&moved * weights).unwrap().sum_all().unwrap();
            let gradients = loss.backward().unwrap();
            (moved, gradients.get(&var).unwrap().clone())
        });
        assert_same_bytes(&found.0, &expected.0);
        assert_same_bytes(&found.1, &expected.1);
    }

    #[test]
    fn gradients_of_moved_rows_equal_those_of_a_selection() {
        assert_forms_agree(&Places::new([2, 0, 3, 1].into_iter(), 4), 4);
        assert_forms_agree(&Places::new([2, 0, 3, 1].into_iter(), 4).inverse(), 4);
        assert_forms_agree(&Places::new([5, 1, 2].into_iter(), 7), 3);
        assert_forms_agree(&Places::new([0].into_iter(), 1), 1);
    }

    #[test]
    fn a_place_without_a_row_is_zero() {
        let rows = Tensor::new(&[[1f32], [2.0]], &Device::Cpu).unwrap();
        let moved = Places::new([2, 0].into_iter(), 4).moved(&rows).unwrap();
        let moved = moved.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(moved, [2.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "taken twice")]
    fn a_place_has_one_row() {
        Places::new([1, 1].into_iter(), 2);
    }
}
