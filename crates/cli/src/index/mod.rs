//! Makes and updates indexes of photos: encodes photos, or takes features that were computed before, or the
//! photos of other indexes, and stores them with [`uard_search`].

pub mod adopting;
pub mod batch;
pub mod features;
pub mod model;
pub mod paths;
mod photo;
pub mod photos;
pub mod query_photo;
pub mod report;
pub mod watching;
