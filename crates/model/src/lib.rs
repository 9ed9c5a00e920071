//! A trained model: its settings, encoders and matcher, its learned threshold, and the checkpoint
//! that stores them.
//!
//! [`Checkpoint`] reads a model, [`Model`] encodes features as regions and captions as words, and
//! [`uard_attention::search::Search`] computes their similarities. A checkpoint of a training run
//! also holds the state of the training, which this crate does not read.
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
//! // Add both to a search.
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
mod words;

pub use checkpoint::{
    Checkpoint, CheckpointDirectory, FORMAT_VERSION, FeatureShape, ModelState, NamedBytes, Pointer,
    STATE, expect_width,
};
pub use config::ModelConfig;
pub use error::{Error, Result};
pub use model::{CAPTIONS_AT_ONCE, IMAGES_AT_ONCE, ImageFeatures, Model};
pub use words::{
    LearnedWord, LearnedWords, WORDS, WordBorders, WordClassifiers, WordDistributions,
    highest_relevance,
};
