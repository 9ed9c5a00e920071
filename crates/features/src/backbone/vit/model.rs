//! What does a vision transformer make of pixels? A token for each patch.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use uard_core::matmul::Matmul;

use super::config::{VisionConfig, VisionFamily};
use super::positions::{Positions, Resizing};
use crate::Result;
use crate::backbone::maps::Maps;
use crate::transformer::{Dense, Layer, Make, Norm, Spans, TransformerError, Visibility};
use crate::weights::Weights;

/// Which numbers of a patch are its features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokens {
    /// `last_hidden_state` of transformers: the last layer's, normed in SigLIP and DINOv2, not
    /// normed in CLIP.
    Hidden,
    /// Normed and projected into CLIP's joint space, as its token of the class is: `post_layernorm`,
    /// then `visual_projection`.
    Projected,
}

/// A frozen vision transformer: no graph is built.
#[derive(Debug)]
pub(crate) struct VisionTransformer {
    config: VisionConfig,
    patches: Dense,
    /// [L, H]: the token of the class with its position, then registers; L may be zero.
    leading: Vec<Tensor>,
    positions: Positions,
    norm_before: Option<Norm>,
    layers: Vec<Layer>,
    norm_behind: Option<Norm>,
    projection: Option<Dense>,
    matmul: Matmul,
}

/// The names of the parts below the layers.
struct Names {
    /// What all names but the projection's may begin with.
    prefix: &'static str,
    class: Option<&'static str>,
    registers: Option<&'static str>,
    patches: &'static str,
    positions: &'static str,
    norm_before: Option<&'static str>,
    norm_behind: &'static str,
}

