//! Photo search. An index on disk holds the data of each photo in an SQLite database, and the packed regions
//! that a search reads in files beside it.
//!
//! ```text
//! index.sqlite        for each photo: path, size, time, inode, content hash, date, camera,
//!                     coordinates, segment and position in it, thumbnail and boxes; the files that
//!                     could not be read; the model that made the index
//! segment-N.packed    packed regions of some photos and the mean of those of each, in the format of
//!                     docs/packed-format.md
//! model/              the files of the model, and the words that it has learned; written by the caller
//! .lock               exists while a process writes
//! ```
//!
//! A segment file is never changed. It is written, brought to disk and renamed to its name; then one
//! transaction adds its photos to the database. So an index always has the state of its last
//! transaction: a process that is interrupted at any moment leaves the state before its last call or
//! after it. One process at a time has a [`Writer`]; any number of processes have an [`Index`]
//! meanwhile.
//!
//! To update an index, [`Scan::folders`] lists the photos in folders, [`Index::plan`] compares them
//! with the index, [`Exif::read`] reads the EXIF data of new photos, and the [`Writer`] stores the
//! results. The caller encodes the photos. A [`Searcher`] opens an index with the copy of its model in
//! the folder `model`, and answers queries ([`query::Query`]) with the photos that show what is asked
//! for ([`answer::Answer`]).
//!
//! ```
//! use std::path::PathBuf;
//!
//! use candle_core::{Device, Tensor};
//! use uard_attention::Precision;
//! use uard_core::Regions;
//! use uard_search::{
//!     ContentHash, Filter, Index, ModelIdentity, NewPhoto, PhotoFile, PhotoMetadata, Preview,
//!     Writer,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let model = ModelIdentity {
//!     hash: "5f2c".to_owned(),
//!     threshold: 0.3,
//!     encoder: "resnet50".to_owned(),
//!     width: 2,
//!     precision: Precision::F32,
//! };
//! let mut writer = Index::create(folder, &model)?;
//! // Two photos of one region each, taken in two years.
//! let photo = |path: &str, year: &str| -> uard_search::Result<NewPhoto> {
//!     let date = Some(year.parse()?);
//!     Ok(NewPhoto {
//!         file: PhotoFile { path: PathBuf::from(path), bytes: 4, modified: 0, inode: 0 },
//!         content: ContentHash::hash(path.as_bytes()),
//!         metadata: PhotoMetadata { width: 640, height: 480, date, ..Default::default() },
//!         preview: Preview { thumbnail: Vec::new(), boxes: vec![[0.0; 4]] },
//!     })
//! };
//! let photos = [photo("/photos/dog.jpg", "2023")?, photo("/photos/cat.jpg", "2024")?];
//! let regions = Tensor::new(&[[[1f32, 0.0]], [[0.0, 1.0]]], &Device::Cpu)?;
//! let ids = writer.add(&photos, &Regions::normalized(&regions, vec![1, 1])?)?;
//! drop(writer);
//!
//! let mut index = Index::open(folder)?;
//! index.expect_model("5f2c")?;
//! let in_2024 = Filter { from: Some("2024".parse()?), ..Filter::default() };
//! let selection = index.select(&in_2024)?;
//! // The segment holds both photos. A search ranks the images at `positions` only.
//! let segment = &selection.segments[0];
//! assert_eq!(&segment.positions[..], [1]);
//! assert_eq!(segment.photos, [ids[1]]);
//!
//! Writer::open(folder)?.remove(&["/photos/cat.jpg".into()])?;
//! assert_eq!(index.select(&in_2024)?.photos(), 0);
//! assert!(index.check().is_empty());
//! # Ok(())
//! # }
//! ```

mod adopt;
pub mod answer;
mod check;
mod compact;
mod database;
mod error;
mod exif;
mod filter;
mod index;
mod photo;
mod plan;
pub mod query;
mod scan;
mod searcher;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

pub use self::exif::Exif;
pub use adopt::AdoptionCounts;
pub use check::Damage;
pub use compact::CompactionCounts;
pub use error::{Error, Result};
pub use filter::Filter;
pub use index::{FilterValues, Index, IndexSize, ModelIdentity, SelectedSegment, Selection};
pub use photo::{
    ContentHash, Coordinates, Date, IndexedPhoto, NewPhoto, PhotoFile, PhotoId, PhotoMetadata,
    Preview, UnreadablePhoto,
};
pub use plan::UpdatePlan;
pub use scan::{Scan, ScanProblem};
pub use searcher::{
    EncodedPhoto, Exclusion, MODEL, MatchQuality, OrderQuality, PhotoTruth, Pointing, QueryPhoto,
    SearchQuality, SearchRequest, Searcher,
};
pub use writer::{MovedPhoto, Writer};
