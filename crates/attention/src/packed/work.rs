//! Runs tasks on all threads. Tasks are cut by the data, so results do not depend on threads.

use rayon::prelude::*;

/// Runs every task, in any order, on any thread.
///
/// Under Miri all run on one thread, because Miri is too slow for the thread pool.
pub fn for_each<T: Send>(tasks: Vec<T>, work: impl Fn(T) + Sync + Send) {
    if cfg!(miri) {
        tasks.into_iter().for_each(work);
    } else {
        tasks.into_par_iter().for_each(work);
    }
}

/// The results of `work` for 0..count, in order.
pub fn map<R: Send>(count: usize, work: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    if cfg!(miri) {
        (0..count).map(work).collect()
    } else {
        (0..count).into_par_iter().map(work).collect()
    }
}
