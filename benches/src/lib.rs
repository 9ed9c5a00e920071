//! The code that `uard-bench` and the criterion benches share: seeded data of real sizes, statistics of
//! rounds, a training step, and the check that a run was quiet enough for a record.

pub mod noise;
pub mod statistics;
pub mod step;
pub mod workload;
