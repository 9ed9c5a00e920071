//! Arrays of Python as regions and words.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Tensor, WithDType};
use numpy::{
    Element, IntoPyArray, PyArray1, PyArray2, PyArray3, PyArrayDescrMethods, PyArrayMethods,
    PyReadonlyArray2, PyReadonlyArray3, PyUntypedArray, PyUntypedArrayMethods, dtype,
};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::error::{OrException, wrong};

/// How many entries are copied at once while a list or array is packed.
const ENTRIES_AT_ONCE: usize = 128;

/// Regions or words from Python, not yet copied where they are contiguous f32.
pub enum Given<'py> {
    /// An array [N, L, D] with the number of valid rows of each entry.
    Padded {
        /// The array.
        values: PyReadonlyArray3<'py, f32>,
        /// How many rows of each entry are valid.
        counts: Vec<usize>,
    },
    /// An array [L, D] for each entry.
    List(Vec<PyReadonlyArray2<'py, f32>>),
}

/// The numbers of [`Given`], which may be read without the GIL.
pub enum Slices<'a> {
    /// [N, L, D], row-major.
    Padded {
        /// The numbers.
        values: &'a [f32],
        /// How many rows of each entry are valid.
        counts: &'a [usize],
        /// L.
        longest: usize,
        /// D.
        width: usize,
    },
    /// [L, D] of each entry, row-major.
    List {
        /// The numbers of each entry.
        entries: Vec<&'a [f32]>,
        /// D.
        width: usize,
    },
}

/// Reads an argument: a list of arrays [L, D], an array [N, L, D], or a tuple of that with counts.
pub fn read<'py>(what: &str, value: &Bound<'py, PyAny>) -> PyResult<Given<'py>> {
    if value.is_instance_of::<PyList>() {
        let arrays = value.try_iter()?.enumerate().map(|(at, entry)| {
            let array = floats::<f32>(&format!("{what}[{at}]"), &entry?)?;
            let array = array.cast_into::<PyArray2<f32>>();
            let array = array.map_err(|_| wrong(format!("{what}[{at}]: expected shape [L, D]")))?;
            Ok(array.readonly())
        });
        let arrays: Vec<_> = arrays.collect::<PyResult<_>>()?;
        let Some(first) = arrays.first() else {
            return Err(wrong(format!(
                "{what}: a list without arrays has no width; give an array [0, L, D]"
            )));
        };
        let width = first.shape()[1];
        for (at, array) in arrays.iter().enumerate() {
            if array.shape()[1] != width || array.shape()[0] == 0 {
                return Err(wrong(format!(
                    "{what}[{at}]: found shape {:?}, expected one or more rows of width {width}",
                    array.shape()
                )));
            }
        }
        return Ok(Given::List(arrays));
    }
    let (value, counts) = with_counts(what, value)?;
    let array = floats::<f32>(what, &value)?;
    let found = shape_of(&array)?;
    let array = array.cast_into::<PyArray3<f32>>().map_err(|_| {
        wrong(format!(
            "{what}: found shape {found:?}, expected [N, L, D], or a list of arrays [L, D]"
        ))
    })?;
    Ok(Given::Padded {
        counts: checked_counts(what, counts, found[0], found[1])?,
        values: array.readonly(),
    })
}

/// An array, and the counts if it is in a tuple with some.
fn with_counts<'py>(
    what: &str,
    value: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyAny>, Option<Vec<usize>>)> {
    if !value.is_instance_of::<PyTuple>() {
        return Ok((value.clone(), None));
    }
    let pair = value.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>();
    let (array, counts) = pair.map_err(|_| {
        wrong(format!(
            "{what}: a tuple is an array [N, L, D] and N counts; arrays [L, D] are given as a list"
        ))
    })?;
    let counts = integers(&format!("counts of {what}"), &counts, 1)?;
    Ok((array, Some(counts.values)))
}

