//! Reads the weights of a vision transformer, by the names and shapes of its family.

use candle_core::{Device, Tensor};
use uard_linalg::matmul::Matmul;

use super::config::{VisionConfig, VisionFamily};
use super::model::{Tokens, VisionTransformer};
use super::positions::{Positions, Resizing};
use crate::Result;
use crate::transformer::{ConfigChecks, Dense, Layer, MakeTensor, Norm, stored_prefix};
use uard_hub::weights::Weights;

/// The names of the tensors outside of the layers; `None` for tensors that the family does not
/// have.
struct Names {
    /// A prefix that all names except the projection's have in some files.
    prefix: &'static str,
    class: Option<&'static str>,
    registers: Option<&'static str>,
    patches: &'static str,
    positions: &'static str,
    norm_before: Option<&'static str>,
    norm_behind: &'static str,
}

impl Names {
    fn for_family(family: VisionFamily) -> Self {
        let clip = Self {
            prefix: "vision_model.",
            class: Some("embeddings.class_embedding"),
            registers: None,
            patches: "embeddings.patch_embedding",
            positions: "embeddings.position_embedding.weight",
            norm_before: Some("pre_layrnorm"),
            norm_behind: "post_layernorm",
        };
        let dinov2 = Self {
            prefix: "dinov2.",
            class: Some("embeddings.cls_token"),
            registers: None,
            patches: "embeddings.patch_embeddings.projection",
            positions: "embeddings.position_embeddings",
            norm_before: None,
            norm_behind: "layernorm",
        };
        match family {
            VisionFamily::Clip => clip,
            VisionFamily::Siglip => Self {
                class: None,
                norm_before: None,
                ..clip
            },
            VisionFamily::Dinov2 => dinov2,
            VisionFamily::Dinov2WithRegisters => Self {
                prefix: "dinov2_with_registers.",
                registers: Some("embeddings.register_tokens"),
                ..dinov2
            },
        }
    }
}

impl VisionTransformer {
    pub(super) fn load(
        config: &VisionConfig,
        weights: &Weights,
        tokens: Tokens,
        matmul: Matmul,
    ) -> Result<Self> {
        config.check(weights.path())?;
        let names = Names::for_family(config.family);
        let prefix = stored_prefix(weights, names.prefix, names.positions);
        let make = &mut |name: &str, shape: &[usize]| {
            let numbers = weights.numbers(&format!("{prefix}{name}"), shape)?;
            Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
        };
        let (width, epsilon) = (config.hidden_size, config.layer_norm_eps);
        let (leading, positions) = leading(make, &names, config)?;
        let norm_before = names
            .norm_before
            .map(|name| Norm::make(make, name, width, epsilon));
        let (before, of_layers, shape) = config.layers();
        let layers = (0..config.num_hidden_layers)
            .map(|at| Layer::make(make, &format!("{before}.{at}"), &of_layers, shape));
        let layers = layers.collect::<Result<_>>()?;
        let normed = tokens == Tokens::Projected || config.family != VisionFamily::Clip;
        let norm_behind = normed.then(|| Norm::make(make, names.norm_behind, width, epsilon));
        Ok(Self {
            config: config.clone(),
            patches: patches(make, names.patches, config)?,
            leading,
            positions,
            norm_before: norm_before.transpose()?,
            layers,
            norm_behind: norm_behind.transpose()?,
            projection: projection(weights, config, tokens)?,
            matmul,
        })
    }
}

/// The tokens before those of the patches, [L, H] each, and the position embeddings of the patches.
fn leading(
    make: &mut MakeTensor,
    names: &Names,
    config: &VisionConfig,
) -> Result<(Vec<Tensor>, Positions)> {
    let (side, width) = (config.side(), config.hidden_size);
    let count = side * side + usize::from(names.class.is_some());
    // DINOv2 stores positions as [1, count, H] and the class token as [1, 1, H]; CLIP and SigLIP
    // store [count, H] and [H].
    let (photos, one): (&[usize], &[usize]) = match config.is_dinov2() {
        true => (&[1], &[1, 1]),
        false => (&[], &[]),
    };
    let mut rows = |name: &str, axes: &[usize], count: usize| -> Result<Tensor> {
        let stored = make(name, &[axes, &[width]].concat())?;
        Ok(stored.reshape((count, width))?)
    };
    let positions = rows(names.positions, &[photos, &[count]].concat(), count)?;
    let mut leading = Vec::new();
    if let Some(class) = names.class {
        leading.push((rows(class, one, 1)? + positions.narrow(0, 0, 1)?)?);
    }
    let count_of_registers = config.num_register_tokens;
    if let Some(registers) = names.registers.filter(|_| count_of_registers > 0) {
        let axes = [1, count_of_registers];
        leading.push(rows(registers, &axes, count_of_registers)?);
    }
    let of_patches = positions.narrow(0, count - side * side, side * side)?;
    let resizing = match config.family {
        VisionFamily::Dinov2WithRegisters => Resizing::Antialiased,
        _ => Resizing::Cubic,
    };
    let numbers = of_patches.flatten_all()?.to_vec1()?;
    Ok((leading, Positions::new(numbers, side, resizing)))
}

/// The convolution whose windows are the patches, as a linear layer of a patch's pixels, channels
/// last.
fn patches(make: &mut MakeTensor, name: &str, config: &VisionConfig) -> Result<Dense> {
    let (width, side) = (config.hidden_size, config.patch_size);
    let kernel = make(&format!("{name}.weight"), &[width, 3, side, side])?;
    let kernel = kernel.permute((0, 2, 3, 1))?.contiguous()?;
    let kernel = kernel.reshape((width, config.patch_numbers()))?;
    match config.family {
        VisionFamily::Clip => Dense::unbiased(kernel),
        _ => Ok(Dense::new(kernel, make(&format!("{name}.bias"), &[width])?)),
    }
}

fn projection(weights: &Weights, config: &VisionConfig, tokens: Tokens) -> Result<Option<Dense>> {
    let missing = |family, reason| {
        let expected = format!(
            "a CLIP (tokens of {family} cannot be projected: {reason}; ask for the hidden tokens, which every vision transformer has)"
        );
        ConfigChecks(weights.path()).refuse("model_type", expected, family)?;
        Ok(None)
    };
    match (tokens, config.family) {
        (Tokens::Hidden, _) => Ok(None),
        (Tokens::Projected, VisionFamily::Clip) => {
            let shape = [config.projection_dim, config.hidden_size];
            let weight = weights.numbers("visual_projection.weight", &shape)?;
            let weight = Tensor::from_vec(weight, &shape, &Device::Cpu)?;
            Dense::unbiased(weight).map(Some)
        }
        (Tokens::Projected, VisionFamily::Siglip) => missing(
            "SigLIP",
            "it pools all tokens by attention and projects none of them",
        ),
        (Tokens::Projected, _) => missing("DINOv2", "it was trained without captions"),
    }
}
