//! Trained models and indexes of photos.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use candle_core::{Device, Tensor};
use pyo3::prelude::*;
use pythonize::pythonize;
use uard_cli::{EncoderChoice, LoadedEncoder};
use uard_model::{CAPTIONS_AT_ONCE, Checkpoint, ImageFeatures};
use uard_search::{QueryPhoto, SearchRequest, Searcher};

use crate::arrays::{self, Slices};
use crate::error::{OrException, wrong};
use crate::interrupt::stoppable;
use crate::photos::{self, GivenPhoto};
use crate::search::Search;

/// A trained model, read from a run or checkpoint.
#[pyclass(frozen, module = "uard")]
pub struct Model {
    model: uard_model::Model,
    checkpoint: Checkpoint,
    choice: EncoderChoice,
    /// Loaded when the first photo needs it.
    encoder: Mutex<Option<LoadedEncoder>>,
}

#[pymethods]
impl Model {
    /// Reads a run, of which the best checkpoint is taken, or a checkpoint. `weights` are those of the network
    /// for photos, instead of those that the configuration names: a file, a folder, or "hf:OWNER/NAME".
    #[staticmethod]
    #[pyo3(signature = (path, *, weights=None))]
    fn load(py: Python<'_>, path: PathBuf, weights: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let choice = EncoderChoice {
            weights: weights.map(photos::source).transpose()?,
            matmul: None,
        };
        py.detach(|| {
            let checkpoint = Checkpoint::open(&path).or_exception()?;
            let model = checkpoint.model(&Device::Cpu).or_exception()?;
            Ok(Self {
                model: model.frozen().or_exception()?,
                checkpoint,
                choice,
                encoder: Mutex::default(),
            })
        })
    }

    /// The learned threshold.
    #[getter]
    fn threshold(&self) -> f64 {
        self.checkpoint.threshold(None)
    }

    /// Width D of the joint space.
    #[getter]
    fn width(&self) -> usize {
        self.model.joint_width()
    }

    /// A hash of its weights and settings.
    #[getter]
    fn identity(&self) -> PyResult<String> {
        self.checkpoint.identity().or_exception()
    }

    /// A search with the rule and the threshold that the model was trained with.
    #[pyo3(signature = (*, precision=None, engine="auto"))]
    fn search(&self, precision: Option<&str>, engine: &str) -> PyResult<Search> {
        Search::of(*self.model.matcher(), self.threshold(), precision, engine)
    }

    /// Encodes images: a list of photos, each a path or the bytes of a file; or their features, as `uard
    /// extract` writes them: an array [I, R, F], a tuple (array, counts), or a list of arrays [R, F]. Returns
    /// a list of arrays [R, D], unit vectors of the joint space. A photo that cannot be read is an error;
    /// `Encoder.regions` tells them apart.
    fn regions<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<'py, PyAny>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let encoded = match images.extract::<Vec<GivenPhoto>>() {
            Ok(photos) if !photos.is_empty() => {
                stoppable(py, |stop| self.encode_photos(&photos, &stop))?
            }
            _ => {
                let given = arrays::read("images", images)?;
                let slices = given.slices()?;
                stoppable(py, |stop| self.encode_features(&slices, &stop))?
            }
        };
        to_arrays(py, &encoded)
    }

    /// The words of a caption, each with the rows of `words` that are its vectors.
    fn tokens(&self, caption: &str) -> PyResult<Vec<(String, Vec<usize>)>> {
        let words = self.model.text().words(caption).or_exception()?;
        let words = words.into_iter();
        Ok(words.map(|word| (word.text, word.rows.collect())).collect())
    }

    /// Encodes captions. Returns a list of arrays [W, D], unit vectors of the joint space; `tokens` says
    /// which rows are those of a word.
    fn words<'py>(
        &self,
        py: Python<'py>,
        captions: Vec<String>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let encoded = stoppable(py, |stop| {
            let mut encoded = Vec::new();
            let batches = captions.chunks(CAPTIONS_AT_ONCE);
            for captions in batches.take_while(|_| !stop.load(Ordering::Relaxed)) {
                let words = self.model.texts(captions).or_exception()?;
                encoded.extend(rows(words.rows(), words.counts()).or_exception()?);
            }
            Ok(encoded)
        })?;
        to_arrays(py, &encoded)
    }
}