/// The counts of valid rows; all rows of each entry if none are given.
fn checked_counts(
    what: &str,
    counts: Option<Vec<usize>>,
    entries: usize,
    longest: usize,
) -> PyResult<Vec<usize>> {
    let counts = counts.unwrap_or_else(|| vec![longest; entries]);
    if counts.len() != entries {
        return Err(wrong(format!(
            "counts of {what}: found {} numbers, expected one for each of {entries} entries",
            counts.len()
        )));
    }
    if longest == 0 && entries > 0 {
        return Err(wrong(format!(
            "{what}: the array has no rows for its entries"
        )));
    }
    match counts
        .iter()
        .position(|&count| count == 0 || count > longest)
    {
        None => Ok(counts),
        Some(at) => Err(wrong(format!(
            "counts of {what}: entry {at} has {}, expected 1 to {longest}",
            counts[at]
        ))),
    }
}

/// An array of floating-point numbers as contiguous `T`: itself if it is that, else converted.
pub fn floats<'py, T: Element>(
    what: &str,
    value: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    let array = unmasked(what, value)?;
    let kind = array.cast::<PyUntypedArray>()?.dtype().kind();
    if kind != b'f' {
        return Err(wrong(format!(
            "{what}: found numbers of type {}, expected floating-point numbers",
            array.getattr("dtype")?
        )));
    }
    let layout = ["C_CONTIGUOUS", "ALIGNED"];
    py.import("numpy")?
        .call_method1("require", (array, dtype::<T>(py), layout))
}

/// The shape of an array.
pub fn shape_of(array: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    Ok(array.cast::<PyUntypedArray>()?.shape().to_vec())
}

/// A vector of floating-point numbers.
pub fn vector(what: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    let array = floats::<f32>(what, value)?;
    let array = array.call_method1("reshape", (-1,))?;
    Ok(array.cast_into::<PyArray1<f32>>()?.to_vec()?)
}

/// Integers from 0 on.
pub struct Integers {
    /// Row-major.
    pub values: Vec<usize>,
    /// One or two axes.
    pub shape: Vec<usize>,
}

/// An array of integers from 0 on with a number of axes, such as indices and counts.
pub fn integers(what: &str, value: &Bound<'_, PyAny>, axes: usize) -> PyResult<Integers> {
    let array = unmasked(what, value)?;
    let shape = shape_of(&array)?;
    let kind = array.cast::<PyUntypedArray>()?.dtype().kind();
    let is_empty = shape.contains(&0);
    if shape.len() != axes || !(is_empty || matches!(kind, b'i' | b'u')) {
        let expected = if axes == 1 { "[N]" } else { "[N, K]" };
        return Err(wrong(format!(
            "{what}: found {} of shape {shape:?}, expected integers {expected}",
            array.getattr("dtype")?
        )));
    }
    let values = array.call_method0("ravel")?.call_method0("tolist")?;
    let values = values
        .extract()
        .map_err(|_| wrong(format!("{what}: a number is negative, expected 0 or more")))?;
    Ok(Integers { values, shape })
}

/// A value as an array of NumPy, without a copy where that is possible.
fn unmasked<'py>(what: &str, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let numpy = value.py().import("numpy")?;
    if value.is_instance(&numpy.getattr("ma")?.getattr("MaskedArray")?)? {
        return Err(wrong(format!(
            "{what}: masks are not read; give the valid rows as counts or as a list of arrays"
        )));
    }
    let has_array = value.hasattr("__array__")?;
    match !has_array && value.hasattr("__dlpack__")? {
        true => numpy.call_method1("from_dlpack", (value,)),
        false => numpy.call_method1("asarray", (value,)),
    }
}

/// A batch [N, L, D] for training, with the number of valid rows of each entry.
pub struct TrainingBatch {
    /// f64 if the array has that, else f32.
    pub rows: Tensor,
    /// How many rows of each entry are valid.
    pub counts: Vec<usize>,
}

/// An array [N, L, D] for training.
pub fn batch(what: &str, value: &Bound<'_, PyAny>) -> PyResult<TrainingBatch> {
    let (value, counts) = with_counts(what, value)?;
    let rows = tensor(what, &value)?;
    let &[entries, longest, _] = rows.dims() else {
        return Err(wrong(format!(
            "{what}: found shape {:?}, expected [N, L, D]",
            rows.dims()
        )));
    };
    let counts = checked_counts(what, counts, entries, longest)?;
    Ok(TrainingBatch { rows, counts })
}

