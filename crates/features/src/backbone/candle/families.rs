//! The table of networks, and how each family is built and run.

use std::sync::OnceLock;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::{beit, blip, blip_text, chinese_clip, eva2, fastvit, vit};

use super::Forward;
use super::tensors::{Origin, Request, Source, Tensors};
use crate::Result;
use crate::backbone::preprocessing::{Filter, Preprocessing};
use uard_hub::weights::Weights;

/// A network of the table.
pub(super) struct Model {
    pub name: &'static str,
    /// What photos are made into for it.
    pub pixels: Preprocessing,
    pub family: Family,
}

/// A family of networks, and the size of one of them.
#[derive(Clone, Copy)]
pub(super) enum Family {
    /// Vasu et al., *FastViT*, ICCV 2023, and the photo halves of MobileCLIP ("mci"); timm's names.
    FastVit(fn() -> fastvit::Config),
    /// Bao et al., *BEiT*, ICLR 2022, of 384 x 384 pixels; timm's names. candle-transformers takes
    /// tanh for the error function of its GELU.
    Beit(Sizes),
    /// Fang et al., *EVA-02*, 2023, of 448 x 448 pixels; timm's names.
    Eva02(Sizes),
    /// Dosovitskiy et al., *An Image is Worth 16x16 Words*, ICLR 2021, and what has its layers, such
    /// as DINO's first version and the encoder of MAE; the names of Hugging Face.
    Vit(Sizes),
    /// The photo half of Li et al., *BLIP*, ICML 2022; the names of Hugging Face.
    Blip(Sizes),
    /// The photo half of Yang et al., *Chinese CLIP*, 2022; the names of Hugging Face.
    ChineseClip(Sizes),
}

/// Of a vision transformer.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// Of a token; the feed-forward part is four times as wide inside.
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    /// Pixels of a patch, down and across.
    pub patch: usize,
}

/// A vision transformer of 12 layers.
const fn base(patch: usize) -> Sizes {
    Sizes {
        width: 768,
        layers: 12,
        heads: 12,
        patch,
    }
}

