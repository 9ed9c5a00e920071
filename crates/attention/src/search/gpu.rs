//! All pairs and lists by our kernels on a GPU, which do not compute listed pairs or evidence.

use super::{MatrixOutput, Pairs, Preserve, Preserved, TopK};
use crate::evidence::PairEvidence;
use crate::kernel::cuda::DeviceSearch;
use crate::{Engine, Error, Result};

impl Pairs for DeviceSearch<'_> {
    fn similarities(&self, _: Option<&Preserve<'_>>, out: MatrixOutput<'_>) -> Result<Preserved> {
        let kept = self.similarities_into(out.values, out.on_progress)?;
        Ok(Preserved {
            kept,
            recomputed: 0,
        })
    }

    fn top_k(&self, k: usize) -> Result<TopK> {
        self.lists(k)
    }

    fn listed(&self, _: &[(usize, usize)]) -> Result<Vec<f32>> {
        Err(lacks("listed pairs"))
    }

    fn evidence(&self, _: usize, _: usize) -> Result<PairEvidence> {
        Err(lacks("evidence of a pair"))
    }
}

/// The error for what these kernels do not compute.
fn lacks(what: &'static str) -> Error {
    Error::Lacks {
        engine: Engine::Cuda,
        what,
    }
}
