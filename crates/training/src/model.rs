//! What is trained? Two encoders into one joint space, and the matcher that compares them.

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
use crate::config::TrainConfig;
use crate::text::sizes;

/// Encoders, matcher, and the parameters of both encoders.
#[derive(Debug)]
pub struct Model {
    parameters: Parameters,
    image: RegionEncoder,
    text: CaptionEncoder,
    matcher: Matcher,
    joint_width: usize,
    matmul: Matmul,
    pad: u32,
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
        config: &TrainConfig,
        feature_width: usize,
        text: &TextModel,
        device: &Device,
    ) -> Result<Self> {
        let draws = Draws::new(config.training.seed);
        let mut parameters = Parameters::new(device);
        let joint_width = config.model.joint_width;
        let image =
            RegionEncoder::new(&mut parameters, "image", feature_width, joint_width, &draws)?
                .with_matmul(config.training.matmul);
        let pad = text.pad();
        let text = text
            .encoder(&mut parameters, sizes(config), &draws)?
            .with_matmul(config.training.matmul);
        let matcher = Matcher::new(config.matcher)?.with_matmul(config.training.matmul);
        Ok(Self {
            parameters,
            joint_width,
            matmul: config.training.matmul,
            image,
            text,
            matcher,
            pad,
        })
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The matcher.
    pub fn matcher(&self) -> &Matcher {
        &self.matcher
    }

    /// Width D of the joint space.
    pub fn joint_width(&self) -> usize {
        self.joint_width
    }

    /// Images of a split as regions.
    ///
    /// # Shapes
    /// [I, R, D] in the order of `images`.
    ///
    /// # Errors
    /// When an image is not there or its features have another width.
    pub fn encode_images(&self, store: &RegionStore, images: &[usize]) -> Result<Regions> {
        self.encode_features(ImageFeatures::read(store, images)?)
    }

    /// Features that were read before as regions.
    ///
    /// # Shapes
    /// [I, R, D].
    ///
    /// # Errors
    /// When the features have another width.
    pub fn encode_features(&self, features: ImageFeatures) -> Result<Regions> {
        self.choose_products();
        let shape = (features.images(), features.regions, features.width);
        let values = Tensor::from_vec(features.values, shape, self.parameters.device())?;
        self.encode_tensor(&values, features.counts)
    }

    /// Features [I, R, F] that are on the device already.
    pub(crate) fn encode_tensor(&self, features: &Tensor, counts: Vec<usize>) -> Result<Regions> {
        Ok(self.image.forward(features, counts)?)
    }

    /// Captions, as ids of their words, as words; `drops` is given in training only.
    ///
    /// # Shapes
    /// [C, W, D], W the longest caption.
    ///
    /// # Errors
    /// When there is no caption, or an id is not in the vocabulary.
    pub fn encode_captions(&self, captions: &[Vec<u32>], drops: Option<Drops>) -> Result<Words> {
        self.choose_products();
        let batch = CaptionBatch::pad(captions, self.pad, self.parameters.device())?;
        Ok(self.text.forward(&batch, drops)?)
    }

    /// On CUDA the numbers of products hold for the whole process, so whatever begins with this model
    /// makes them its own: models of both kinds may take turns.
    fn choose_products(&self) {
        if self.parameters.device().is_cuda() {
            set_gemm_reduced_precision_f32(self.matmul == Matmul::Bf16);
        }
    }
}
