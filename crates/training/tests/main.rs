//! The integration tests of this crate, in one binary, which links faster than several.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod configs;
mod learning;
mod resume;
mod tiny;
