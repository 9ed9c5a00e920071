//! A trained model: its settings, its encoders and matcher, the threshold that was learned with
//! them, and the checkpoint that holds all of it on disk.
//!
//! [`Checkpoint`] reads a model, [`Model`] turns features and captions into regions and words, and
//! [`uard_attention::search::Search`] compares those. Nothing here trains: a checkpoint of a run
//! holds the state of its training beside the model, and readers of the model do not need it.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use candle_core::Device;
//! use uard_attention::search::Search;
//! use uard_attention::{Engine, Precision};
//! use uard_model::{Checkpoint, ImageFeatures};
//!
//! let checkpoint = Checkpoint::open(Path::new("runs/scenes"))?;
//! let model = checkpoint.model(&Device::Cpu)?;
//!
//! // One image of two regions, whose features are zeros here, and one caption.
//! let width = checkpoint.state().features.width;
//! let features = ImageFeatures {
//!     values: vec![0.0; 2 * width],
//!     counts: vec![2],
//!     regions: 2,
//!     width,
//! };
//! let regions = model.images(features)?;
//! let words = model.texts(&["a red circle above a square"])?;
//!
//! // Ready to be searched.
//! let running = Engine::Auto.open(Some(Precision::F32), &Device::Cpu)?;
//! let search = Search::on(model.matcher(), checkpoint.threshold(None), &running)?;
//! let mut images = search.regions(model.joint_width())?;
//! images.push(&regions)?;
//! let mut captions = search.words(model.joint_width())?;
//! captions.push(&words)?;
//! # Ok::<(), uard_model::Error>(())
//! ```

mod checkpoint;
pub mod config;
mod error;
mod model;

pub use checkpoint::{
    Checkpoint, CheckpointDirectory, FORMAT_VERSION, FeatureShape, ModelState, NamedBytes, Pointer,
    STATE, expect_width,
};
pub use config::ModelConfig;
pub use error::{Error, Result};
pub use model::{ImageFeatures, Model};
