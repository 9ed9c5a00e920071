//! A model in memory: the encoders of regions and captions into one joint space, and the matcher.

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

/// How many images are encoded at once where many are.
pub const IMAGES_AT_ONCE: usize = 128;

/// How many captions are encoded at once where many are.
pub const CAPTIONS_AT_ONCE: usize = 512;

/// The encoders with their parameters, the vocabulary or tokenizer, and the matcher.
///
/// The threshold is not part of the model but an argument: it changes during training, and an
/// evaluation can choose another one ([`Checkpoint::threshold`](crate::Checkpoint::threshold)).
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
    /// Number of valid regions of each image.
    pub counts: Vec<usize>,
    /// Number of rows R of each image in `values`.
    pub regions: usize,
    /// Width F.
    pub width: usize,
}

impl ImageFeatures {
    /// Reads the features of some images.
    ///
    /// # Errors
    /// When an index is out of range or a feature is not finite.
    pub fn read(store: &RegionStore, images: &[usize]) -> Result<Self> {
        Ok(Self {
            values: store.read_batch(images)?,
            counts: images.iter().map(|&image| store.count(image)).collect(),
            regions: store.regions(),
            width: store.width(),
        })
    }

    /// Number of images I.
    pub fn images(&self) -> usize {
        self.counts.len()
    }

    /// A copy of `len` images from `start` on.
    ///
    /// # Panics
    /// When `start + len` is larger than the number of images.
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
    /// A model with random parameters, except those that the text model brings with it.
    ///
    /// `feature_width` is F. The text model determines the kind of the text encoder.
    ///
    /// # Errors
    /// When a setting is out of range or the device cannot allocate a tensor.
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

    /// The text model, which converts captions to ids.
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

    /// Encodes images as regions [I, R, D] without a graph, for inference.
    ///
    /// # Errors
    /// When the features have a wrong width.
    pub fn images(&self, features: ImageFeatures) -> Result<Regions> {
        Ok(self.encode_features(features)?.detach())
    }

    /// The same model for parameters that do not change any more: single captions are encoded faster.
    ///
    /// # Errors
    /// When candle reports an error.
    pub fn frozen(self) -> Result<Self> {
        Ok(Self {
            caption: self.caption.frozen()?,
            ..self
        })
    }

    /// Encodes captions as words without a graph, for inference. [`TextModel::words`] gives the rows
    /// of each word of a caption.
    ///
    /// # Shapes
    /// [C, W, D], where W is the number of words of the longest caption.
    ///
    /// # Errors
    /// When there is no caption, or the tokenizer fails on one.
    pub fn texts(&self, captions: &[impl AsRef<str>]) -> Result<Words> {
        let ids = captions.iter().map(|text| self.text.encode(text.as_ref()));
        let ids = ids.collect::<uard_features::Result<Vec<_>>>()?;
        Ok(self.encode_captions(&ids, None)?.detach())
    }

    /// Encodes features as regions [I, R, D] with a graph, for training.
    ///
    /// # Errors
    /// When the features have a wrong width.
    pub fn encode_features(&self, features: ImageFeatures) -> Result<Regions> {
        let shape = (features.images(), features.regions, features.width);
        let values = Tensor::from_vec(features.values, shape, self.parameters.device())?;
        self.encode_tensor(&values, features.counts)
    }

    /// Encodes features [I, R, F] that are on the device already as regions [I, R, D] with a graph;
    /// `counts` are the numbers of valid regions of each image.
    ///
    /// # Errors
    /// When the features have a wrong width.
    pub fn encode_tensor(&self, features: &Tensor, counts: Vec<usize>) -> Result<Regions> {
        self.choose_products();
        Ok(self.image.forward(features, counts)?)
    }

    /// Encodes captions, given as ids, as words with a graph; `drops` is given in training only.
    ///
    /// # Shapes
    /// [C, W, D], where W is the number of words of the longest caption.
    ///
    /// # Errors
    /// When there is no caption, or an id is not in the vocabulary.
    pub fn encode_captions(&self, captions: &[Vec<u32>], drops: Option<Drops>) -> Result<Words> {
        self.choose_products();
        let batch = CaptionBatch::pad(captions, self.text.pad(), self.parameters.device())?;
        Ok(self.caption.forward(&batch, drops)?)
    }

    /// Names and bytes of the files that a checkpoint has for the model; `state.json` is not among
    /// them.
    ///
    /// # Errors
    /// When a parameter cannot be copied from its device, or a tokenizer cannot be serialized.
    pub fn files(&self) -> Result<Vec<NamedBytes>> {
        let mut files = vec![(WEIGHTS, self.parameters.to_safetensors()?)];
        files.extend(self.text.files()?);
        Ok(files)
    }

    /// Sets the precision of matrix products on CUDA. It is a setting of the whole process, so every
    /// pass sets it anew; models of different precision may alternate.
    fn choose_products(&self) {
        if self.parameters.device().is_cuda() {
            set_gemm_reduced_precision_f32(self.matmul == Matmul::Bf16);
        }
    }
}
