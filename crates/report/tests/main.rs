//! The integration tests of this crate, in one binary: what they link is linked once.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod report;
mod study;
