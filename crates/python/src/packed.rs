//! Packed regions and words: made once, searched often, kept in files.

use std::path::PathBuf;

use pyo3::prelude::*;
use uard_attention::{Precision, Regions, Words};

use crate::arrays;
use crate::error::OrException;
use crate::interrupt::stoppable;

macro_rules! packed {
    ($($type:ident, $batch:ident, $what:literal, $entries:literal;)*) => {$(
        #[doc = concat!("Unit vectors of ", $what, ", packed once for many searches; in memory or mapped from a file.")]
        #[pyclass(frozen, module = "uard")]
        pub struct $type {
            /// The packed vectors, which a clone shares.
            pub packed: uard_attention::$type,
        }

        #[pymethods]
        impl $type {
            #[doc = concat!("Packs ", $what, ": an array [N, L, D], one for each of the N ", $entries, "; a tuple (array, counts) of that with how many of its rows are valid; or a list of arrays [L, D]. Rows are made unit vectors.")]
            #[staticmethod]
            #[pyo3(signature = (vectors, *, precision="exact"))]
            fn pack(
                py: Python<'_>,
                vectors: &Bound<'_, PyAny>,
                precision: &str,
            ) -> PyResult<Self> {
                let precision: Precision = precision.parse().or_exception()?;
                let given = arrays::read($what, vectors)?;
                let slices = given.slices()?;
                stoppable(py, |stop| {
                    let builder = uard_attention::$type::builder(slices.width(), precision);
                    let mut builder = builder.or_exception()?;
                    slices.batches(&stop, |batch, counts| {
                        let batch = $batch::normalized(batch, counts).or_exception()?;
                        builder.push(&batch).or_exception()
                    })?;
                    Ok(Self { packed: builder.finish() })
                })
            }

            /// Maps a file that `save` wrote, without reading its numbers. While it is open the file must not be
            /// changed or cut in place; it may be removed, or replaced by `save`.
            #[staticmethod]
            fn open(path: PathBuf) -> PyResult<Self> {
                let packed = uard_attention::$type::open(&path).or_exception()?;
                Ok(Self { packed })
            }

            /// Writes a file, which `open` maps. An old file of that name stays until the new one is whole.
            fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
                py.detach(|| self.packed.write(&path)).or_exception()
            }

            /// Compares the checksums of all numbers of the file.
            fn verify(&self, py: Python<'_>) -> PyResult<()> {
                py.detach(|| self.packed.verify()).or_exception()
            }

            fn __len__(&self) -> usize {
                self.packed.counts().len()
            }

            #[doc = concat!("How many ", $what, " each of the ", $entries, " has.")]
            #[getter]
            fn counts(&self) -> Vec<usize> {
                self.packed.counts().to_vec()
            }

            /// Width D.
            #[getter]
            fn width(&self) -> usize {
                self.packed.width()
            }

            /// What the vectors were packed for: "f32", "bf16" or "exact".
            #[getter]
            fn precision(&self) -> String {
                self.packed.precision().to_string()
            }
        }
    )*};
}

packed!(
    PackedRegions, Regions, "regions", "images";
    PackedWords, Words, "words", "captions";
);
