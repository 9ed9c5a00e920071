//! Photos: their features, and indexes of them.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use candle_core::{Device, Tensor};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyDict;
use pythonize::pythonize;
use serde::Deserialize;
use uard_attention::Precision;
use uard_cli::{EncoderChoice, IndexModel, IndexOptions, LazyEncoder, PhotoFolders, Updated};
use uard_data::store::{Element, Share, Shares};
use uard_features::backbone::{Photo, PhotoLimits};
use uard_features::extract::{
    Decoded, EncodedRegions, EncoderOptions, Encoding, Extracted, Extraction, OpenEncoder,
    PhotoEncoder, StorePlace, reason,
};
use uard_hub::Hub;
use uard_hub::source::Source;
use uard_linalg::matmul::Matmul;

use crate::arrays;
use crate::error::{OrException, wrong};
use crate::interrupt::stoppable;
use crate::settings;

/// The photos of a folder and of the folders below it, of a list with a path on each line, or one photo, in a
/// fixed order.
#[pyclass(frozen, module = "uard")]
pub struct PhotoList {
    list: uard_features::extract::PhotoList,
}

#[pymethods]
impl PhotoList {
    /// Lists the photos.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let list = py.detach(|| uard_features::extract::PhotoList::open(&path));
        Ok(Self {
            list: list.or_exception()?,
        })
    }

    fn __len__(&self) -> usize {
        self.list.photos().len()
    }

    /// Their ids: paths below the folder, or the lines of the list.
    #[getter]
    fn ids(&self) -> Vec<&str> {
        let photos = self.list.photos().iter();
        photos.map(|photo| photo.id.as_str()).collect()
    }
}

/// A frozen network that finds regions in photos. Arguments are those of `uard extract`.
///
/// name: "inception-v3", "resnet50", "vision-transformer", "bottom-up-attention", "candle:…".
/// weights: a file, a folder, or "hf:OWNER/NAME".
/// regions: a number, "all", or for a detector a range such as "10-100".
/// matmul: "f32", or "bf16", which is faster and less precise.
#[pyclass(frozen, module = "uard")]
pub struct Encoder {
    network: OpenEncoder,
    name: &'static str,
    weights: PathBuf,
}

/// A photo as a file or as its bytes.
#[derive(FromPyObject)]
pub enum GivenPhoto {
    /// The bytes of a file.
    Bytes(PyBackedBytes),
    /// The path of a file.
    Path(PathBuf),
}

/// The keyword arguments of [`Encoder::extract`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StoreSettings {
    split: String,
    part: Option<String>,
    element: Element,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            split: "photos".to_owned(),
            part: None,
            element: Element::F32,
        }
    }
}

#[pymethods]
impl Encoder {
    #[new]
    #[pyo3(signature = (name, weights, *, regions=None, matmul="f32"))]
    fn new(
        py: Python<'_>,
        name: &str,
        weights: &Bound<'_, PyAny>,
        regions: Option<&Bound<'_, PyAny>>,
        matmul: &str,
    ) -> PyResult<Self> {
        let regions = match regions {
            Some(regions) => regions.str()?.to_string(),
            None => "36".to_owned(),
        };
        let options = EncoderOptions {
            kind: name.parse().or_exception()?,
            regions: regions.parse().or_exception()?,
            matmul: matmul_of(matmul)?,
        };
        let weights = source(weights)?;
        py.detach(|| {
            let hub = Hub::from_variables(|name| std::env::var_os(name));
            let weights = options.kind.weights(&weights, &hub).or_exception()?;
            Ok(Self {
                network: options.open(&weights).or_exception()?,
                name: options.kind.name(),
                weights,
            })
        })
    }

    /// Width F of the features.
    #[getter]
    fn width(&self) -> usize {
        self.network.width()
    }

