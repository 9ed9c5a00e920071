//! A model in memory: two encoders into one joint space, and the matcher that compares them.

use candle_core::cuda::set_gemm_reduced_precision_f32;
use candle_core::{Device, Tensor};
use uard_attention::Matcher;
use uard_core::parameters::Parameters;
use uard_core::random::Draws;
use uard_core::{Regions, Words};
use uard_data::store::RegionStore;
use uard_features::encoder::RegionEncoder;
use uard_features::text::gru::CaptionBatch;
use uard_features::text::{CaptionEncoder, Drops, TextModel};
use uard_linalg::matmul::Matmul;

use crate::Result;
use crate::checkpoint::NamedBytes;
use crate::config::ModelConfig;

/// The file of a checkpoint that holds the parameters.
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// Encoders with their parameters, what captions are read with, and the matcher.
///
/// The threshold is no part of it: it moves while the model is trained, and is asked for in
/// different ways after ([`Checkpoint::threshold`](crate::Checkpoint::threshold)).
#[derive(Debug)]
pub struct Model {
    parameters: Parameters,
    image: RegionEncoder,
    caption: CaptionEncoder,
    text: TextModel,
    matcher: Matcher,
    joint_width: usize,
    matmul: Matmul,
}

/// The features of a batch of images, read but not yet on a device.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFeatures {
    /// Features, row-major [I, R, F]; rows beyond an image's count are ignored.
    pub values: Vec<f32>,
    /// Valid regions of each image.
    pub counts: Vec<usize>,
    /// Regions R of each image in `values`.
    pub regions: usize,
    /// Width F.
    pub width: usize,
}

impl ImageFeatures {
    /// Reads the features of some images.
    ///
    /// # Errors
    /// When an image is not there or a feature is not finite.
    pub fn read(store: &RegionStore, images: &[usize]) -> Result<Self> {
        Ok(Self {
            values: store.read_batch(images)?,
            counts: images.iter().map(|&image| store.count(image)).collect(),
            regions: store.regions(),
            width: store.width(),
        })
    }

    /// Images I.
    pub fn images(&self) -> usize {
        self.counts.len()
    }

    /// A copy of `len` images from `start` on.
    ///
    /// # Panics
    /// When there are not as many.
    pub fn slice(&self, start: usize, len: usize) -> Self {
        let size = self.regions * self.width;
        Self {
            values: self.values[start * size..(start + len) * size].to_vec(),
            counts: self.counts[start..start + len].to_vec(),
            ..*self
        }
    }
}

impl Model {
    /// A model with drawn parameters, but for what the encoder of captions begins with.
    ///
    /// `feature_width` is F; the text model decides which encoder of captions it is.
    ///
    /// # Errors
    /// When a setting is out of range or the device refuses a tensor.
    pub fn new(
        config: &ModelConfig,
        feature_width: usize,
        text: TextModel,
        draws: &Draws,
        device: &Device,
    ) -> Result<Self> {
        let mut parameters = Parameters::new(device);
        let (joint_width, matmul) = (config.model.joint_width, config.training.matmul);
        let image =
            RegionEncoder::new(&mut parameters, "image", feature_width, joint_width, draws)?;
        let caption = text.encoder(&mut parameters, config.text_sizes(), draws)?;
        Ok(Self {
            parameters,
            image: image.with_matmul(matmul),
            caption: caption.with_matmul(matmul),
            text,
            matcher: Matcher::new(config.matcher)?.with_matmul(matmul),
            joint_width,
            matmul,
        })
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// What captions are read with.
    pub fn text(&self) -> &TextModel {
        &self.text
    }

    /// The matcher.
    pub fn matcher(&self) -> &Matcher {
        &self.matcher
    }

    /// Width D of the joint space.
    pub fn joint_width(&self) -> usize {
        self.joint_width
    }

    /// Images as regions, without a graph behind them: to be searched.
    ///
    /// # Shapes
    /// [I, R, D].
    ///
    /// # Errors
    /// When the features have another width.
    pub fn images(&self, features: ImageFeatures) -> Result<Regions> {
        Ok(self.encode_features(features)?.detach())
    }

    /// Captions as words, without a graph behind them: to be searched. Which rows are which word of
    /// a caption is known to [`TextModel::words`].
    ///
    /// # Shapes
    /// [C, W, D], W the longest caption.
    ///
    /// # Errors
    /// When there is no caption, or a tokenizer's own rules cannot be applied to one.
    pub fn texts(&self, captions: &[impl AsRef<str>]) -> Result<Words> {
        let ids = captions.iter().map(|text| self.text.encode(text.as_ref()));
        let ids = ids.collect::<uard_features::Result<Vec<_>>>()?;
        Ok(self.encode_captions(&ids, None)?.detach())
    }

    /// Features as regions that gradients flow through.
    ///
    /// # Shapes
    /// [I, R, D].
    ///
    /// # Errors
    /// When the features have another width.
    pub fn encode_features(&self, features: ImageFeatures) -> Result<Regions> {
        let shape = (features.images(), features.regions, features.width);
        let values = Tensor::from_vec(features.values, shape, self.parameters.device())?;
        self.encode_tensor(&values, features.counts)
    }

    /// Features [I, R, F] that are on the device already, as regions [I, R, D] that gradients flow
    /// through; `counts` are the valid regions of each image.
    ///
    /// # Errors
    /// When the features have another width.
    pub fn encode_tensor(&self, features: &Tensor, counts: Vec<usize>) -> Result<Regions> {
        self.choose_products();
        Ok(self.image.forward(features, counts)?)
    }

    /// Captions, as ids of their words, as words that gradients flow through; `drops` is given in
    /// training only.
    ///
    /// # Shapes
    /// [C, W, D], W the longest caption.
    ///
    /// # Errors
    /// When there is no caption, or an id is not in the vocabulary.
    pub fn encode_captions(&self, captions: &[Vec<u32>], drops: Option<Drops>) -> Result<Words> {
        self.choose_products();
        let batch = CaptionBatch::pad(captions, self.text.pad(), self.parameters.device())?;
        Ok(self.caption.forward(&batch, drops)?)
    }

    /// Names and bytes of the files that a checkpoint holds of the model, beside its state.
    ///
    /// # Errors
    /// When a parameter cannot be copied from its device, or a tokenizer cannot be written.
    pub fn files(&self) -> Result<Vec<NamedBytes>> {
        let mut files = vec![(WEIGHTS, self.parameters.to_safetensors()?)];
        files.extend(self.text.files()?);
        Ok(files)
    }

    /// On CUDA the numbers of products hold for the whole process, so whatever begins with this model
    /// makes them its own: models of both kinds may take turns.
    fn choose_products(&self) {
        if self.parameters.device().is_cuda() {
            set_gemm_reduced_precision_f32(self.matmul == Matmul::Bf16);
        }
    }
}
