//! The settings of a model: the part of a run's configuration that is needed to load a trained model.
//!
//! TOML with a section for each part of the method; an unknown key within a section is an error. The
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

/// The settings of a model. Sections of a configuration that only training uses are ignored.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct ModelConfig {
    /// The backbone or detector that makes region features of photos.
    pub images: ImagesConfig,
    /// The joint space.
    pub model: JointSpaceConfig,
    /// The text encoder and its tokenizer.
    pub text: TextConfig,
    /// The similarity of image and caption.
    pub matcher: MatcherConfig,
    /// The settings of `[training]` that a trained model needs too.
    pub training: ProductsConfig,
    /// The evaluation.
    pub evaluation: EvaluationConfig,
}

impl ModelConfig {
    /// Reads and checks the settings of a model from the configuration of a run; `origin` names its
    /// source in errors.
    ///
    /// # Errors
    /// When the text is not TOML, a key of these sections is unknown, or a value is out of its range.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self> {
        let config: Self = read_toml(text, origin)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks every value.
    ///
    /// # Errors
    /// Names the first setting that is out of its range, and the range.
    pub fn validate(&self) -> Result<()> {
        allowed::WIDTH.check("model.joint_width", self.model.joint_width as f64)?;
        self.text.validate()?;
        if let EvaluationThreshold::Fixed(threshold) = self.evaluation.threshold {
            FRACTION.check("evaluation.threshold", threshold)?;
        }
        let split = &self.evaluation.split;
        if !is_split_name(split) {
            let expected = "the name of a split, such as dev for the file dev_caps.txt";
            return Err(Error::setting("evaluation.split", split, expected));
        }
        Matcher::new(self.matcher)?;
        Ok(())
    }

    /// The sizes of the text encoder.
    pub(crate) fn text_sizes(&self) -> TextEncoderConfig {
        TextEncoderConfig {
            word_width: self.text.word_width,
            joint_width: self.model.joint_width,
        }
    }
}

/// Reads a configuration; `origin` names its source in errors.
///
/// # Errors
/// When the text is not TOML, a key is unknown, or a value has a wrong type.
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
    /// Precision of the large matrix products.
    pub matmul: Matmul,
}

/// `[evaluation]`: the evaluation of a model, and of each epoch of its training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// The split on which the best epoch is chosen (`dev`).
    pub split: String,
    /// The threshold of relevance: `"learned"` (default), `"relevant_minus_3_std"`, or a number.
    pub threshold: EvaluationThreshold,
    /// The precision of relevance: `"f32"` (default); `"exact"`, which gives the same ranks and is
    /// faster where the processor multiplies bf16, but counts cells above the threshold in bf16;
    /// `"bf16"`, which rounds regions and words; or `"f16"`, which rounds too and needs a GPU.
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