    /// Encodes photos, each a path or the bytes of a file. Returns a dict for each: `features` [R, F] and
    /// `boxes` [R, 4] in pixels of the upright photo, its `width` and `height`, and `error`, which says why
    /// a photo cannot be read; then there is nothing else.
    fn regions<'py>(
        &self,
        py: Python<'py>,
        photos: Vec<GivenPhoto>,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let found = stoppable(py, |stop| encode(self.network.as_ref(), &photos, &stop))?;
        let found = found.into_iter();
        found
            .map(|photo| to_dict(py, photo, self.width()))
            .collect()
    }

    /// Stores the features of listed photos in `out/{split}_store`, or continues a store that was begun.
    ///
    /// split: the name of the split, "photos" without it.
    /// part: with "3/16" only the third of sixteen parts, in a store of its own; `join_stores` makes one of
    ///     them.
    /// element: the number type of the stored features: "f32", or "f16" for half the size.
    #[pyo3(signature = (photos, out, **settings))]
    fn extract<'py>(
        &self,
        py: Python<'py>,
        photos: &PhotoList,
        out: PathBuf,
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let settings: StoreSettings = settings::read(settings)?;
        let share = settings.part.as_deref().map(str::parse::<Share>);
        let extraction = Extraction {
            encoder: self.network.as_ref(),
            name: self.name,
            weights: &self.weights,
            limits: PhotoLimits::default(),
            element: settings.element,
        };
        let place = StorePlace {
            dir: &out,
            split: split_name(&settings.split)?,
            share: share.transpose().or_exception()?,
        };
        let extracted = stoppable(py, |stop| {
            let photos = photos.list.photos();
            extraction.run(place, photos, &|_| (), &stop).or_exception()
        })?;
        match extracted {
            Extracted::Finished(finished) => Ok(pythonize(py, &finished)?),
            Extracted::Stopped => Err(wrong("stopped")),
        }
    }
}

/// The regions of each photo, or the reason why there are none.
pub fn encode(
    network: &dyn PhotoEncoder,
    photos: &[GivenPhoto],
    stop: &AtomicBool,
) -> PyResult<Vec<Result<EncodedRegions<()>, String>>> {
    let mut found = Vec::with_capacity(photos.len());
    let encoding = Encoding {
        encoder: network,
        stop,
    };
    let ran = encoding.run(photos, decode, |batch| {
        found.extend(batch.into_iter().map(|one| one.outcome.map_err(reason)));
        Ok::<_, uard_features::Error>(())
    });
    ran.or_exception()?;
    Ok(found)
}

fn decode(photo: &GivenPhoto) -> uard_features::Result<Decoded<()>> {
    let limits = PhotoLimits::default();
    let photo = match photo {
        GivenPhoto::Path(path) => Photo::open(path, limits)?,
        GivenPhoto::Bytes(bytes) => Photo::decode("the photo", bytes, limits)?,
    };
    Ok(Decoded { photo, details: () })
}

fn to_dict<'py>(
    py: Python<'py>,
    photo: Result<EncodedRegions<()>, String>,
    width: usize,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let EncodedRegions { regions, size, .. } = match photo {
        Ok(found) => found,
        Err(reason) => {
            dict.set_item("error", reason)?;
            return Ok(dict);
        }
    };
    let count = regions.boxes.len();
    let array = |values: Vec<f32>, columns: usize| {
        let rows = Tensor::from_vec(values, (count, columns), &Device::Cpu).or_exception()?;
        arrays::to_numpy(py, &rows)
    };
    dict.set_item("features", array(regions.features, width)?)?;
    dict.set_item("boxes", array(regions.boxes.concat(), 4)?)?;
    dict.set_item("width", size.width)?;
    dict.set_item("height", size.height)?;
    dict.set_item("error", py.None())?;
    Ok(dict)
}

/// Joins the parts of a split, which lie in `folders`, in `out/{split}_store`: the bytes that one extraction
/// would have written.
#[pyfunction]
#[pyo3(signature = (out, folders, *, split="photos"))]
pub fn join_stores<'py>(
    py: Python<'py>,
    out: PathBuf,
    folders: Vec<PathBuf>,
    split: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let split = split_name(split)?;
    if folders.is_empty() {
        return Err(wrong("folders: expected one or more folders with parts"));
    }
    let joined = stoppable(py, |stop| {
        let shares = Shares::open(&folders, split).or_exception()?;
        shares.join(&out, split, &mut |_| (), &stop).or_exception()
    })?;
    match joined {
        Some(finished) => Ok(pythonize(py, &finished)?),
        None => Err(wrong("stopped")),
    }
}

/// Makes and updates indexes of photos with one model, whose network for photos it keeps in memory.
///
/// model: a run or checkpoint.
/// weights, matmul: those of the network, instead of those that the model's configuration names.
/// precision: "f32", "bf16" or "exact", for new indexes. None is "f32".
#[pyclass(frozen, module = "uard")]
pub struct Indexer {
    model: PathBuf,
    /// The hash of the model.
    identity: String,
    precision: Option<Precision>,
    encoder: Mutex<LazyEncoder>,
}

