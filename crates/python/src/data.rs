//! Data directories.

use std::ops::Range;
use std::path::PathBuf;

use candle_core::{Device, Tensor};
use pyo3::prelude::*;

use crate::arrays;
use crate::error::{OrException, wrong};
use crate::photos::split_name;

/// A split of a data directory: the features of its images, and its captions.
#[pyclass(frozen, module = "uard")]
pub struct Split {
    split: uard_data::dataset::Split,
}

#[pymethods]
impl Split {
    /// Opens a split: train, dev, test, … Features are mapped, not read.
    #[staticmethod]
    fn open(py: Python<'_>, data: PathBuf, split: &str) -> PyResult<Self> {
        let split = split_name(split)?;
        let split = py.detach(|| uard_data::dataset::Split::open(&data, split));
        Ok(Self {
            split: split.or_exception()?,
        })
    }

    /// The number of images.
    fn __len__(&self) -> usize {
        self.split.images()
    }

    /// The ids of the images.
    #[getter]
    fn ids(&self) -> Vec<&str> {
        self.split.ids.iter().map(String::as_str).collect()
    }

    /// All captions.
    #[getter]
    fn captions(&self) -> Vec<&str> {
        self.split.captions.iter().map(String::as_str).collect()
    }

    /// The image that each caption is about.
    #[getter]
    fn image_of_caption(&self) -> Vec<usize> {
        self.split.image_of_caption.clone()
    }

    /// The features of the images from `start` to before `stop`, without padding: a list of arrays [R, F].
    fn features<'py>(
        &self,
        py: Python<'py>,
        start: usize,
        stop: usize,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        if start > stop || stop > self.split.images() {
            return Err(wrong(format!(
                "images {start} to {stop}: the split has {}",
                self.split.images()
            )));
        }
        let features = py.detach(|| self.read(start..stop))?;
        let arrays = features.iter().map(|rows| arrays::to_numpy(py, rows));
        arrays.collect()
    }
}

impl Split {
    fn read(&self, images: Range<usize>) -> PyResult<Vec<Tensor>> {
        let store = &self.split.regions;
        let (longest, width) = (store.regions(), store.width());
        let read = images.map(|image| {
            let mut values = vec![0.0; longest * width];
            store.read(image, &mut values).or_exception()?;
            let count = store.count(image);
            values.truncate(count * width);
            Tensor::from_vec(values, (count, width), &Device::Cpu).or_exception()
        });
        read.collect()
    }
}
