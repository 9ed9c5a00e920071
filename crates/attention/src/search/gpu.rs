//! All pairs and lists by our kernels on a GPU, which have no listed pairs and no evidence.

use super::{Pairs, Preserve, Preserved, Progress, TopK};
use crate::evidence::PairEvidence;
use crate::kernel::cuda::DeviceSearch;
use crate::{Engine, Error, Result};

impl Pairs for DeviceSearch<'_> {
    fn similarities(
        &self,
        _: Option<&Preserve<'_>>,
        out: &mut [f32],
        on_progress: Progress<'_>,
    ) -> Result<Preserved> {
        let kept = self.similarities_into(out, on_progress)?;
        Ok(Preserved {
            kept,
            recomputed: 0,
        })
    }

    fn top_k(&self, k: usize, on_progress: Progress<'_>) -> Result<TopK> {
        self.lists(k, on_progress)
    }

    fn listed(&self, _: &[(usize, usize)]) -> Result<Vec<f32>> {
        Err(lacks("listed pairs"))
    }

    fn evidence(&self, _: usize, _: usize) -> Result<PairEvidence> {
        Err(lacks("evidence of a pair"))
    }
}

fn lacks(what: &'static str) -> Error {
    Error::Lacks {
        engine: Engine::Cuda,
        what,
    }
}
