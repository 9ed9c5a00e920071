//! What does a vision transformer make of pixels? A token for each patch.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use uard_linalg::matmul::Matmul;

use super::config::VisionConfig;
use super::positions::Positions;
use crate::Result;
use crate::backbone::maps::Maps;
use crate::transformer::{Dense, Layer, Norm, Spans, Visibility};

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
    pub(super) config: VisionConfig,
    pub(super) patches: Dense,
    /// [L, H]: the token of the class with its position, then registers; L may be zero.
    pub(super) leading: Vec<Tensor>,
    pub(super) positions: Positions,
    pub(super) norm_before: Option<Norm>,
    pub(super) layers: Vec<Layer>,
    pub(super) norm_behind: Option<Norm>,
    pub(super) projection: Option<Dense>,
    pub(super) matmul: Matmul,
}

impl VisionTransformer {
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
