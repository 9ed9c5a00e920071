//! Similarities, lists of the best, reranking and evidence.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use numpy::{IntoPyArray, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pythonize::pythonize;
use serde::Deserialize;
use uard_attention::search::{Ranked, SearchRegions, SearchWords};
use uard_attention::{
    Engine, Matcher, MatcherConfig, Precision, Regions, Running, Sides, WeightRule, Words, search,
};

use crate::arrays::{self, Given, Slices};
use crate::batch::Batch;
use crate::error::{OrException, wrong};
use crate::interrupt::stoppable;
use crate::packed::{PackedRegions, PackedWords};
use crate::settings;

/// Compares images with captions by one rule of attention, threshold and precision.
///
/// threshold: the relevance, a cosine, above which a region is relevant to a word.
/// rule: "masked", "nearest", "zero", "scan" or "maxsim"; the last three do not use the threshold, and "zero"
///     has 0.
/// sides: "both", "words" or "regions": which have queries.
/// inverse_temperature: multiplies relevance before the softmax. None is 10; for "scan" 9 where words have
///     the queries and 4 where regions have.
/// precision: "f32", "bf16" (faster), or "exact", which has the results of f32 and lists the best in less
///     time, because it screens in bf16. None is "exact", for the engines "tensor" and "reference" "f32".
/// engine: "auto", "scalar", "avx2", "avx512", "amx", "tensor" or "reference".
#[pyclass(frozen, module = "uard")]
pub struct Search {
    matcher: Matcher,
    threshold: f64,
    running: Running,
}

/// The keyword arguments of [`Search`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    rule: String,
    sides: String,
    inverse_temperature: Option<f64>,
    precision: Option<String>,
    engine: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rule: WeightRule::Masked.to_string(),
            sides: Sides::Both.to_string(),
            inverse_temperature: None,
            precision: None,
            engine: Engine::Auto.to_string(),
        }
    }
}

/// The best captions of each image and the best images of each caption, best first.
#[pyclass(frozen, get_all, module = "uard")]
pub struct TopK {
    /// Indices of captions, [I, k], int64.
    captions: Py<PyArray2<i64>>,
    /// Their similarities, [I, k], float32.
    caption_similarities: Py<PyArray2<f32>>,
    /// Indices of images, [C, k], int64.
    images: Py<PyArray2<i64>>,
    /// Their similarities, [C, k], float32.
    image_similarities: Py<PyArray2<f32>>,
}

/// Regions or words as they were given: packed, or arrays.
enum Input<'py, P: pyo3::PyClass> {
    Packed(Bound<'py, P>),
    Arrays(Given<'py>),
}

/// The same, to be read without the GIL.
enum Vectors<'a, P> {
    Packed(&'a P),
    Arrays(Slices<'a>),
}

macro_rules! input {
    ($($packed:ident, $other:ident, $batch:ident, $what:literal, $collect:ident, $collected:ident, $builder:ident;)*) => {$(
        impl<'py> FromPyObject<'_, 'py> for Input<'py, $packed> {
            type Error = PyErr;

            fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
                let is_other = value.is_instance_of::<$other>();
                let with_counts = value.cast::<PyTuple>().ok().and_then(|it| it.get_item(0).ok());
                if is_other || with_counts.is_some_and(|it| it.is_instance_of::<$packed>()) {
                    return Err(wrong(concat!(
                        $what, ": expected ", stringify!($packed),
                        " without counts, which they have, or arrays"
                    )));
                }
                match value.cast::<$packed>() {
                    Ok(packed) => Ok(Self::Packed(packed.to_owned())),
                    Err(_) => Ok(Self::Arrays(arrays::read($what, &value)?)),
                }
            }
        }

        impl Input<'_, $packed> {
            fn vectors(&self) -> PyResult<Vectors<'_, uard_attention::$packed>> {
                Ok(match self {
                    Self::Packed(packed) => Vectors::Packed(&packed.get().packed),
                    Self::Arrays(given) => Vectors::Arrays(given.slices()?),
                })
            }
        }

        impl Vectors<'_, uard_attention::$packed> {
            fn entries(&self) -> usize {
                match self {
                    Self::Packed(packed) => packed.counts().len(),
                    Self::Arrays(slices) => slices.entries(),
                }
            }

            fn $collect(
                &self,
                search: &search::Search,
                stop: &AtomicBool,
            ) -> PyResult<$collected> {
                let slices = match self {
                    Self::Packed(packed) => return Ok((*packed).into()),
                    Self::Arrays(slices) => slices,
                };
                let mut builder = search.$builder(slices.width()).or_exception()?;
                slices.batches(stop, |batch, counts| {
                    let batch = $batch::normalized(batch, counts).or_exception()?;
                    builder.push(&batch).or_exception()
                })?;
                builder.finish().or_exception()
            }
        }
    )*};
}

