//! [`Regions`] and [`Words`] of a batch: padded unit rows, with the number of valid rows of each entry.

use candle_core::{DType, Device, Tensor};

use crate::normalize::valid_unit_rows;
use crate::{Error, Result};

/// Regions of a batch of images: unit rows of the joint space.
///
/// # Shapes
/// rows [I, R, D]; row `[i, r]` is zero for `r >= counts[i]`.
#[derive(Debug, Clone)]
pub struct Regions(Fragments);

/// Words of a batch of captions: unit rows of the joint space.
///
/// # Shapes
/// rows [C, W, D]; row `[c, w]` is zero for `w >= counts[c]`.
#[derive(Debug, Clone)]
pub struct Words(Fragments);

impl Regions {
    /// Makes each valid row a unit vector (differentiably) and every padding row zero.
    ///
    /// # Shapes
    /// `raw` [I, R, D] f32 or f64, or f16 or bf16, which become f32; `counts` I numbers
    /// from 1 to R.
    ///
    /// # Errors
    /// When the rank is not 3, the dtype is another one, or a count is out of range.
    pub fn normalized(raw: &Tensor, counts: Vec<usize>) -> Result<Self> {
        Fragments::normalized("regions", raw, counts).map(Self)
    }

    /// Pads a list of tensors, one for each of the images, to the longest of them, and makes each
    /// row a unit vector, differentiably.
    ///
    /// # Shapes
    /// Each [L, D], of its own length L of 1 or more, on one device, of f32, f16 or bf16, or all of f64.
    ///
    /// # Errors
    /// When there is none, one has another rank, width, dtype or device, or no rows.
    pub fn from_list(raw: &[Tensor]) -> Result<Self> {
        Fragments::from_list("regions", raw).map(Self)
    }

    /// Images in the batch.
    pub fn images(&self) -> usize {
        self.0.counts.len()
    }

    /// The mean of each image's regions, scaled to unit length, as images with one region; zero if the
    /// regions cancel each other.
    ///
    /// # Shapes
    /// Returns [I, 1, D].
    ///
    /// # Errors
    /// When candle reports an error.
    pub fn means(&self) -> Result<Self> {
        // Padding rows are zero, and a sum has the direction of the mean.
        let sums = self.rows().sum_keepdim(1)?;
        Self::normalized(&sums, vec![1; self.images()])
    }
}

impl Words {
    /// Makes each valid row a unit vector (differentiably) and every padding row zero.
    ///
    /// # Shapes
    /// `raw` [C, W, D] f32 or f64, or f16 or bf16, which become f32; `counts` C numbers
    /// from 1 to W.
    ///
    /// # Errors
    /// When the rank is not 3, the dtype is another one, or a count is out of range.
    pub fn normalized(raw: &Tensor, counts: Vec<usize>) -> Result<Self> {
        Fragments::normalized("words", raw, counts).map(Self)
    }

    /// Pads a list of tensors, one for each of the captions, to the longest of them, and makes each
    /// row a unit vector, differentiably.
    ///
    /// # Shapes
    /// Each [L, D], of its own length L of 1 or more, on one device, of f32, f16 or bf16, or all of f64.
    ///
    /// # Errors
    /// When there is none, one has another rank, width, dtype or device, or no rows.
    pub fn from_list(raw: &[Tensor]) -> Result<Self> {
        Fragments::from_list("words", raw).map(Self)
    }

    /// Captions in the batch.
    pub fn captions(&self) -> usize {
        self.0.counts.len()
    }
}

macro_rules! delegate_to_fragments {
    ($($type:ty),*) => {$(
        impl $type {
            /// The padded unit rows.
            pub fn rows(&self) -> &Tensor {
                &self.0.rows
            }

            /// Valid fragments of each entry.
            pub fn counts(&self) -> &[usize] {
                &self.0.counts
            }

            /// The padded length.
            pub fn longest(&self) -> usize {
                self.0.longest
            }

            /// Width D of the joint space.
            pub fn width(&self) -> usize {
                self.0.width
            }

            /// The same fragments, detached from candle's graph.
            pub fn detach(&self) -> Self {
                Self(Fragments { rows: self.0.rows.detach(), ..self.0.clone() })
            }

            /// Entries `start..start + len`, padded to the longest among them.
            ///
            /// # Errors
            /// When the range leaves the batch.
            pub fn narrow(&self, start: usize, len: usize) -> Result<Self> {
                self.0.narrow(start, len).map(Self)
            }

            /// The valid rows of all entries, one after the other, without padding.
            ///
            /// # Shapes
            /// [N, D], where N is the sum of the counts.
            ///
            /// # Errors
            /// When the device refuses the tensor.
            pub fn valid_rows(&self) -> Result<Tensor> {
                self.0.valid_rows()
            }

            /// 1 where a fragment is valid and 0 where it is padding.
            ///
            /// # Shapes
            /// The first two axes of the rows, in the dtype of the rows.
            ///
            /// # Errors
            /// When the device refuses the tensor.
            pub fn validity(&self) -> Result<Tensor> {
                validity_like(&self.0.counts, self.0.longest, &self.0.rows)
            }
        }
    )*};
}

