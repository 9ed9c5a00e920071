//! The threshold of least error, and its learner.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use pythonize::{depythonize, pythonize};
use uard_relevance::{
    Distribution, DistributionKind, LearnedThreshold, LearnerConfig, Samples, least_error_threshold,
};

use crate::arrays;
use crate::batch::Batch;
use crate::error::OrException;

/// The threshold that separates relevant from irrelevant samples of relevance with the least error.
///
/// distributions: "normal" or "empirical".
/// penalty: what accepting an irrelevant sample costs, when refusing a relevant one costs 1.
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
        Distribution::from_samples(kind, &samples).or_exception()
    };
    let relevant = fitted("relevant", relevant)?;
    let irrelevant = fitted("irrelevant", irrelevant)?;
    least_error_threshold(&relevant, &irrelevant, penalty).or_exception()
}

/// Learns the threshold while a model trains: call `observe` or `update` once for each batch, and match the
/// next batch with `threshold`. Settings are those of the table `[threshold]` of a configuration.
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
        let learned: LearnedThreshold = depythonize(state).or_exception()?;
        let learner = uard_relevance::ThresholdLearner::resume(config(settings)?, learned);
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
    fn observe(&mut self, batch: &Batch, image_of_caption: Vec<usize>) -> PyResult<String> {
        let update = self.learner.observe(&batch.similarities, &image_of_caption);
        Ok(update.or_exception()?.to_string())
    }
}

fn config(settings: Option<&Bound<'_, PyDict>>) -> PyResult<LearnerConfig> {
    match settings {
        Some(settings) => depythonize(settings).or_exception(),
        None => Ok(LearnerConfig::default()),
    }
}