input!(
    PackedRegions, PackedWords, Regions, "regions", collect_regions, SearchRegions, regions;
    PackedWords, PackedRegions, Words, "words", collect_words, SearchWords, words;
);

#[pymethods]
impl Search {
    #[new]
    #[pyo3(signature = (threshold=None, **settings))]
    fn new(threshold: Option<f64>, settings: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let settings: Settings = settings::read(settings)?;
        let rule: WeightRule = settings.rule.parse().or_exception()?;
        let threshold = match threshold {
            None if rule.takes_threshold() => {
                return Err(wrong(format!(
                    "the rule \"{rule}\" needs a threshold: a learned one, \
                     uard.threshold(relevant, irrelevant), or a cosine from 0 to 1"
                )));
            }
            given => given.unwrap_or(0.0),
        };
        let matcher = Matcher::new(MatcherConfig {
            rule,
            sides: settings.sides.parse().or_exception()?,
            inverse_temperature: settings.inverse_temperature,
        });
        let precision = settings.precision.as_deref();
        Self::of(
            matcher.or_exception()?,
            threshold,
            precision,
            &settings.engine,
        )
    }

    /// The threshold.
    #[getter]
    fn threshold(&self) -> f64 {
        self.threshold
    }

    /// The engine that runs and its precision.
    #[getter]
    fn engine(&self) -> String {
        self.running.to_string()
    }