delegate_to_fragments!(Regions, Words);

#[derive(Debug, Clone)]
struct Fragments {
    rows: Tensor,
    counts: Vec<usize>,
    longest: usize,
    width: usize,
}

impl Fragments {
    fn normalized(tensor: &'static str, raw: &Tensor, counts: Vec<usize>) -> Result<Self> {
        let raw = &floats(tensor, raw)?;
        let &[entries, longest, width] = raw.dims() else {
            return Err(Error::Rank {
                tensor: tensor.to_owned(),
                expected: "3, [entries, rows, width]; one tensor for each entry goes to `from_list`",
                found: raw.dims().to_vec(),
            });
        };
        if counts.len() != entries {
            return Err(Error::ShapeMismatch {
                tensor: format!("counts of {tensor}"),
                axis: "entries",
                expected: entries,
                found: counts.len(),
            });
        }
        for (index, &count) in counts.iter().enumerate() {
            if count == 0 || count > longest {
                return Err(Error::CountOutOfRange {
                    tensor,
                    index,
                    count,
                    longest,
                });
            }
        }
        let rows = valid_unit_rows(raw, &counts, || validity_like(&counts, longest, raw))?;
        Ok(Self {
            rows,
            counts,
            longest,
            width,
        })
    }

    fn from_list(tensor: &'static str, raw: &[Tensor]) -> Result<Self> {
        if raw.is_empty() {
            return Err(Error::Empty { tensor });
        }
        let longest = raw.iter().filter_map(|rows| rows.dims().first()).max();
        let longest = longest.copied().unwrap_or(0);
        let width = raw.first().and_then(|rows| rows.dims().last().copied());
        let mut padded = Vec::with_capacity(raw.len());
        let mut counts = Vec::with_capacity(raw.len());
        for (entry, rows) in raw.iter().enumerate() {
            let &[count, found] = rows.dims() else {
                return Err(Error::Rank {
                    tensor: format!("{tensor}, entry {entry}"),
                    expected: "2, [rows, width]",
                    found: rows.dims().to_vec(),
                });
            };
            if Some(found) != width {
                return Err(Error::ShapeMismatch {
                    tensor: format!("{tensor}, entry {entry}"),
                    axis: "D",
                    expected: width.unwrap_or(0),
                    found,
                });
            }
            padded.push(floats(tensor, rows)?.pad_with_zeros(0, 0, longest - count)?);
            counts.push(count);
        }
        Self::normalized(tensor, &Tensor::stack(&padded, 0)?, counts)
    }

    fn valid_rows(&self) -> Result<Tensor> {
        let rows = self
            .rows
            .reshape((self.counts.len() * self.longest, self.width))?;
        if self.counts.iter().all(|&count| count == self.longest) {
            return Ok(rows);
        }
        let starts = (0..).step_by(self.longest);
        let valid = self
            .counts
            .iter()
            .zip(starts)
            .flat_map(|(&count, start)| start..start + count);
        let indices: Vec<u32> = valid.map(|row: usize| row as u32).collect();
        let count = indices.len();
        Ok(rows.index_select(&Tensor::from_vec(indices, count, self.rows.device())?, 0)?)
    }

    fn narrow(&self, start: usize, len: usize) -> Result<Self> {
        let rows = self.rows.narrow(0, start, len)?;
        let counts = self.counts[start..start + len].to_vec();
        let longest = counts.iter().copied().max().unwrap_or(0);
        let rows = rows.narrow(1, 0, longest)?.contiguous()?;
        Ok(Self {
            rows,
            counts,
            longest,
            width: self.width,
        })
    }
}

/// Half precision as f32; other dtypes are refused.
fn floats(tensor: &'static str, raw: &Tensor) -> Result<Tensor> {
    match raw.dtype() {
        DType::F32 | DType::F64 => Ok(raw.clone()),
        DType::F16 | DType::BF16 => Ok(raw.to_dtype(DType::F32)?),
        found => Err(Error::Dtype {
            tensor,
            expected: "f32, f64, f16 or bf16",
            found,
        }),
    }
}

/// 1 for the first `counts[n]` rows of each entry and 0 for padding: [N, `longest`] f32 on the CPU.
///
/// # Errors
/// When candle refuses the tensor.
pub fn validity(counts: &[usize], longest: usize) -> Result<Tensor> {
    let cells: Vec<f32> = counts
        .iter()
        .flat_map(|&count| (0..longest).map(move |row| if row < count { 1.0 } else { 0.0 }))
        .collect();
    Ok(Tensor::from_vec(
        cells,
        (counts.len(), longest),
        &Device::Cpu,
    )?)
}

