//! The native part of the Python package `uard`. Arrays come as anything that NumPy reads and go back as
//! NumPy arrays. The GIL is released meanwhile; Ctrl-C stops packing, searches and encoding, and waits for the
//! batch of a training.
//!
//! Errors of data are `ValueError`, errors of files `OSError`, with the messages of the crates below.
#![allow(
    clippy::needless_pass_by_value,
    reason = "arguments of Python are converted to owned values"
)]

mod arrays;
mod batch;
mod data;
mod error;
mod interrupt;
mod learner;
mod model;
mod packed;
mod photos;
mod recall;
mod search;
mod settings;

/// The functions and classes of `uard`, without those that are written in Python.
#[pyo3::pymodule]
mod _uard {
    #[pymodule_export]
    use super::batch::Batch;
    #[pymodule_export]
    use super::data::Split;
    #[pymodule_export]
    use super::learner::{ThresholdLearner, threshold};
    #[pymodule_export]
    use super::model::{Index, Model};
    #[pymodule_export]
    use super::packed::{PackedRegions, PackedWords};
    #[pymodule_export]
    use super::photos::{Encoder, Indexer, PhotoList, adopt_indexes, join_stores};
    #[pymodule_export]
    use super::recall::recall;
    #[pymodule_export]
    use super::search::{Search, TopK};

    use pyo3::{Bound, PyResult, pyfunction, types::PyModule, types::PyModuleMethods};

    use crate::error::wrong;

    const MOST_THREADS: usize = 1024;

    /// Runs the command `uard` with arguments, the program's name first; returns its exit code.
    #[pyfunction]
    fn main(py: pyo3::Python<'_>, arguments: Vec<std::ffi::OsString>) -> u8 {
        py.detach(|| uard_cli::embedded(arguments))
    }

    /// Sets the number of threads, before the first computation. No result depends on it. Without it there
    /// are `RAYON_NUM_THREADS`, or as many as the process may run at once.
    #[pyfunction]
    fn set_threads(threads: usize) -> PyResult<()> {
        if !(1..=MOST_THREADS).contains(&threads) {
            return Err(wrong(format!(
                "threads: found {threads}, expected 1 to {MOST_THREADS}"
            )));
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build_global().map_err(|_| {
            wrong("threads are running already: call set_threads before anything is computed")
        })
    }

    #[pymodule_init]
    fn version(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