/// An array of floating-point numbers as a tensor: f64 if it has that, else f32.
pub fn tensor(what: &str, value: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let array = unmasked(what, value)?;
    match array.cast::<PyUntypedArray>()?.dtype().itemsize() {
        8 => tensor_of::<f64>(what, &array),
        _ => tensor_of::<f32>(what, &array),
    }
}

fn tensor_of<T: Element + WithDType>(what: &str, value: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let array = floats::<T>(what, value)?;
    let shape = shape_of(&array)?;
    let array = array.call_method1("reshape", (-1,))?;
    let array = array.cast_into::<PyArray1<T>>()?.readonly();
    Tensor::from_slice(array.as_slice()?, shape, &Device::Cpu).or_exception()
}

/// A tensor as an array of NumPy, of its own type of number.
pub fn to_numpy<'py>(py: Python<'py>, tensor: &Tensor) -> PyResult<Bound<'py, PyAny>> {
    let shape = tensor.dims().to_vec();
    let flat = tensor.flatten_all().or_exception()?;
    let array = match flat.dtype() {
        DType::F64 => flat
            .to_vec1::<f64>()
            .or_exception()?
            .into_pyarray(py)
            .into_any(),
        _ => flat
            .to_vec1::<f32>()
            .or_exception()?
            .into_pyarray(py)
            .into_any(),
    };
    array.call_method1("reshape", (shape,))
}

impl Given<'_> {
    /// The numbers, without a copy.
    pub fn slices(&self) -> PyResult<Slices<'_>> {
        Ok(match self {
            Self::Padded { values, counts } => {
                let &[_, longest, width] = values.shape() else {
                    unreachable!("PyReadonlyArray3 has three axes");
                };
                Slices::Padded {
                    values: values.as_slice()?,
                    counts,
                    longest,
                    width,
                }
            }
            Self::List(arrays) => {
                let width = arrays.first().map_or(0, |array| array.shape()[1]);
                let entries = arrays.iter().map(|array| Ok(array.as_slice()?));
                Slices::List {
                    entries: entries.collect::<PyResult<_>>()?,
                    width,
                }
            }
        })
    }
}

impl Slices<'_> {
    /// Width D.
    pub fn width(&self) -> usize {
        match self {
            Self::Padded { width, .. } | Self::List { width, .. } => *width,
        }
    }

    /// How many entries there are.
    pub fn entries(&self) -> usize {
        match self {
            Self::Padded { counts, .. } => counts.len(),
            Self::List { entries, .. } => entries.len(),
        }
    }

    /// Calls `on_batch` with tensors [n, L, D], zero behind the valid rows, and the counts of their entries,
    /// until another thread sets `stop`.
    pub fn batches(
        &self,
        stop: &AtomicBool,
        mut on_batch: impl FnMut(&Tensor, Vec<usize>) -> PyResult<()>,
    ) -> PyResult<()> {
        let width = self.width();
        for start in (0..self.entries()).step_by(ENTRIES_AT_ONCE) {
            if stop.load(Ordering::Relaxed) {
                return Err(wrong("stopped"));
            }
            let end = self.entries().min(start + ENTRIES_AT_ONCE);
            let counts: Vec<usize> = (start..end)
                .map(|at| self.rows(at).len() / width.max(1))
                .collect();
            let longest = counts.iter().copied().max().unwrap_or(0);
            let mut padded = vec![0.0; counts.len() * longest * width];
            let own = padded.chunks_exact_mut((longest * width).max(1));
            for (at, out) in (start..end).zip(own) {
                let rows = self.rows(at);
                out[..rows.len()].copy_from_slice(rows);
            }
            let shape = (counts.len(), longest, width);
            let batch = Tensor::from_vec(padded, shape, &Device::Cpu).or_exception()?;
            on_batch(&batch, counts)?;
        }
        Ok(())
    }

    /// The valid rows of an entry.
    fn rows(&self, at: usize) -> &[f32] {
        match self {
            Self::Padded {
                values,
                counts,
                longest,
                width,
            } => &values[at * longest * width..][..counts[at] * width],
            Self::List { entries, .. } => entries[at],
        }
    }
}