impl Model {
    fn encode_photos(&self, photos: &[GivenPhoto], stop: &AtomicBool) -> PyResult<Vec<Tensor>> {
        let encoder = self.encoder.lock();
        let mut encoder = encoder.unwrap_or_else(PoisonError::into_inner);
        let loaded = match encoder.take() {
            Some(loaded) => loaded,
            None => {
                LoadedEncoder::load(&self.checkpoint, &self.choice, Path::new("")).or_exception()?
            }
        };
        let loaded = encoder.insert(loaded);
        let found = photos::encode(loaded.network.as_ref(), photos, stop)?;
        let found = found.into_iter().enumerate().map(|(at, outcome)| {
            let outcome = outcome.map_err(|reason| wrong(format!("images[{at}]: {reason}")))?;
            Ok(outcome.regions.features)
        });
        let features: Vec<Vec<f32>> = found.collect::<PyResult<_>>()?;
        let slices = Slices::List {
            entries: features.iter().map(Vec::as_slice).collect(),
            width: loaded.network.width(),
        };
        self.encode_features(&slices, stop)
    }

    fn encode_features(&self, slices: &Slices<'_>, stop: &AtomicBool) -> PyResult<Vec<Tensor>> {
        let mut encoded = Vec::new();
        slices.batches(stop, |batch, counts| {
            encoded.extend(self.encode(batch, counts).or_exception()?);
            Ok(())
        })?;
        Ok(encoded)
    }

    /// The regions of images with features [n, R, F].
    fn encode(&self, features: &Tensor, counts: Vec<usize>) -> anyhow::Result<Vec<Tensor>> {
        let (_, regions, width) = features.dims3()?;
        let images = self.model.images(ImageFeatures {
            values: features.flatten_all()?.to_vec1()?,
            counts,
            regions,
            width,
        })?;
        rows(images.rows(), images.counts())
    }
}

fn to_arrays<'py>(py: Python<'py>, tensors: &[Tensor]) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let arrays = tensors.iter().map(|tensor| arrays::to_numpy(py, tensor));
    arrays.collect()
}

/// The valid rows of each entry, [L, D].
fn rows(padded: &Tensor, counts: &[usize]) -> anyhow::Result<Vec<Tensor>> {
    let entries = counts.iter().enumerate();
    let rows = entries.map(|(at, &count)| Ok(padded.get(at)?.narrow(0, 0, count)?));
    rows.collect()
}

/// An index of photos, which `uard index` made, with its model.
#[pyclass(frozen, module = "uard")]
pub struct Index {
    searcher: Mutex<Searcher>,
}

#[pymethods]
impl Index {
    /// Opens an index.
    #[staticmethod]
    fn open(py: Python<'_>, folder: PathBuf) -> PyResult<Self> {
        let searcher = py.detach(|| Searcher::open(&folder)).or_exception()?;
        Ok(Self {
            searcher: Mutex::new(searcher),
        })
    }

    /// How many photos it has.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let size = py.detach(|| self.locked().index().size()).or_exception()?;
        Ok(size.photos)
    }

    /// A hash of the model that made it.
    #[getter]
    fn model(&self, py: Python<'_>) -> String {
        py.detach(|| self.locked().index().model().hash.clone())
    }

    /// The paths of its photos, in the order of their numbers.
    fn paths(&self, py: Python<'_>) -> PyResult<Vec<PathBuf>> {
        py.detach(|| self.locked().index().paths()).or_exception()
    }

    /// The best photos for a query, as `uard search --format json` prints them.
    #[pyo3(signature = (query, top=10))]
    fn search<'py>(&self, py: Python<'py>, query: &str, top: usize) -> PyResult<Bound<'py, PyAny>> {
        let request = SearchRequest::new(query, top);
        let answer = stoppable(py, |_| self.locked().answer(&request).or_exception())?;
        Ok(pythonize(py, &answer)?)
    }

    /// Each word of a query in one photo of the index: its relevance, whether it is shown, and its box.
    fn explain<'py>(
        &self,
        py: Python<'py>,
        photo: PathBuf,
        query: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let explained = || -> anyhow::Result<_> {
            let mut searcher = self.locked();
            let indexed = searcher.index().photo_at(&photo)?;
            let indexed =
                indexed.with_context(|| format!("{}: not in the index", photo.display()))?;
            Ok(searcher.explain(&QueryPhoto::Indexed(indexed.id), query)?)
        };
        let found = stoppable(py, |_| explained().or_exception())?;
        Ok(pythonize(py, &found)?)
    }
}

impl Index {
    fn locked(&self) -> MutexGuard<'_, Searcher> {
        self.searcher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
