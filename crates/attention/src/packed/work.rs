//! How is work spread over threads? Task by task; tasks are cut by data, never by threads.

use rayon::prelude::*;

/// Does every task, in any order, on any thread.
///
/// Miri runs them on one thread: it checks what a task does, and would spend its time in the pool.
pub fn for_each<T: Send>(tasks: Vec<T>, work: impl Fn(T) + Sync + Send) {
    if cfg!(miri) {
        tasks.into_iter().for_each(work);
    } else {
        tasks.into_par_iter().for_each(work);
    }
}

/// The results of 0..count, in order.
pub fn map<R: Send>(count: usize, work: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    if cfg!(miri) {
        (0..count).map(work).collect()
    } else {
        (0..count).into_par_iter().map(work).collect()
    }
}
