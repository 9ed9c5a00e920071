//! What do `uard-bench` and the criterion benches share? Seeded data of real sizes, statistics of
//! rounds, a training step, and the verdict whether a run was quiet enough to be believed.

pub mod noise;
pub mod statistics;
pub mod step;
pub mod workload;