/// [`validity`] in the dtype and on the device of the rows.
fn validity_like(counts: &[usize], longest: usize, rows: &Tensor) -> Result<Tensor> {
    let validity = validity(counts, longest)?;
    Ok(validity.to_dtype(rows.dtype())?.to_device(rows.device())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> Tensor {
        Tensor::new(
            &[[[3f32, 4.0], [5.0, 12.0]], [[0.0, 2.0], [9.0, 9.0]]],
            &Device::Cpu,
        )
        .unwrap()
    }

    #[test]
    fn padding_rows_become_zero_and_valid_rows_unit() {
        let regions = Regions::normalized(&raw(), vec![2, 1]).unwrap();
        let rows = regions.rows().to_vec3::<f32>().unwrap();
        assert!((rows[0][0][0] - 0.6).abs() < 1e-6);
        assert_eq!(rows[1], [[0.0, 1.0], [0.0, 0.0]]);
        assert_eq!(
            regions.validity().unwrap().to_vec2::<f32>().unwrap(),
            [[1.0, 1.0], [1.0, 0.0]]
        );
    }

    #[test]
    fn means_leave_padding_out() {
        let means = Regions::normalized(&raw(), vec![2, 1])
            .unwrap()
            .means()
            .unwrap();
        assert_eq!(means.counts(), [1, 1]);
        let rows = means.rows().to_vec3::<f32>().unwrap();
        let [x, y] = [3.0 / 5.0 + 5.0 / 13.0, 4.0 / 5.0 + 12.0 / 13.0];
        let length = f32::hypot(x, y);
        assert!((rows[0][0][0] - x / length).abs() < 1e-6);
        assert!((rows[0][0][1] - y / length).abs() < 1e-6);
        assert_eq!(rows[1], [[0.0, 1.0]]);
    }

    #[test]
    fn a_list_of_entries_is_padded_to_the_longest() {
        let list = [
            Tensor::new(&[[3f32, 4.0], [5.0, 12.0]], &Device::Cpu).unwrap(),
            Tensor::new(&[[0f32, 2.0]], &Device::Cpu).unwrap(),
        ];
        let found = Regions::from_list(&list).unwrap();
        let expected = Regions::normalized(&raw(), vec![2, 1]).unwrap();
        assert_eq!(found.counts(), expected.counts());
        assert_eq!(
            found.rows().to_vec3::<f32>().unwrap(),
            expected.rows().to_vec3::<f32>().unwrap()
        );
        let odd = Tensor::new(&[[1f32, 2.0, 3.0]], &Device::Cpu).unwrap();
        let message = Words::from_list(&[list[0].clone(), odd])
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("words, entry 1: expected 2 along D, found 3"),
            "{message}"
        );
        let half = list[1].to_dtype(DType::F16).unwrap();
        let mixed = Regions::from_list(&[list[0].clone(), half]).unwrap();
        assert_eq!(mixed.rows().dtype(), DType::F32);
        assert!(Words::from_list(&[]).is_err());
        assert!(Words::from_list(&[raw()]).is_err());
    }

    #[test]
    fn half_precision_becomes_f32_and_other_input_is_refused_by_name() {
        let half = raw().to_dtype(DType::BF16).unwrap();
        let words = Words::normalized(&half, vec![2, 1]).unwrap();
        assert_eq!(words.rows().dtype(), DType::F32);
        let whole = raw().to_dtype(DType::U32).unwrap();
        let message = Words::normalized(&whole, vec![2, 1])
            .unwrap_err()
            .to_string();
        assert!(message.contains("words: expected f32"), "{message}");
        let flat = raw().flatten(0, 1).unwrap();
        let message = Regions::normalized(&flat, vec![2, 1])
            .unwrap_err()
            .to_string();
        assert!(message.contains("regions: expected rank 3"), "{message}");
    }

    #[test]
    fn narrowing_drops_padding_that_no_entry_needs() {
        let words = Words::normalized(&raw(), vec![2, 1])
            .unwrap()
            .narrow(1, 1)
            .unwrap();
        assert_eq!(words.rows().dims(), [1, 1, 2]);
        assert_eq!(words.counts(), [1]);
    }

    #[test]
    fn valid_rows_leave_padding_out() {
        let words = Words::normalized(&raw(), vec![1, 2]).unwrap();
        let rows = words.valid_rows().unwrap();
        assert_eq!(rows.dims(), [3, 2]);
        let whole = Words::normalized(&raw(), vec![2, 2])
            .unwrap()
            .valid_rows()
            .unwrap();
        let [first, .., last] = &whole.to_vec2::<f32>().unwrap()[..] else {
            panic!("four rows")
        };
        let found = rows.to_vec2::<f32>().unwrap();
        assert_eq!((&found[0], &found[2]), (first, last));
    }

    #[test]
    fn a_count_of_zero_or_beyond_the_rows_is_refused() {
        for counts in [vec![0, 1], vec![1, 3]] {
            let message = Words::normalized(&raw(), counts).unwrap_err().to_string();
            assert!(message.contains("expected 1 to 2"), "{message}");
        }
        let message = Words::normalized(&raw(), vec![1]).unwrap_err().to_string();
        assert!(
            message.contains("expected 2 along entries, found 1"),
            "{message}"
        );
    }
}
