//! The family and sizes of a vision transformer, read from Hugging Face's `config.json` and
//! checked.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::backbone::maps::Size;
use crate::transformer::{
    Activation, ConfigChecks, FeedForwardKind, Half, LayerNames, LayerShape, PublishedConfig,
};

/// The most patches of a photo: time and memory of attention grow with their square.
pub(super) const MOST_PATCHES: usize = 4096;

/// Channels of the pixels: red, green, blue.
const COLOURS: usize = 3;

/// The vision transformer of a `config.json`, under the file's own keys.
///
/// Keys of training and of classifiers do not change the tokens and are not read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VisionConfig {
    /// The family of models.
    #[serde(rename = "model_type")]
    pub(crate) family: VisionFamily,
    /// H, the width of a token.
    pub(crate) hidden_size: usize,
    /// Number of layers.
    pub(crate) num_hidden_layers: usize,
    /// Number of heads of each attention; divides H.
    pub(crate) num_attention_heads: usize,
    /// Width of the hidden layer of the feed-forward part, for CLIP and SigLIP.
    pub(crate) intermediate_size: usize,
    /// Width of that hidden layer as a multiple of H, for DINOv2.
    pub(crate) mlp_ratio: f64,
    /// The activation of the feed-forward part.
    pub(crate) hidden_act: Activation,
    /// Whether the feed-forward part is gated (SwiGLU), with two thirds of the width; DINOv2's
    /// largest model.
    pub(crate) use_swiglu_ffn: bool,
    /// Added to the variance in each layer norm.
    pub(crate) layer_norm_eps: f64,
    /// Side of the square photos that the position embeddings belong to, in pixels.
    pub(crate) image_size: usize,
    /// Side of a patch, in pixels.
    pub(crate) patch_size: usize,
    /// Channels of the pixels; only 3 is supported.
    pub(crate) num_channels: usize,
    /// Whether queries, keys and values have a bias; only `true` is supported.
    pub(crate) qkv_bias: bool,
    /// Number of register tokens, for DINOv2 with registers.
    pub(crate) num_register_tokens: usize,
    /// Width of the joint space, for CLIP.
    pub(crate) projection_dim: usize,
}

/// A family of vision transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum VisionFamily {
    /// Radford et al., *Learning Transferable Visual Models From Natural Language Supervision*,
    /// 2021.
    #[serde(rename = "clip_vision_model")]
    Clip,
    /// Zhai et al., *Sigmoid Loss for Language Image Pre-Training*, 2023; the first version.
    #[serde(rename = "siglip_vision_model")]
    Siglip,
    /// Oquab et al., *DINOv2: Learning Robust Visual Features without Supervision*, 2023.
    #[serde(rename = "dinov2")]
    Dinov2,
    /// Darcet et al., *Vision Transformers Need Registers*, 2023.
    #[serde(rename = "dinov2_with_registers")]
    Dinov2WithRegisters,
}

/// `model_type` of a file: of a whole model or of its vision half.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ModelType {
    Clip,
    ClipVisionModel,
    Siglip,
    SiglipVisionModel,
    Dinov2,
    Dinov2WithRegisters,
}

/// The keys of a CLIP that belong to neither half.
#[derive(Serialize, Deserialize)]
struct JointConfig {
    projection_dim: usize,
}

impl VisionConfig {
    /// The vision half of `openai/clip-vit-base-patch32`: 12 layers of 768, 7 x 7 patches.
    pub fn clip() -> Self {
        Self {
            family: VisionFamily::Clip,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            mlp_ratio: 4.0,
            hidden_act: Activation::QuickGelu,
            use_swiglu_ffn: false,
            layer_norm_eps: 1e-5,
            image_size: 224,
            patch_size: 32,
            num_channels: COLOURS,
            qkv_bias: true,
            num_register_tokens: 0,
            projection_dim: 512,
        }
    }

    /// The vision half of `google/siglip-base-patch16-224`: 12 layers of 768, 14 x 14 patches.
    pub fn siglip() -> Self {
        Self {
            family: VisionFamily::Siglip,
            hidden_act: Activation::GeluNew,
            layer_norm_eps: 1e-6,
            patch_size: 16,
            ..Self::clip()
        }
    }

    /// `facebook/dinov2-base`: 12 layers of 768, with positions of 37 x 37 patches.
    pub fn dinov2() -> Self {
        Self {
            family: VisionFamily::Dinov2,
            hidden_act: Activation::Gelu,
            image_size: 518,
            patch_size: 14,
            ..Self::siglip()
        }
    }

    /// `facebook/dinov2-with-registers-base`.
    pub fn dinov2_with_registers() -> Self {
        Self {
            family: VisionFamily::Dinov2WithRegisters,
            num_register_tokens: 4,
            ..Self::dinov2()
        }
    }

