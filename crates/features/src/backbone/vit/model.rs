//! The forward pass of a vision transformer: a token for each patch of pixels.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use uard_linalg::matmul::Matmul;

use super::config::VisionConfig;
use super::positions::Positions;
use crate::Result;
use crate::backbone::maps::{Maps, Size};
use crate::transformer::{Dense, Layer, Norm, Spans, Visibility};

/// Which output of the transformer is used as the features of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokens {
    /// `last_hidden_state` of Hugging Face's transformers: the output of the last layer, after the
    /// last layer norm in SigLIP and DINOv2, before it in CLIP.
    Hidden,
    /// The projection into CLIP's joint space, as CLIP computes it for the class token:
    /// `post_layernorm`, then `visual_projection`.
    Projected,
}

/// A frozen vision transformer: it builds no graph for gradients.
#[derive(Debug)]
pub(crate) struct VisionTransformer {
    pub(super) config: VisionConfig,
    pub(super) patches: Dense,
    /// The tokens before those of the patches, [L, H] each: the class token with its position
    /// embedding, then the registers. Families without them have none.
    pub(super) leading: Vec<Tensor>,
    pub(super) positions: Positions,
    /// The layer norm before the layers, in families that have one.
    pub(super) norm_before: Option<Norm>,
    pub(super) layers: Vec<Layer>,
    /// The layer norm after the layers, in families that have one.
    pub(super) norm_behind: Option<Norm>,
    pub(super) projection: Option<Dense>,
    pub(super) matmul: Matmul,
}

impl VisionTransformer {
    pub(crate) fn matmul(&self) -> Matmul {
        self.matmul
    }

    /// Rows and columns of patches and the width of a token, for pixels of a height and width;
    /// `None` where they are smaller than a patch.
    pub(crate) fn shape(&self, pixels: Size) -> Option<[usize; 3]> {
        let side = self.config.patch_size;
        let (rows, columns) = (pixels.height / side, pixels.width / side);
        let width = match self.projection {
            Some(_) => self.config.projection_dim,
            None => self.config.hidden_size,
        };
        (rows > 0 && columns > 0).then_some([rows, columns, width])
    }

    /// Height and width of the pixels that whole patches cover.
    pub(crate) fn covered_size(&self, pixels: Size) -> Size {
        let side = self.config.patch_size;
        Size::new(pixels.height / side * side, pixels.width / side * side)
    }

    /// The token of each patch of each photo.
    ///
    /// # Shapes
    /// `pixels` [N, height, width, 3], normalised; `shape` is [rows, columns, width of a token],
    /// the result [N, rows, columns, width of a token].
    pub(crate) fn forward(&self, pixels: &Maps<f32>, shape: [usize; 3]) -> Result<Maps<f32>> {
        let [rows, columns, width] = shape;
        let (photos, patches) = (pixels.photos(), rows * columns);
        let shape = [photos, rows, columns, width];
        if photos == 0 {
            return Ok(Maps::new(Vec::new(), shape));
        }
        let embedded = self.embed(pixels, Size::new(rows, columns))?;
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

    /// The input of the first layer, [N, L + P, H]: the leading tokens, then the embedded patches
    /// with their position embeddings. `grid` is the number of rows and columns of patches.
    fn embed(&self, pixels: &Maps<f32>, grid: Size) -> Result<Tensor> {
        let patches = cut_patches(pixels, grid, self.config.patch_size);
        let count = grid.area();
        let shape = (pixels.photos() * count, self.config.patch_numbers());
        let patches = Tensor::from_vec(patches, shape, &Device::Cpu)?;
        let patches = self.patches.forward(&patches, self.matmul)?;
        let patches = patches.reshape((pixels.photos(), count, self.config.hidden_size))?;
        let patches = patches.broadcast_add(&self.positions.embeddings(grid)?)?;
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

/// The pixels of each patch, [N rows columns, side side 3].
fn cut_patches(pixels: &Maps<f32>, grid: Size, side: usize) -> Vec<f32> {
    let width = pixels.size().width;
    let line = side * 3;
    let mut patches = vec![0.0; pixels.photos() * grid.area() * side * line];
    let in_photo = patches.par_chunks_exact_mut(grid.area() * side * line);
    in_photo.enumerate().for_each(|(at, patches)| {
        let photo = pixels.photo(at);
        for (patch, out) in patches.chunks_exact_mut(side * line).enumerate() {
            let (row, column) = (patch / grid.width, patch % grid.width);
            for (y, out) in out.chunks_exact_mut(line).enumerate() {
                let first = (row * side + y) * width * 3 + column * line;
                out.copy_from_slice(&photo[first..first + line]);
            }
        }
    });
    patches
}
