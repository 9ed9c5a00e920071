//! The integration tests of this crate, in one binary, so that the libraries are linked only once.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod driver;
mod import;
mod index;
mod numbers;
mod photographs;
mod resume;
mod search;
mod self_test;
mod serve;
mod study;
mod uard;
mod wrong_input;
