//! Recall of a matrix of similarities.

use numpy::{PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pythonize::pythonize;
use uard_eval::{GroundTruth, SimilarityMatrix, evaluate};

use crate::arrays;
use crate::error::{OrException, wrong};

/// Recall of both directions from the similarities [I, C] of all images and captions: {"protocol", "images",
/// "captions", "image_to_text": {"r1", "r5", "r10", "median_rank", "mean_rank"}, "text_to_image": {…},
/// "rsum"}, in percent. Ties count against a match; an image without captions is no query.
///
/// image_of_caption: for each caption the index of its image. None: the captions are in the order of their
/// images, as many for each.
#[pyfunction]
#[pyo3(signature = (similarities, image_of_caption=None))]
pub fn recall<'py>(
    similarities: &Bound<'py, PyAny>,
    image_of_caption: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = similarities.py();
    let array = arrays::floats::<f64>("similarities", similarities)?;
    let shape = arrays::shape_of(&array)?;
    let &[images, captions] = shape.as_slice() else {
        return Err(wrong(format!(
            "similarities: found shape {shape:?}, expected [I, C]"
        )));
    };
    let image_of_caption = match image_of_caption {
        Some(map) => Some(arrays::integers("image_of_caption", &map, 1)?.values),
        None if captions % images.max(1) != 0 => {
            return Err(wrong(format!(
                "{captions} captions cannot be shared equally by {images} images: give image_of_caption"
            )));
        }
        None => None,
    };
    let values = array.cast_into::<PyArray2<f64>>()?.to_vec()?;
    let report = py.detach(|| -> anyhow::Result<_> {
        let matrix = SimilarityMatrix::new(values, images, captions)?;
        let truth = match image_of_caption {
            Some(map) => GroundTruth::from_image_of_caption(&map, images)?,
            None => GroundTruth::per_image(captions / images.max(1), images, captions)?,
        };
        Ok(evaluate(&matrix, &truth)?)
    });
    Ok(pythonize(py, &report.or_exception()?)?)
}
