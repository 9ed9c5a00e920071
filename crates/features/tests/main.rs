//! The integration tests of this crate in one binary, which links its dependencies once.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod bert;
mod extract;
mod flickr8k;
mod photos;