    /// Reads `config.json` of a folder: that of a whole model, or of its vision half alone.
    ///
    /// # Errors
    /// When the file is missing or has another form, family or activation; those of
    /// [`check`](Self::check). The message names the file, the expected and the found value.
    pub fn open(folder: &Path) -> Result<Self> {
        let file = PublishedConfig::open(folder.join("config.json"))?;
        // The default of Hugging Face's transformers where DINOv2's file lacks the key.
        let small = |config| Self {
            image_size: 224,
            ..config
        };
        let config = match file.family()? {
            ModelType::Clip => Self {
                projection_dim: file
                    .merged_over(&JointConfig {
                        projection_dim: 512,
                    })?
                    .projection_dim,
                ..file.half(Half::Vision).merged_over(&Self::clip())?
            },
            ModelType::ClipVisionModel => file.merged_over(&Self::clip())?,
            ModelType::Siglip => file.half(Half::Vision).merged_over(&Self::siglip())?,
            ModelType::SiglipVisionModel => file.merged_over(&Self::siglip())?,
            ModelType::Dinov2 => file.merged_over(&small(Self::dinov2()))?,
            ModelType::Dinov2WithRegisters => file.merged_over(&Self {
                patch_size: 16,
                ..small(Self::dinov2_with_registers())
            })?,
        };
        config.check(file.path())?;
        Ok(config)
    }

    /// Checks that a network of these sizes can be built. Error messages call the file `origin`.
    ///
    /// # Errors
    /// A size of zero; a number of heads that does not divide the width; an epsilon or ratio that
    /// is not above zero; other than three colours; no biases of queries, keys and values; patches
    /// that are larger than the photo; too many patches.
    pub fn check(&self, origin: &Path) -> Result<()> {
        let checks = ConfigChecks(origin);
        checks.at_least_one(&[
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.inside()),
            ("image_size", self.image_size),
            ("patch_size", self.patch_size),
            ("projection_dim", self.projection_dim),
        ])?;
        checks.heads(self.num_attention_heads, self.hidden_size)?;
        checks.above_zero(&[
            ("layer_norm_eps", self.layer_norm_eps),
            ("mlp_ratio", self.mlp_ratio),
        ])?;
        if self.num_channels != COLOURS {
            checks.refuse("num_channels", "3", self.num_channels)?;
        }
        if !self.qkv_bias {
            checks.refuse("qkv_bias", "true", false)?;
        }
        if self.patch_size > self.image_size {
            let expected = format!("at most image_size {}", self.image_size);
            checks.refuse("patch_size", expected, self.patch_size)?;
        }
        match self.patches(Size::square(self.image_size)) {
            patches if patches > MOST_PATCHES => checks.refuse(
                "image_size",
                format!("at most {MOST_PATCHES} patches of {}", self.patch_size),
                self.image_size,
            ),
            _ => Ok(()),
        }
    }

    /// Number of patches of a photo.
    pub(super) fn patches(&self, photo: Size) -> usize {
        (photo.height / self.patch_size).saturating_mul(photo.width / self.patch_size)
    }

    /// Rows, and as many columns, of the patches that have position embeddings in the file.
    pub(super) fn side(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Numbers of a patch: pixels times colours.
    pub(super) fn patch_numbers(&self) -> usize {
        self.patch_size * self.patch_size * COLOURS
    }

    pub(super) fn is_dinov2(&self) -> bool {
        matches!(
            self.family,
            VisionFamily::Dinov2 | VisionFamily::Dinov2WithRegisters
        )
    }

    /// Width of the hidden layer of the feed-forward part.
    fn inside(&self) -> usize {
        if !self.is_dinov2() {
            return self.intermediate_size;
        }
        // As in the published code: with a gate two thirds of the width, rounded up to a multiple
        // of 8.
        let whole = (self.hidden_size as f64 * self.mlp_ratio) as usize;
        match self.use_swiglu_ffn {
            true => (whole * 2 / 3).next_multiple_of(8),
            false => whole,
        }
    }

    /// The prefix of the layers' names, the names of their tensors, and their sizes.
    pub(super) fn layers(&self) -> (&'static str, LayerNames, LayerShape) {
        let (before, names) = match self.is_dinov2() {
            true => ("encoder.layer", LayerNames::DINOV2),
            false => ("encoder.layers", LayerNames::CLIP),
        };
        let feed = match self.is_dinov2() && self.use_swiglu_ffn {
            true => FeedForwardKind::Gated,
            false => FeedForwardKind::Plain,
        };
        let shape = LayerShape {
            width: self.hidden_size,
            inside: self.inside(),
            feed,
            activation: self.hidden_act,
            epsilon: self.layer_norm_eps,
        };
        (before, names, shape)
    }
}
