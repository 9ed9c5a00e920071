//! The table of candle-transformers' networks, and how each family is built and run.

use std::sync::OnceLock;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::chinese_clip::vision_model::{
    ChineseClipVisionConfig, ChineseClipVisionTransformer,
};
use candle_transformers::models::{blip, blip_text, eva2, fastvit, vit};

use super::Forward;
use super::tensors::{TensorOrigin, Tensors};
use crate::Result;
use crate::backbone::preprocessing::{Filter, Preprocessing};
use crate::transformer::stored_prefix;
use uard_hub::weights::Weights;

/// A supported network.
pub(super) struct Model {
    pub name: &'static str,
    pub preprocessing: Preprocessing,
    pub family: Family,
}

/// A family of networks, with the sizes of one of them.
#[derive(Clone, Copy)]
pub(super) enum Family {
    /// Vasu et al., *FastViT*, ICCV 2023, and the photo halves of MobileCLIP ("mci"); weights have
    /// timm's names.
    FastVit(fn() -> fastvit::Config),
    /// Fang et al., *EVA-02*, 2023, for 448 x 448 pixels; weights have timm's names.
    Eva02(Sizes),
    /// Dosovitskiy et al., *An Image is Worth 16x16 Words*, ICLR 2021, and networks with the same
    /// layers, such as DINO's first version; weights have the names of Hugging Face.
    Vit(Sizes),
    /// The photo half of Li et al., *BLIP*, ICML 2022; weights have the names of Hugging Face.
    Blip(Sizes),
    /// The photo half of Yang et al., *Chinese CLIP*, 2022; weights have the names of Hugging Face.
    ChineseClip(Sizes),
}

/// The sizes of a vision transformer.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// Width of a token; the hidden layer of the feed-forward part is four times as wide.
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
}

const fn small(patch: usize) -> Sizes {
    Sizes {
        width: 384,
        heads: 6,
        ..base(patch)
    }
}

const fn base(patch: usize) -> Sizes {
    Sizes {
        width: 768,
        layers: 12,
        heads: 12,
        patch,
    }
}

const fn large(patch: usize) -> Sizes {
    Sizes {
        width: 1024,
        layers: 24,
        heads: 16,
        patch,
    }
}

/// Colours normalised with ImageNet's mean and deviation.
const IMAGENET: Preprocessing = Preprocessing {
    filter: Filter::Bicubic,
    ..Preprocessing::IMAGENET
};

/// Colours from 0 to 1, for MobileCLIP.
const UNIT: Preprocessing = Preprocessing {
    mean: [0.0; 3],
    deviation: [1.0; 3],
    ..IMAGENET
};

/// Colours from -1 to 1.
const SIGNED: Preprocessing = Preprocessing {
    mean: [0.5; 3],
    deviation: [0.5; 3],
    ..IMAGENET
};

const CLIP: Preprocessing = Preprocessing::CLIP;

const fn fastvit(name: &'static str, config: fn() -> fastvit::Config) -> Model {
    model(name, IMAGENET.stretched(256), Family::FastVit(config))
}

const fn mobile_clip(name: &'static str, config: fn() -> fastvit::Config) -> Model {
    model(name, UNIT.stretched(256), Family::FastVit(config))
}

const fn eva02(name: &'static str, sizes: Sizes) -> Model {
    model(name, CLIP.stretched(448), Family::Eva02(sizes))
}

const fn vit(name: &'static str, colours: Preprocessing, side: u32, sizes: Sizes) -> Model {
    model(name, colours.stretched(side), Family::Vit(sizes))
}

const fn blip(name: &'static str, sizes: Sizes) -> Model {
    model(name, CLIP.stretched(384), Family::Blip(sizes))
}

const fn chinese_clip(name: &'static str, sizes: Sizes) -> Model {
    model(name, CLIP.stretched(224), Family::ChineseClip(sizes))
}

const fn model(name: &'static str, preprocessing: Preprocessing, family: Family) -> Model {
    Model {
        name,
        preprocessing,
        family,
    }
}

pub(super) const MODELS: &[Model] = &[
    fastvit("candle:fastvit_t8", fastvit::Config::t8),
    fastvit("candle:fastvit_t12", fastvit::Config::t12),
    fastvit("candle:fastvit_s12", fastvit::Config::s12),
    fastvit("candle:fastvit_sa12", fastvit::Config::sa12),
    fastvit("candle:fastvit_sa24", fastvit::Config::sa24),
    fastvit("candle:fastvit_sa36", fastvit::Config::sa36),
    fastvit("candle:fastvit_ma36", fastvit::Config::ma36),
    mobile_clip("candle:fastvit_mci0", fastvit::Config::mci0),
    mobile_clip("candle:fastvit_mci1", fastvit::Config::mci1),
    mobile_clip("candle:fastvit_mci2", fastvit::Config::mci2),
    eva02("candle:eva02_base_patch14_448", base(14)),
    eva02("candle:eva02_large_patch14_448", large(14)),
    vit("candle:vit_base_patch16_224", SIGNED, 224, base(16)),
    vit("candle:vit_base_patch16_384", SIGNED, 384, base(16)),
    vit("candle:vit_base_patch32_384", SIGNED, 384, base(32)),
    vit("candle:vit_large_patch16_224", SIGNED, 224, large(16)),
    vit("candle:dino_vits16", IMAGENET, 224, small(16)),
    vit("candle:dino_vitb16", IMAGENET, 224, base(16)),
    blip("candle:blip_base", base(16)),
    blip("candle:blip_large", large(16)),
    chinese_clip("candle:chinese_clip_vit_base_patch16", base(16)),
    chinese_clip("candle:chinese_clip_vit_large_patch14", large(14)),
];