impl Names {
    fn of(family: VisionFamily) -> Self {
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
        (tokens, matmul): (Tokens, Matmul),
    ) -> Result<Self> {
        config.check(weights.path())?;
        let names = Names::of(config.family);
        let prefixed = weights.has(&format!("{}{}", names.prefix, names.positions));
        let prefix = if prefixed { names.prefix } else { "" };
        let make = &mut |name: &str, shape: &[usize]| {
            let numbers = weights.numbers(&format!("{prefix}{name}"), shape)?;
            Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
        };
        let norm = (config.hidden_size, config.layer_norm_eps);
        let (leading, positions) = leading(make, &names, config)?;
        let norm_before = names.norm_before.map(|name| Norm::make(make, name, norm));
        let (before, of_layers, shape) = config.layers();
        let layers = (0..config.num_hidden_layers)
            .map(|at| Layer::make(make, &format!("{before}.{at}"), (&of_layers, shape)));
        let layers = layers.collect::<Result<_>>()?;
        let normed = tokens == Tokens::Projected || config.family != VisionFamily::Clip;
        let norm_behind = normed.then(|| Norm::make(make, names.norm_behind, norm));
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

    pub(crate) fn matmul(&self) -> Matmul {
        self.matmul
    }

    /// Patches down and across, and the width of a token; `None` for fewer pixels than a patch has.
    pub(crate) fn shape(&self, (height, width): (usize, usize)) -> Option<[usize; 3]> {
        let side = self.config.patch_size;
        let (rows, columns) = (height / side, width / side);
        let width = match self.projection {
            Some(_) => self.config.projection_dim,
            None => self.config.hidden_size,
        };
        (rows > 0 && columns > 0).then_some([rows, columns, width])
    }

    /// Pixels down and across that belong to patches: less than a patch may be left over.
    pub(crate) fn covered(&self, (height, width): (usize, usize)) -> (usize, usize) {
        let side = self.config.patch_size;
        (height / side * side, width / side * side)
    }

    /// The tokens of each patch of photos.
    ///
    /// # Shapes
    /// `pixels` [N, height, width, 3], normalised; the result is [N, rows, columns, width of a
    /// token], `shape` that of one photo.
    pub(crate) fn forward(&self, pixels: &Maps<f32>, shape: [usize; 3]) -> Result<Maps<f32>> {
        let [rows, columns, width] = shape;
        let (photos, patches) = (pixels.photos(), rows * columns);
        let shape = [photos, rows, columns, width];
        if photos == 0 {
            return Ok(Maps::new(Vec::new(), shape));
        }
        let embedded = self.embedded(pixels, (rows, columns))?;
        let (_, all, hidden) = embedded.dims3()?;
        let mut tokens = embedded.reshape((photos * all, hidden))?;
        if let Some(norm) = &self.norm_before {
            tokens = norm.forward(&tokens)?;
        }
        let heads = self.config.num_attention_heads;
        let spans = Spans::new(&vec![all; photos], heads, Visibility::All);
        for layer in &self.layers {
            tokens = layer.forward(&tokens, &spans, None, self.matmul)?;
        }
        let tokens = tokens.reshape((photos, all, hidden))?;
        let tokens = tokens.narrow(1, all - patches, patches)?.contiguous()?;
        let mut tokens = tokens.reshape((photos * patches, hidden))?;
        if let Some(norm) = &self.norm_behind {
            tokens = norm.forward(&tokens)?;
        }
        if let Some(projection) = &self.projection {
            tokens = projection.forward(&tokens, self.matmul)?;
        }
        Ok(Maps::new(tokens.flatten_all()?.to_vec1()?, shape))
    }

    /// What the first layer reads, [N, L + P, H]: leading tokens, then patches at their positions.
    fn embedded(&self, pixels: &Maps<f32>, (rows, columns): (usize, usize)) -> Result<Tensor> {
        let cut = cut(pixels, (rows, columns), self.config.patch_size);
        let count = rows * columns;
        let shape = (pixels.photos() * count, self.config.patch_numbers());
        let cut = Tensor::from_vec(cut, shape, &Device::Cpu)?;
        let patches = self.patches.forward(&cut, self.matmul)?;
        let patches = patches.reshape((pixels.photos(), count, self.config.hidden_size))?;
        let patches = patches.broadcast_add(&self.positions.of((rows, columns))?)?;
        let leading = self.leading.iter().map(|tokens| {
            let (count, width) = tokens.dims2()?;
            tokens
                .broadcast_as((pixels.photos(), count, width))?
                .contiguous()
        });
        let mut all = leading.collect::<candle_core::Result<Vec<Tensor>>>()?;
        all.push(patches);
        Ok(Tensor::cat(&all, 1)?)
    }
}

/// The tokens before those of the patches, [L, H] each, and the positions of the patches.
fn leading(
    make: &mut Make,
    names: &Names,
    config: &VisionConfig,
) -> Result<(Vec<Tensor>, Positions)> {
    let (side, width) = (config.side(), config.hidden_size);
    let count = side * side + usize::from(names.class.is_some());
    let mut shaped = |name: &str, count: usize| -> Result<Tensor> {
        // DINOv2 stores an axis of photos.
        let stored = match (config.is_dinov2(), name == names.class.unwrap_or_default()) {
            (true, _) => make(name, &[1, count, width]),
            (false, true) => make(name, &[width]),
            (false, false) => make(name, &[count, width]),
        };
        Ok(stored?.reshape((count, width))?)
    };
    let positions = shaped(names.positions, count)?;
    let mut leading = Vec::new();
    if let Some(class) = names.class {
        leading.push((shaped(class, 1)? + positions.narrow(0, 0, 1)?)?);
    }
    if let Some(registers) = names.registers
        && config.num_register_tokens > 0
    {
        leading.push(shaped(registers, config.num_register_tokens)?);
    }
    let of_patches = positions.narrow(0, count - side * side, side * side)?;
    let resizing = match config.family {
        VisionFamily::Dinov2WithRegisters => Resizing::Antialiased,
        _ => Resizing::Cubic,
    };
    let numbers = of_patches.flatten_all()?.to_vec1()?;
    Ok((leading, Positions::new(numbers, side, resizing)))
}

/// The convolution whose windows are patches, as a linear layer of their pixels, channels last.
fn patches(make: &mut Make, name: &str, config: &VisionConfig) -> Result<Dense> {
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
    let missing = |family: &str, reason| {
        let family = family.to_owned();
        Err(TransformerError::NoProjection { family, reason }.into())
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

/// The pixels of each patch, [N rows columns, side side 3].
fn cut(pixels: &Maps<f32>, (rows, columns): (usize, usize), side: usize) -> Vec<f32> {
    let width = pixels.size().1;
    let line = side * 3;
    let mut patches = vec![0.0; pixels.photos() * rows * columns * side * line];
    let in_photo = patches.par_chunks_exact_mut(rows * columns * side * line);
    in_photo.enumerate().for_each(|(at, patches)| {
        let photo = pixels.photo(at);
        for (patch, out) in patches.chunks_exact_mut(side * line).enumerate() {
            let (row, column) = (patch / columns, patch % columns);
            for (y, out) in out.chunks_exact_mut(line).enumerate() {
                let first = (row * side + y) * width * 3 + column * line;
                out.copy_from_slice(&photo[first..first + line]);
            }
        }
    });
    patches
}