    /// The similarity of every image with every caption: float32 [I, C].
    ///
    /// regions: an array [I, R, D], such an array with how many of its regions are valid for each image, as
    ///     a tuple (array, counts), a list of arrays [R, D], or PackedRegions.
    /// words: the same with captions and words, or PackedWords.
    fn similarities<'py>(
        &self,
        py: Python<'py>,
        regions: Input<'py, PackedRegions>,
        words: Input<'py, PackedWords>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let (regions, words) = (regions.vectors()?, words.vectors()?);
        let shape = [regions.entries(), words.entries()];
        let found = PyArray2::<f32>::zeros(py, shape, false);
        let mut writable = found.try_readwrite()?;
        let values = writable.as_slice_mut()?;
        self.run(py, &regions, &words, |search, regions, words| {
            search
                .similarities_into(regions, words, values)
                .or_exception()
        })?;
        Ok(found)
    }

    /// The k best captions of each image and the k best images of each caption, best first; all of them
    /// where there are fewer. Arguments as of `similarities`.
    fn top_k<'py>(
        &self,
        py: Python<'py>,
        regions: Input<'py, PackedRegions>,
        words: Input<'py, PackedWords>,
        k: usize,
    ) -> PyResult<TopK> {
        let (regions, words) = (regions.vectors()?, words.vectors()?);
        let shape = [regions.entries(), words.entries()];
        let found = self.run(py, &regions, &words, |search, regions, words| {
            search.top_k(regions, words, k).or_exception()
        })?;
        let [images, captions] = shape;
        let (of_images, of_captions) = (&found.captions_of_images, &found.images_of_captions);
        let lengths = [k.min(captions), k.min(images)];
        Ok(TopK {
            captions: list(py, of_images, lengths[0], |entry| entry.index as i64)?,
            caption_similarities: list(py, of_images, lengths[0], |entry| entry.similarity)?,
            images: list(py, of_captions, lengths[1], |entry| entry.index as i64)?,
            image_similarities: list(py, of_captions, lengths[1], |entry| entry.similarity)?,
        })
    }

    /// The similarity of each caption with some images only: float32 [C, K] for candidates [C, K] of
    /// integers, the images that another index found. Other arguments as of `similarities`.
    fn rerank<'py>(
        &self,
        py: Python<'py>,
        regions: Input<'py, PackedRegions>,
        words: Input<'py, PackedWords>,
        candidates: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let (regions, words) = (regions.vectors()?, words.vectors()?);
        let candidates = arrays::integers("candidates", candidates, 2)?;
        let (captions, each) = (candidates.shape[0], candidates.shape[1]);
        if captions != words.entries() {
            return Err(wrong(format!(
                "candidates have {captions} rows, expected one for each of {} captions",
                words.entries()
            )));
        }
        let found = self.run(py, &regions, &words, |search, regions, words| {
            let mut found = Vec::with_capacity(captions * each);
            for (caption, images) in candidates.values.chunks(each.max(1)).enumerate() {
                let similarities = search.images_for_caption(&regions, &words, caption, images);
                found.extend(similarities.or_exception()?);
            }
            Ok(found)
        })?;
        found.into_pyarray(py).reshape([captions, each])
    }

    /// What each word of a caption finds in an image: {"similarity", "words": [{"word", "best_region",
    /// "relevance", "answered", "regions": [{"region", "relevance", "weight"}]}]}. A word is answered if a
    /// region is above the threshold. Arguments as of `similarities`.
    #[pyo3(signature = (regions, words, image=0, caption=0))]
    fn evidence<'py>(
        this: &Bound<'py, Self>,
        regions: Input<'py, PackedRegions>,
        words: Input<'py, PackedWords>,
        image: usize,
        caption: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let (regions, words) = (regions.vectors()?, words.vectors()?);
        let evidence = this
            .get()
            .run(py, &regions, &words, |search, regions, words| {
                let found = search.evidence(regions, words, image, caption);
                found.or_exception()
            })?;
        Ok(pythonize(py, &evidence)?)
    }

    /// Similarities of a batch for training, with gradients and the samples that a ThresholdLearner reads;
    /// `uard.torch` calls it.
    ///
    /// regions: [I, R, D], words: [C, W, D], both float32 or both float64; or tuples (array, counts). Products
    /// are in these numbers, whatever engine and precision; where a row is not finite, results are NaN.
    fn batch(
        &self,
        py: Python<'_>,
        regions: &Bound<'_, PyAny>,
        words: &Bound<'_, PyAny>,
    ) -> PyResult<Batch> {
        let regions = arrays::batch("regions", regions)?;
        let words = arrays::batch("words", words)?;
        let (matcher, threshold) = (self.matcher, self.threshold);
        stoppable(py, |_| Batch::new(&matcher, threshold, regions, words))
    }
}

impl Search {
    /// A search by an engine with a name; without a precision, "exact" if the engine has it.
    pub fn of(
        matcher: Matcher,
        threshold: f64,
        precision: Option<&str>,
        engine: &str,
    ) -> PyResult<Self> {
        let engine: Engine = engine.parse().or_exception()?;
        let precision: Precision = match precision {
            Some(name) => name.parse().or_exception()?,
            None if engine.is_packed() => Precision::Exact,
            None => Precision::F32,
        };
        let running = engine.open(Some(precision), &Device::Cpu).or_exception()?;
        search::Search::on(&matcher, threshold, &running).or_exception()?;
        Ok(Self {
            matcher,
            threshold,
            running,
        })
    }

    /// Packs what is not packed and calls `work`, without the GIL.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        regions: &Vectors<'_, uard_attention::PackedRegions>,
        words: &Vectors<'_, uard_attention::PackedWords>,
        work: impl FnOnce(&search::Search, SearchRegions, SearchWords) -> PyResult<T> + Send,
    ) -> PyResult<T> {
        stoppable(py, |stop| {
            let search = search::Search::on(&self.matcher, self.threshold, &self.running);
            let search = search.or_exception()?.stopped_by(Arc::clone(&stop));
            work(
                &search,
                regions.collect_regions(&search, &stop)?,
                words.collect_words(&search, &stop)?,
            )
        })
    }
}

/// One number of each entry of some lists of equal length, as an array [lists, length].
fn list<T: numpy::Element>(
    py: Python<'_>,
    lists: &[Vec<Ranked>],
    length: usize,
    number: impl Fn(&Ranked) -> T,
) -> PyResult<Py<PyArray2<T>>> {
    let numbers: Vec<T> = lists.iter().flatten().map(number).collect();
    let array = numbers.into_pyarray(py).reshape([lists.len(), length])?;
    Ok(array.unbind())
}