const fn small(patch: usize) -> Sizes {
    Sizes {
        width: 384,
        heads: 6,
        ..base(patch)
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

/// Colours from 0 to 1.
const PLAIN: Preprocessing = Preprocessing {
    mean: [0.0; 3],
    deviation: [1.0; 3],
    ..BICUBIC
};

/// Colours from -1 to 1.
const HALF: Preprocessing = Preprocessing {
    mean: [0.5; 3],
    deviation: [0.5; 3],
    ..BICUBIC
};

/// Colours with the mean and deviation of ImageNet.
const BICUBIC: Preprocessing = Preprocessing {
    filter: Filter::Bicubic,
    ..Preprocessing::IMAGENET
};

const fn model(name: &'static str, pixels: Preprocessing, family: Family) -> Model {
    Model {
        name,
        pixels,
        family,
    }
}

const fn fast(name: &'static str, config: fn() -> fastvit::Config) -> Model {
    model(name, BICUBIC.squeezed(256), Family::FastVit(config))
}

const fn mobile_clip(name: &'static str, config: fn() -> fastvit::Config) -> Model {
    model(name, PLAIN.squeezed(256), Family::FastVit(config))
}

const fn vit(name: &'static str, pixels: Preprocessing, sizes: Sizes) -> Model {
    model(name, pixels, Family::Vit(sizes))
}

const CLIP: Preprocessing = Preprocessing::CLIP.squeezed(224);

pub(super) const MODELS: &[Model] = &[
    fast("candle:fastvit_t8", fastvit::Config::t8),
    fast("candle:fastvit_t12", fastvit::Config::t12),
    fast("candle:fastvit_s12", fastvit::Config::s12),
    fast("candle:fastvit_sa12", fastvit::Config::sa12),
    fast("candle:fastvit_sa24", fastvit::Config::sa24),
    fast("candle:fastvit_sa36", fastvit::Config::sa36),
    fast("candle:fastvit_ma36", fastvit::Config::ma36),
    mobile_clip("candle:fastvit_mci0", fastvit::Config::mci0),
    mobile_clip("candle:fastvit_mci1", fastvit::Config::mci1),
    mobile_clip("candle:fastvit_mci2", fastvit::Config::mci2),
    model(
        "candle:beit_base_patch16_384",
        HALF.squeezed(384),
        Family::Beit(base(16)),
    ),
    model(
        "candle:beit_large_patch16_384",
        HALF.squeezed(384),
        Family::Beit(large(16)),
    ),
    model(
        "candle:eva02_base_patch14_448",
        Preprocessing::CLIP.squeezed(448),
        Family::Eva02(base(14)),
    ),
    model(
        "candle:eva02_large_patch14_448",
        Preprocessing::CLIP.squeezed(448),
        Family::Eva02(large(14)),
    ),
    vit("candle:vit_base_patch16_224", HALF.squeezed(224), base(16)),
    vit("candle:vit_base_patch16_384", HALF.squeezed(384), base(16)),
    vit("candle:vit_base_patch32_384", HALF.squeezed(384), base(32)),
    vit(
        "candle:vit_large_patch16_224",
        HALF.squeezed(224),
        large(16),
    ),
    vit("candle:dino_vits16", BICUBIC.squeezed(224), small(16)),
    vit("candle:dino_vitb16", BICUBIC.squeezed(224), base(16)),
    model(
        "candle:blip_base",
        Preprocessing::CLIP.squeezed(384),
        Family::Blip(base(16)),
    ),
    model(
        "candle:blip_large",
        Preprocessing::CLIP.squeezed(384),
        Family::Blip(large(16)),
    ),
    model(
        "candle:chinese_clip_vit_base_patch16",
        CLIP,
        Family::ChineseClip(base(16)),
    ),
    model(
        "candle:chinese_clip_vit_large_patch14",
        CLIP,
        Family::ChineseClip(large(14)),
    ),
];

impl Model {
    /// Rows and columns of cells, and the width of their features.
    pub(super) fn shape(&self) -> [usize; 3] {
        let (stride, width) = match self.family {
            Family::FastVit(config) => (32, config().in_channels * 16),
            Family::Beit(sizes)
            | Family::Eva02(sizes)
            | Family::Vit(sizes)
            | Family::Blip(sizes)
            | Family::ChineseClip(sizes) => (sizes.patch, sizes.width),
        };
        let (height, across) = self.pixels.size();
        [height / stride, across / stride, width]
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// When one that the network runs is missing, has another shape or cannot be read, by name.
    pub(super) fn build(&self, weights: &Weights) -> Result<Forward> {
        let (prefixes, first): (&[&str], _) = match self.family {
            Family::FastVit(_) => (&["image_encoder.model."], "stem.0.conv_kxk.0.conv.weight"),
            Family::Vit(_) => (&["vit."], "embeddings.cls_token"),
            _ => (&[], ""),
        };
        let refused = OnceLock::new();
        let tensors = Tensors {
            source: Source::new(weights, prefixes, first),
            origin: Box::new(|name| self.family.origin(name)),
            refused: &refused,
        };
        let tensors = VarBuilder::from_backend(Box::new(tensors), DType::F32, Device::Cpu);
        let built = self.family.build(tensors, self.pixels.size().0);
        match refused.into_inner() {
            Some(error) => Err(error),
            None => Ok(built?),
        }
    }
}

impl Family {
    fn build(self, tensors: VarBuilder<'_>, side: usize) -> candle_core::Result<Forward> {
        Ok(match self {
            Self::FastVit(config) => {
                let network = fastvit::fastvit_no_final_layer(&config(), tensors)?;
                Box::new(move |pixels| {
                    // [1, F, H', W'] to [H' W', F].
                    network.forward(pixels)?.squeeze(0)?.flatten_from(1)?.t()
                })
            }
            Self::Beit(sizes) => {
                let Sizes {
                    width,
                    layers,
                    heads,
                    ..
                } = sizes;
                let network = beit::BeitVisionTransformer::new(tensors, layers, width, heads)?;
                Box::new(move |pixels| {
                    network.get_intermediate_layers(pixels, &[layers - 1], false, false, false)
                })
            }
            Self::Eva02(sizes) => {
                let Sizes {
                    width,
                    layers,
                    heads,
                    ..
                } = sizes;
                let network = eva2::EVA2VisionTransformer::new(tensors, layers, width, heads)?;
                Box::new(move |pixels| {
                    network.get_intermediate_layers(pixels, &[layers - 1], false, false, false)
                })
            }
            Self::Vit(sizes) => build_vit(sizes, side, &tensors)?,
            Self::Blip(sizes) => build_blip(sizes, side, tensors)?,
            Self::ChineseClip(sizes) => build_chinese_clip(sizes, side, &tensors)?,
        })
    }

    /// Where the tensors are that candle-transformers asks for.
    fn origin(self, name: &str) -> Origin {
        match self {
            Self::FastVit(config) if fastvit_lacks(&config(), name) => Origin::Absent,
            // The classifier, and the norm of what it reads.
            Self::Beit(_) | Self::Eva02(_)
                if name.starts_with("head.") || name.starts_with("norm.") =>
            {
                Origin::NotRun
            }
            Self::Beit(_) if name.ends_with("attn.qkv.bias") => Origin::Made(joined_bias),
            Self::Beit(_) => {
                let renamed = [(".ls1.gamma", ".gamma_1"), (".ls2.gamma", ".gamma_2")];
                let mut renamed = renamed.iter();
                let found = renamed.find_map(|(asked, stored)| {
                    Some(format!("{}{stored}", name.strip_suffix(asked)?))
                });
                found.map_or(Origin::File, Origin::Renamed)
            }
            Self::Eva02(_) if name == "rot_pos_embed" => Origin::Made(rotations),
            Self::Blip(_) if name.starts_with("text_decoder.") => Origin::NotRun,
            _ => Origin::File,
        }
    }
}

/// Whether a FastViT has no such part: candle-transformers asks for every part of a block and takes
/// those that it gets.
fn fastvit_lacks(config: &fastvit::Config, name: &str) -> bool {
    let among = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    let squeezes = among(&["final_conv."])
        || config.lkc_use_act
            && among(&["stages.2.downsample.proj.0.", "stages.3.downsample.proj.0."]);
    name.starts_with("stages.0.downsample.")
        || among(&[".pos_emb."]) && !(config.attn && name.starts_with("stages.3."))
        || among(&[".se."]) && !squeezes
        || among(&[".identity."]) && among(&["stem.0.", "final_conv."])
        || among(&[".conv_scale."]) && among(&["stem.2.", ".proj.1.", ".norm."])
        || among(&[".conv_kxk."]) && among(&[".norm."])
}

/// The bias of queries, keys and values together: keys have none.
fn joined_bias(source: &Source<'_>, request: &Request<'_>) -> Result<Vec<f32>> {
    let part = request.shape.iter().product::<usize>() / 3;
    let attention = request.name.trim_end_matches("qkv.bias");
    let read = |name: &str| source.numbers(&format!("{attention}{name}"), &[part]);
    Ok([read("q_bias")?, vec![0.0; part], read("v_bias")?].concat())
}

/// The rotations of EVA-02: of each patch 64 sines, then 64 cosines, each twice, of its row and of
/// its column in steps of half a patch; files do not hold them.
///
/// # Source
/// `RotaryEmbeddingCat` of timm, with the grid that the network was trained on first, 16 x 16.
fn rotations(_: &Source<'_>, request: &Request<'_>) -> Result<Vec<f32>> {
    const TRAINED: f64 = 16.0;
    const BANDS: usize = 16;
    let side = request.shape[0].isqrt();
    let angles = |at: usize| {
        let place = at as f64 / side as f64 * TRAINED;
        (0..BANDS).map(move |band| place / libm::pow(10_000.0, band as f64 / BANDS as f64))
    };
    let mut numbers = Vec::with_capacity(request.shape.iter().product());
    for (row, column) in (0..side * side).map(|at| (at / side, at % side)) {
        for function in [libm::sin, libm::cos] {
            let angles = angles(row).chain(angles(column));
            numbers.extend(angles.flat_map(|angle| [function(angle) as f32; 2]));
        }
    }
    Ok(numbers)
}

/// The tokens behind the first `leading`, of [1, T, F].
fn tokens_behind(tokens: &Tensor, leading: usize) -> candle_core::Result<Tensor> {
    let count = tokens.dim(1)?;
    tokens.narrow(1, leading, count - leading)?.contiguous()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a norm without a backward, in a network that is never trained"
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
        norm.forward(&tokens_behind(&tokens, 1)?)
    }))
}

fn build_blip(sizes: Sizes, side: usize, tensors: VarBuilder<'_>) -> candle_core::Result<Forward> {
    // The decoder of captions, which comes with the photo half, as small as it can be.
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
        tokens_behind(&network.forward(pixels)?, 1)
    }))
}

fn build_chinese_clip(
    sizes: Sizes,
    side: usize,
    tensors: &VarBuilder<'_>,
) -> candle_core::Result<Forward> {
    use chinese_clip::vision_model::{ChineseClipVisionConfig, ChineseClipVisionTransformer};
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
        // Behind the last layer's stands what is pooled.
        tokens_behind(&states[states.len() - 2], 1)
    }))
}
