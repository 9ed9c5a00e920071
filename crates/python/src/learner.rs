//! The threshold of least error, and its learner.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pythonize::{depythonize, pythonize};
use uard_relevance::{
    Distribution, DistributionKind, LearnedThreshold, LearnerConfig, Samples, least_error_threshold,
};

use crate::arrays;
use crate::batch::Batch;
use crate::error::{OrException, wrong};
use crate::settings;

/// The threshold that separates relevant from irrelevant samples of relevance with the least error.
///
/// distributions: "normal" or "empirical".
/// penalty: the cost of an irrelevant sample above the threshold; a relevant sample below it costs 1.
#[pyfunction]
#[pyo3(signature = (relevant, irrelevant, *, distributions="normal", penalty=1.0))]
pub fn threshold(
    relevant: &Bound<'_, PyAny>,
    irrelevant: &Bound<'_, PyAny>,
    distributions: &str,
    penalty: f64,
) -> PyResult<f64> {
    let kind: DistributionKind = distributions.parse().or_exception()?;
    let fitted = |what, samples| {
        let samples = arrays::vector(what, samples)?;
        let fitted = Distribution::from_samples(kind, &samples);
        fitted.map_err(|error| wrong(format!("{what}: {error}")))
    };
    let relevant = fitted("relevant", relevant)?;
    let irrelevant = fitted("irrelevant", irrelevant)?;
    least_error_threshold(&relevant, &irrelevant, penalty).or_exception()
}

/// Learns the threshold while a model trains: call `observe` or `update` once for each batch, and match the
/// next batch with `threshold`. Settings, with their defaults:
///
/// captions="ranked_first" (or "all"): which captions give samples.
/// sampling="easiest" (or "hardest", "random", "all"): which mismatched images do.
/// distributions="normal" (or "empirical"), penalty=1.0: as of `threshold`.
/// smoothing=0.7: the share of the new threshold in an update.
/// minimum_samples=200: with fewer on a side the threshold stays.
/// first_threshold=0.0: the one before any update.
/// carry="across_batches" (or "restart"): with what an update averages, the last or the first threshold.
#[pyclass(module = "uard")]
pub struct ThresholdLearner {
    learner: uard_relevance::ThresholdLearner,
}

#[pymethods]
impl ThresholdLearner {
    #[new]
    #[pyo3(signature = (**settings))]
    fn new(settings: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let config = config(settings)?;
        let learner = uard_relevance::ThresholdLearner::new(config).or_exception()?;
        Ok(Self { learner })
    }

    /// A learner that continues with the `state` of an earlier one.
    #[staticmethod]
    #[pyo3(signature = (state, **settings))]
    fn resume(state: &Bound<'_, PyAny>, settings: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let learned: LearnedThreshold =
            depythonize(state).map_err(|error| wrong(format!("state: {error}")))?;
        let learner = uard_relevance::ThresholdLearner::resume(config(settings)?, learned);
        Ok(Self {
            learner: learner.or_exception()?,
        })
    }

    /// How pickle and copy make another one.
    fn __reduce__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = this.py();
        let learner = &this.borrow().learner;
        let (state, config) = (learner.learned(), learner.config());
        let arguments = PyTuple::new(py, [pythonize(py, state)?, pythonize(py, config)?])?;
        let restored = this.get_type().getattr("_restored")?;
        PyTuple::new(py, [restored, arguments.into_any()])
    }

    #[staticmethod]
    fn _restored(state: &Bound<'_, PyAny>, config: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (learned, config) = (depythonize(state)?, depythonize(config)?);
        let learner = uard_relevance::ThresholdLearner::resume(config, learned);
        Ok(Self {
            learner: learner.or_exception()?,
        })
    }

    /// The threshold, from 0 to 1.
    #[getter]
    fn threshold(&self) -> f64 {
        self.learner.threshold()
    }

    /// The threshold with what it was learned from, as a dictionary to be stored with the weights.
    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(pythonize(py, self.learner.learned())?)
    }

    /// Moves the threshold by samples: the highest relevance of words in their own images, and in others.
    /// Returns whether it moved and why not, in words.
    fn update(
        &mut self,
        relevant: &Bound<'_, PyAny>,
        irrelevant: &Bound<'_, PyAny>,
    ) -> PyResult<String> {
        let update = self.learner.update(&Samples {
            relevant: arrays::vector("relevant", relevant)?,
            irrelevant: arrays::vector("irrelevant", irrelevant)?,
        });
        Ok(update.to_string())
    }

    /// Samples a batch and moves the threshold.
    ///
    /// image_of_caption: for each caption the index of its image in the batch.
    fn observe(&mut self, batch: &Batch, image_of_caption: &Bound<'_, PyAny>) -> PyResult<String> {
        let image_of_caption = arrays::integers("image_of_caption", image_of_caption, 1)?.values;
        let captions = batch.captions();
        if image_of_caption.len() != captions {
            return Err(wrong(format!(
                "image_of_caption: found {} numbers, expected one for each of {captions} captions",
                image_of_caption.len()
            )));
        }
        let update = self.learner.observe(&batch.similarities, &image_of_caption);
        Ok(update.or_exception()?.to_string())
    }
}

fn config(given: Option<&Bound<'_, PyDict>>) -> PyResult<LearnerConfig> {
    for epochs in ["hold_epochs", "anneal_epochs"] {
        if given.map_or(Ok(false), |given| given.contains(epochs))? {
            return Err(wrong(format!(
                "{epochs}: a learner here knows no epochs; choose the threshold of your first epochs yourself"
            )));
        }
    }
    settings::read(given)
}