#[pymethods]
impl Indexer {
    #[new]
    #[pyo3(signature = (model, *, weights=None, matmul=None, precision=None))]
    fn new(
        model: PathBuf,
        weights: Option<&Bound<'_, PyAny>>,
        matmul: Option<&str>,
        precision: Option<&str>,
    ) -> PyResult<Self> {
        let precision = precision.map(str::parse).transpose().or_exception()?;
        let choice = EncoderChoice {
            weights: weights.map(source).transpose()?,
            matmul: matmul.map(matmul_of).transpose()?,
        };
        let checkpoint = uard_model::Checkpoint::open(&model).or_exception()?;
        Ok(Self {
            model,
            identity: checkpoint.identity().or_exception()?,
            precision,
            encoder: Mutex::new(choice.into()),
        })
    }

    /// Makes an index in `folder` equal to folders of photos and single photos, as `uard index` does; with
    /// part="3/16" to the third of sixteen parts of them. Photos elsewhere stay in it.
    ///
    /// Returns how many photos are new, changed, moved, removed, unchanged and unreadable, and under `photos`
    /// how many it has; under `problems` the files and folders that were left out, with the reasons.
    #[pyo3(signature = (folder, paths, *, part=None))]
    fn update<'py>(
        &self,
        py: Python<'py>,
        folder: PathBuf,
        paths: Vec<PathBuf>,
        part: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let part = part.map(str::parse).transpose().or_exception()?;
        if paths.is_empty() {
            return Err(wrong("paths: expected one or more folders or photos"));
        }
        let updated = stoppable(py, |stop| {
            let photos = PhotoFolders {
                roots: existing(&paths)?,
                model: self.model(folder)?,
                limits: PhotoLimits::default(),
                part,
                stop: &stop,
            };
            // After a panic only whole photos were written.
            let encoder = self.encoder.lock();
            let mut encoder = encoder.unwrap_or_else(PoisonError::into_inner);
            photos.update(&mut encoder).or_exception()
        })?;
        to_counts(py, &updated)
    }
}

impl Indexer {
    /// The model of an index, which must be the one that was there first: the encoder in memory is for that.
    fn model(&self, folder: PathBuf) -> PyResult<IndexModel> {
        let options = IndexOptions {
            folder,
            model: Some(self.model.clone()),
            precision: self.precision,
        };
        let model = IndexModel::open(options).or_exception()?;
        match model.identity() == self.identity {
            true => Ok(model),
            false => Err(wrong(format!(
                "{}: the model has changed since the Indexer was made; make a new one",
                self.model.display()
            ))),
        }
    }
}

/// Adds the photos of the indexes `others`, which the same model made, to the index in `folder`, without
/// encoding them again. Returns counts as `Indexer.update` does.
#[pyfunction]
pub fn adopt_indexes<'py>(
    py: Python<'py>,
    folder: PathBuf,
    others: Vec<PathBuf>,
) -> PyResult<Bound<'py, PyAny>> {
    let adopted = stoppable(py, |stop| {
        uard_cli::adopt(&folder, &others, &stop).or_exception()
    })?;
    to_counts(py, &adopted)
}

fn to_counts<'py>(py: Python<'py>, updated: &Updated) -> PyResult<Bound<'py, PyAny>> {
    let counts = pythonize(py, &updated.changes)?;
    counts.set_item("photos", updated.photos)?;
    let unreadable = updated.unreadable.iter();
    let unreadable = unreadable.map(|it| format!("{}: {}", it.file.path.display(), it.reason));
    let left_out = updated.problems.iter().map(ToString::to_string);
    let problems: Vec<String> = unreadable.chain(left_out).collect();
    counts.set_item("problems", problems)?;
    Ok(counts)
}

fn existing(paths: &[PathBuf]) -> PyResult<Vec<PathBuf>> {
    let real = paths.iter().map(|path| {
        let real = path.canonicalize();
        real.with_context(|| format!("cannot open {}", path.display()))
    });
    real.collect::<anyhow::Result<_>>().or_exception()
}

/// Weights that are given as a path or text.
pub fn source(weights: &Bound<'_, PyAny>) -> PyResult<Source> {
    weights.str()?.to_string().parse().or_exception()
}

fn matmul_of(text: &str) -> PyResult<Matmul> {
    uard_cli::matmul(text)
        .map_err(|expected| wrong(format!("matmul: found \"{text}\", {expected}")))
}

/// The name of a split, which becomes part of a file's name.
pub fn split_name(name: &str) -> PyResult<&str> {
    match uard_data::dataset::is_split_name(name) {
        true => Ok(name),
        false => Err(wrong(format!(
            "split: found \"{name}\", expected a name such as train or photos"
        ))),
    }
}