impl Model {
    /// Rows and columns of cells, and the width of their features.
    pub(super) fn shape(&self) -> [usize; 3] {
        let (stride, width) = match self.family {
            Family::FastVit(config) => (32, config().in_channels * 16),
            Family::Eva02(sizes)
            | Family::Vit(sizes)
            | Family::Blip(sizes)
            | Family::ChineseClip(sizes) => (sizes.patch, sizes.width),
        };
        let pixels = self.preprocessing.size();
        [pixels.height / stride, pixels.width / stride, width]
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// When a weight that the network uses is missing, has another shape or cannot be read; the
    /// error names it.
    pub(super) fn build(&self, weights: &Weights) -> Result<Forward> {
        // In files of the whole MobileCLIP or of a classifier, names have this prefix.
        let (prefix, first) = match self.family {
            Family::FastVit(_) => ("image_encoder.model.", "stem.0.conv_kxk.0.conv.weight"),
            Family::Vit(_) => ("vit.", "embeddings.cls_token"),
            Family::Eva02(_) | Family::Blip(_) | Family::ChineseClip(_) => ("", ""),
        };
        let first_error = OnceLock::new();
        let tensors = Tensors {
            weights,
            prefix: stored_prefix(weights, prefix, first),
            family: self.family,
            first_error: &first_error,
        };
        let tensors = VarBuilder::from_backend(Box::new(tensors), DType::F32, Device::Cpu);
        let built = self.family.build(tensors, self.preprocessing.size().height);
        match first_error.into_inner() {
            Some(error) => Err(error),
            None => Ok(built?),
        }
    }
}

impl Family {
    fn build(self, tensors: VarBuilder<'_>, side: usize) -> candle_core::Result<Forward> {
        match self {
            Self::FastVit(config) => build_fastvit(&config(), tensors),
            Self::Eva02(sizes) => build_eva02(sizes, tensors),
            Self::Vit(sizes) => build_vit(sizes, side, &tensors),
            Self::Blip(sizes) => build_blip(sizes, side, tensors),
            Self::ChineseClip(sizes) => build_chinese_clip(sizes, side, &tensors),
        }
    }

