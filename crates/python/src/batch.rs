//! Similarities of a batch with gradients, for training in another framework.

use candle_core::{Tensor, Var};
use pyo3::prelude::*;
use pythonize::pythonize;
use uard_attention::{Matcher, Regions, Similarities, Words};

use crate::arrays::{self, TrainingBatch};
use crate::error::{OrException, wrong};
use crate::interrupt::stoppable;

/// The similarities of a batch, what their gradients need, and what a ThresholdLearner reads.
#[pyclass(frozen, module = "uard")]
pub struct Batch {
    regions: Var,
    words: Var,
    /// The similarities, with their graph.
    pub similarities: Similarities,
}

impl Batch {
    /// Matches every image of a batch with every caption.
    pub fn new(
        matcher: &Matcher,
        threshold: f64,
        regions: TrainingBatch,
        words: TrainingBatch,
    ) -> PyResult<Self> {
        if regions.rows.dtype() != words.rows.dtype() {
            return Err(wrong(format!(
                "regions are {} and words {}: convert one of them",
                regions.rows.dtype().as_str(),
                words.rows.dtype().as_str()
            )));
        }
        let (region_rows, word_rows) = (variable(&regions.rows)?, variable(&words.rows)?);
        let regions = Regions::normalized(&region_rows, regions.counts).or_exception()?;
        let words = Words::normalized(&word_rows, words.counts).or_exception()?;
        let similarities = matcher.similarities(&regions, &words, threshold);
        Ok(Self {
            similarities: similarities.or_exception()?,
            regions: region_rows,
            words: word_rows,
        })
    }
}

impl Batch {
    /// How many captions it has.
    pub fn captions(&self) -> usize {
        self.words.dims()[0]
    }
}

fn variable(rows: &Tensor) -> PyResult<Var> {
    Var::from_tensor(rows).or_exception()
}

#[pymethods]
impl Batch {
    /// The similarity of every pair, [I, C], in the type of the vectors.
    #[getter]
    fn similarities<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        arrays::to_numpy(py, &self.similarities.values)
    }

    /// How many words and regions had something above the threshold (`word_queries`, `region_queries`) and how
    /// many cosines were (`cells`), each with its total.
    #[getter]
    fn kept<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(pythonize(py, &self.similarities.kept().or_exception()?)?)
    }

    /// The gradients of regions [I, R, D] and words [C, W, D] for the gradient [I, C] of the similarities.
    fn backward<'py>(
        &self,
        py: Python<'py>,
        gradient: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let gradient = arrays::tensor("gradient", gradient)?;
        let values = &self.similarities.values;
        if gradient.dims() != values.dims() {
            return Err(wrong(format!(
                "gradient: found shape {:?}, expected {:?}",
                gradient.dims(),
                values.dims()
            )));
        }
        let gradients = stoppable(py, |_| {
            let gradient = gradient.to_dtype(values.dtype()).or_exception()?;
            let sum = (values * gradient).and_then(|products| products.sum_all());
            sum.or_exception()?.backward().or_exception()
        })?;
        let of = |variable: &Var| match gradients.get(variable) {
            Some(gradient) => arrays::to_numpy(py, gradient),
            None => arrays::to_numpy(py, &variable.zeros_like().or_exception()?),
        };
        Ok((of(&self.regions)?, of(&self.words)?))
    }
}
