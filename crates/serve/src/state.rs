//! What all requests share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uard_search::Index;

use crate::encoder::EncoderQueue;
use crate::guard::Access;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::queue::SearchQueue;
use crate::updates::Updates;

pub(crate) type SharedState = Arc<State>;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) searches: SearchQueue,
    pub(crate) index: SharedIndex,
    /// None if photos of this index cannot be encoded.
    pub(crate) encoder: Option<EncoderQueue>,
    pub(crate) updates: Updates,
    pub(crate) access: Access,
    pub(crate) metrics: Arc<Metrics>,
    /// The longest time of an answer.
    pub(crate) timeout: Duration,
}

/// A connection to the index beside the one that searches, for reading what needs no search.
#[derive(Debug, Clone)]
pub(crate) struct SharedIndex(Arc<Mutex<Index>>);

impl SharedIndex {
    pub(crate) fn new(index: Index) -> Self {
        Self(Arc::new(Mutex::new(index)))
    }

    /// Reads from the index, on a thread that may wait for the disk.
    pub(crate) async fn read<T, E>(
        &self,
        read: impl FnOnce(&Index) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        E: Send + 'static,
        Problem: From<E>,
    {
        let index = Arc::clone(&self.0);
        let read = tokio::task::spawn_blocking(move || {
            // A read that panicked has changed nothing.
            read(&index.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let read = read.await.map_err(|error| Problem::failed(&error))?;
        Ok(read?)
    }
}
