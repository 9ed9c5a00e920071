//! How large is a vision transformer, and of which family? Hugging Face's `config.json`, checked.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::transformer::{Activation, Checks, Feed, Half, LayerNames, LayerShape, Published};

/// The most patches of a photo: time and memory of attention grow with their square.
pub(super) const MOST_PATCHES: usize = 4096;

/// Red, green, blue.
const COLOURS: usize = 3;

/// What `config.json` says of a vision transformer, under its own keys.
///
/// Keys that change nothing here (of training, of heads) are not looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VisionConfig {
    /// The family.
    #[serde(rename = "model_type")]
    pub family: VisionFamily,
    /// Width H of the tokens.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of each attention; they divide the width.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward part; CLIP and SigLIP.
    pub intermediate_size: usize,
    /// The same as a multiple of H; DINOv2.
    pub mlp_ratio: f64,
    /// The activation there.
    pub hidden_act: Activation,
    /// Whether a gate stands there instead (SwiGLU), two thirds as wide; DINOv2's largest.
    pub use_swiglu_ffn: bool,
    /// Added to the variance in each layer norm.
    pub layer_norm_eps: f64,
    /// Pixels down and across that the positions are of.
    pub image_size: usize,
    /// Pixels of a patch, down and across.
    pub patch_size: usize,
    /// Colours; only 3 are read.
    pub num_channels: usize,
    /// Whether queries, keys and values have a bias; only `true` is read.
    pub qkv_bias: bool,
    /// Tokens beside those of the patches and of the class; DINOv2 with registers.
    pub num_register_tokens: usize,
    /// Width of the joint space; CLIP.
    pub projection_dim: usize,
}

/// A family of vision transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VisionFamily {
    /// Radford et al., *Learning Transferable Visual Models From Natural Language Supervision*, 2021.
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

/// What a folder holds.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Holds {
    Clip,
    ClipVisionModel,
    Siglip,
    SiglipVisionModel,
    Dinov2,
    Dinov2WithRegisters,
}

/// What a folder of both halves says beside them.
#[derive(Serialize, Deserialize)]
struct Joint {
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

    /// Reads `config.json` of a folder: of the whole model, or of its vision half alone.
    ///
    /// # Errors
    /// No such file; other JSON; another family or activation; sizes that cannot be: the message
    /// names the file, what was expected and what was found.
    pub fn open(folder: &Path) -> Result<Self> {
        let file = Published::open(folder.join("config.json"))?;
        // What transformers takes for granted where DINOv2's file is silent.
        let small = |config| Self {
            image_size: 224,
            ..config
        };
        let config = match file.family()? {
            Holds::Clip => Self {
                projection_dim: file
                    .over(&Joint {
                        projection_dim: 512,
                    })?
                    .projection_dim,
                ..file.half(Half::Vision).over(&Self::clip())?
            },
            Holds::ClipVisionModel => file.over(&Self::clip())?,
            Holds::Siglip => file.half(Half::Vision).over(&Self::siglip())?,
            Holds::SiglipVisionModel => file.over(&Self::siglip())?,
            Holds::Dinov2 => file.over(&small(Self::dinov2()))?,
            Holds::Dinov2WithRegisters => file.over(&Self {
                patch_size: 16,
                ..small(Self::dinov2_with_registers())
            })?,
        };
        config.check(file.path())?;
        Ok(config)
    }

    /// Whether a network of these sizes can be built; `origin` is named where it cannot.
    ///
    /// # Errors
    /// A size of zero; heads that do not divide the width; an epsilon or ratio that is not above
    /// zero; other than three colours; no biases of queries, keys and values; patches that are
    /// larger than the photo.
    pub fn check(&self, origin: &Path) -> Result<()> {
        let checks = Checks(origin);
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
        match self.patches([self.image_size; 2]) {
            patches if patches > MOST_PATCHES => checks.refuse(
                "image_size",
                format!("at most {MOST_PATCHES} patches of {}", self.patch_size),
                self.image_size,
            ),
            _ => Ok(()),
        }
    }

    /// Patches of a photo of these sides.
    pub(super) fn patches(&self, [height, width]: [usize; 2]) -> usize {
        (height / self.patch_size).saturating_mul(width / self.patch_size)
    }

    /// Patches down, and as many across, that the positions are of.
    pub(super) fn side(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Numbers of a patch's pixels.
    pub(super) fn patch_numbers(&self) -> usize {
        self.patch_size * self.patch_size * COLOURS
    }

    pub(super) fn is_dinov2(&self) -> bool {
        matches!(
            self.family,
            VisionFamily::Dinov2 | VisionFamily::Dinov2WithRegisters
        )
    }

    fn inside(&self) -> usize {
        if !self.is_dinov2() {
            return self.intermediate_size;
        }
        // Rounded as the published code rounds: a gate is two thirds as wide, in steps of 8.
        let whole = (self.hidden_size as f64 * self.mlp_ratio) as usize;
        match self.use_swiglu_ffn {
            true => (whole * 2 / 3).next_multiple_of(8),
            false => whole,
        }
    }

    /// The layers: what their names begin with, what their tensors are called, and their sizes.
    pub(super) fn layers(&self) -> (&'static str, LayerNames, LayerShape) {
        let (before, names) = match self.is_dinov2() {
            true => ("encoder.layer", LayerNames::DINOV2),
            false => ("encoder.layers", LayerNames::CLIP),
        };
        let feed = match self.is_dinov2() && self.use_swiglu_ffn {
            true => Feed::Gated,
            false => Feed::Plain,
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