    /// Where a tensor comes from, by the name that candle-transformers requests.
    pub(super) fn origin(self, name: &str) -> TensorOrigin {
        let begins = |parts: &[&str]| parts.iter().any(|part| name.starts_with(part));
        match self {
            Self::FastVit(config) if fastvit_lacks(&config(), name) => TensorOrigin::Absent,
            // The classifier, and the norm before it.
            Self::Eva02(_) if begins(&["head.", "norm."]) => TensorOrigin::NotRun,
            Self::Eva02(_) if name == "rot_pos_embed" => TensorOrigin::Computed(rotations),
            Self::Blip(_) if begins(&["text_decoder."]) => TensorOrigin::NotRun,
            _ => TensorOrigin::File,
        }
    }
}

/// Whether a FastViT of this size lacks a tensor. candle-transformers requests the tensors of every
/// branch that a block may have, and leaves out the branches whose tensors are absent.
fn fastvit_lacks(config: &fastvit::Config, name: &str) -> bool {
    let among = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    let squeezes = among(&["final_conv."])
        || config.lkc_use_act
            && among(&["stages.2.downsample.proj.0.", "stages.3.downsample.proj.0."]);
    name.starts_with("stages.0.downsample.")
        || among(&[".pos_emb."]) && !(config.attn && name.starts_with("stages.3."))
        || among(&[".se."]) && !squeezes
        || among(&[".identity."]) && among(&["stem.0.", "stem.1.", "final_conv."])
        || among(&[".conv_scale."]) && among(&["stem.2.", ".proj.1.", ".norm."])
        || among(&[".conv_kxk."]) && among(&[".norm."])
}

/// The rotary position embedding of EVA-02, which files do not store. A patch has 32 sines, each
/// twice, then 32 cosines, each twice; the first 16 of each are for the patch's row, the others for
/// its column.
///
/// # Source
/// `RotaryEmbeddingCat` of timm, with the grid of the network's pre-training, 16 x 16.
fn rotations(shape: &[usize]) -> Vec<f32> {
    const TRAINED_SIDE: f64 = 16.0;
    const BANDS: usize = 16;
    let side = shape[0].isqrt();
    let angles = |at: usize| {
        let position = at as f64 / side as f64 * TRAINED_SIDE;
        (0..BANDS).map(move |band| position / libm::pow(10_000.0, band as f64 / BANDS as f64))
    };
    let mut numbers = Vec::with_capacity(shape.iter().product());
    for (row, column) in (0..side * side).map(|at| (at / side, at % side)) {
        for function in [libm::sin, libm::cos] {
            let angles = angles(row).chain(angles(column));
            numbers.extend(angles.flat_map(|angle| [function(angle) as f32; 2]));
        }
    }
    numbers
}

/// The tokens [1, T, F] without the first one, the class token.
fn without_class_token(tokens: &Tensor) -> candle_core::Result<Tensor> {
    tokens.narrow(1, 1, tokens.dim(1)? - 1)?.contiguous()
}

fn build_fastvit(
    config: &fastvit::Config,
    tensors: VarBuilder<'_>,
) -> candle_core::Result<Forward> {
    let network = fastvit::fastvit_no_final_layer(config, tensors)?;
    Ok(Box::new(move |pixels| {
        // [1, F, H', W'] to [H' W', F].
        network.forward(pixels)?.squeeze(0)?.flatten_from(1)?.t()
    }))
}

fn build_eva02(sizes: Sizes, tensors: VarBuilder<'_>) -> candle_core::Result<Forward> {
    let Sizes {
        width,
        layers,
        heads,
        ..
    } = sizes;
    let network = eva2::EVA2VisionTransformer::new(tensors, layers, width, heads)?;
    Ok(Box::new(move |pixels| {
        network.get_intermediate_layers(pixels, &[layers - 1], false, false, false)
    }))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a norm without a backward pass, in a network that is never trained"
)]
fn build_vit(sizes: Sizes, side: usize, tensors: &VarBuilder<'_>) -> candle_core::Result<Forward> {
    let config = vit::Config {
        hidden_size: sizes.width,
        num_hidden_layers: sizes.layers,
        num_attention_heads: sizes.heads,
        intermediate_size: 4 * sizes.width,
        hidden_act: Activation::Gelu,
        layer_norm_eps: 1e-12,
        image_size: side,
        patch_size: sizes.patch,
        num_channels: 3,
        qkv_bias: true,
    };
    let embeddings = vit::Embeddings::new(&config, false, tensors.pp("embeddings"))?;
    let encoder = vit::Encoder::new(&config, tensors.pp("encoder"))?;
    let norm = candle_nn::layer_norm(sizes.width, config.layer_norm_eps, tensors.pp("layernorm"))?;
    Ok(Box::new(move |pixels| {
        let tokens = encoder.forward(&embeddings.forward(pixels, None, false)?)?;
        norm.forward(&without_class_token(&tokens)?)
    }))
}

fn build_blip(sizes: Sizes, side: usize, tensors: VarBuilder<'_>) -> candle_core::Result<Forward> {
    // candle-transformers builds the caption decoder with the photo half. It is never run, so it is
    // as small as possible.
    let text_config = blip_text::Config {
        vocab_size: 1,
        hidden_size: 1,
        encoder_hidden_size: 1,
        intermediate_size: 1,
        projection_dim: 1,
        num_hidden_layers: 1,
        num_attention_heads: 1,
        max_position_embeddings: 1,
        hidden_act: Activation::Gelu,
        layer_norm_eps: 1e-12,
        is_decoder: true,
    };
    let config = blip::Config {
        text_config,
        vision_config: blip::VisionConfig {
            hidden_size: sizes.width,
            intermediate_size: 4 * sizes.width,
            projection_dim: 1,
            num_hidden_layers: sizes.layers,
            num_attention_heads: sizes.heads,
            image_size: side,
            patch_size: sizes.patch,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-5,
        },
        projection_dim: 1,
        image_text_hidden_size: 1,
    };
    let whole = blip::BlipForConditionalGeneration::new(&config, tensors)?;
    let network = whole.vision_model().clone();
    Ok(Box::new(move |pixels| {
        without_class_token(&network.forward(pixels)?)
    }))
}

fn build_chinese_clip(
    sizes: Sizes,
    side: usize,
    tensors: &VarBuilder<'_>,
) -> candle_core::Result<Forward> {
    let config = ChineseClipVisionConfig {
        hidden_size: sizes.width,
        intermediate_size: 4 * sizes.width,
        num_hidden_layers: sizes.layers,
        num_attention_heads: sizes.heads,
        image_size: side,
        patch_size: sizes.patch,
        ..ChineseClipVisionConfig::default()
    };
    let network = ChineseClipVisionTransformer::new(tensors.pp("vision_model"), &config)?;
    Ok(Box::new(move |pixels| {
        let states = network.output_hidden_states(pixels)?;
        // The last entry is the pooled token; the one before it is the output of the last layer.
        without_class_token(&states[states.len() - 2])
    }))
}
