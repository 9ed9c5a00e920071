//! The settings of a model: the part of a run's configuration that a trained model is read with.
//!
//! TOML, a section for each part of the method; an unknown key of a section is an error. The
//! defaults are the published settings for Flickr30K.

mod allowed;
mod images;
mod text;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uard_attention::{Matcher, MatcherConfig, Precision};
use uard_data::dataset::is_split_name;
use uard_features::text::gru::TextEncoderConfig;
use uard_linalg::matmul::Matmul;
use uard_relevance::EvaluationThreshold;

use crate::{Error, Result};

pub use allowed::{Allowed, FRACTION};
pub use images::ImagesConfig;
pub use text::TextConfig;

/// Every setting of a model. The sections of its training are skipped where a configuration has
/// them.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct ModelConfig {
    /// How photographs become regions.
    pub images: ImagesConfig,
    /// The joint space.
    pub model: JointSpaceConfig,
    /// How captions are read and encoded.
    pub text: TextConfig,
    /// The similarity of image and caption.
    pub matcher: MatcherConfig,
    /// The settings of `[training]` that a trained model needs too.
    pub training: ProductsConfig,
    /// How it is evaluated.
    pub evaluation: EvaluationConfig,
}

impl ModelConfig {
    /// Reads and checks the settings of a model in the configuration of a run; `origin` names it in
    /// errors.
    ///
    /// # Errors
    /// The text is not TOML, a key of these sections is unknown, or no model can have a value.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self> {
        let config: Self = read_toml(text, origin)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks every value.
    ///
    /// # Errors
    /// Names the first setting that no model can have, and what is allowed.
    pub fn validate(&self) -> Result<()> {
        allowed::WIDTH.check("model.joint_width", self.model.joint_width as f64)?;
        self.text.validate()?;
        if let EvaluationThreshold::Fixed(threshold) = self.evaluation.threshold {
            FRACTION.check("evaluation.threshold", threshold)?;
        }
        let split = &self.evaluation.split;
        if !is_split_name(split) {
            let expected = "a name as dev or test, which files of the data begin with";
            return Err(Error::setting("evaluation.split", split, expected));
        }
        Matcher::new(self.matcher)?;
        Ok(())
    }

    /// The sizes of the encoder of captions.
    pub(crate) fn text_sizes(&self) -> TextEncoderConfig {
        TextEncoderConfig {
            word_width: self.text.word_width,
            joint_width: self.model.joint_width,
        }
    }
}

/// Reads a configuration; `origin` names it in errors.
///
/// # Errors
/// The text is not TOML, a key is unknown, or a value has another type.
pub fn read_toml<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T> {
    toml::from_str(text).map_err(|cause| Error::Configuration {
        origin: origin.to_owned(),
        cause: cause.to_string().trim_end().to_owned(),
    })
}

/// `[model]`: the joint space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JointSpaceConfig {
    /// Width D of the joint space (1024).
    pub joint_width: usize,
}

impl Default for JointSpaceConfig {
    fn default() -> Self {
        Self { joint_width: 1024 }
    }
}

/// The settings of `[training]` that a trained model needs too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ProductsConfig {
    /// Numbers of the large products.
    pub matmul: Matmul,
}

/// `[evaluation]`: how a model, and each epoch of its training, is evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Split that chooses the best epoch (`dev`).
    pub split: String,
    /// `"learned"` (default), `"relevant_minus_3_std"`, or a number.
    pub threshold: EvaluationThreshold,
    /// `"f32"` (default); `"exact"` has the same ranks, and is faster where the processor
    /// multiplies bf16, but counts what is kept in bf16; `"bf16"` rounds, and so does `"f16"`, which
    /// needs a GPU.
    pub precision: Precision,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            split: "dev".to_owned(),
            threshold: EvaluationThreshold::default(),
            precision: Precision::F32,
        }
    }
}
