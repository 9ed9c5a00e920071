//! Reads the features of a batch into host memory, or starts their upload to a CUDA device.

#[cfg(feature = "cuda")]
use std::sync::Arc;

use candle_core::Device;
#[cfg(feature = "cuda")]
use uard_core::gpu::upload::{Upload, Uploads};
use uard_data::store::RegionStore;
use uard_model::{ImageFeatures, Model};

use super::omission::Omission;
use super::step::{BatchGradients, PreparedBatch, StepOptions, batch_gradients};
#[cfg(feature = "cuda")]
use super::step::{BatchLoss, encode_part};
use crate::Result;
use crate::batches::Batch;
use crate::config::TrainConfig;

/// Reads features to host memory, or through pinned memory to a CUDA device, so that they are copied
/// while the batch before is computed.
#[derive(Debug)]
pub(super) struct FeatureReader {
    #[cfg(feature = "cuda")]
    pinned: Option<Arc<Uploads>>,
}

/// A batch with the word ids of its captions, and its features after omission.
#[derive(Debug)]
pub(super) struct LoadedBatch {
    pub(super) batch: Batch,
    captions: Vec<Vec<u32>>,
    features: Features,
}

#[derive(Debug)]
enum Features {
    Host(ImageFeatures),
    #[cfg(feature = "cuda")]
    Uploading(UploadingFeatures),
}

/// Features [I, R, F] that are being copied to the device.
#[cfg(feature = "cuda")]
#[derive(Debug)]
struct UploadingFeatures {
    upload: Upload,
    /// I, R, F.
    shape: (usize, usize, usize),
    /// Number of regions of each image.
    counts: Vec<usize>,
}

impl FeatureReader {
    /// Uses pinned memory on a CUDA device, except for batches that are encoded in parts, because
    /// those are cut on the host.
    #[cfg(feature = "cuda")]
    pub(super) fn new(device: &Device, config: &TrainConfig) -> Result<Self> {
        let pinned = device.is_cuda() && config.training.accumulation == 1;
        let pinned = pinned.then(|| Uploads::new(device)).transpose()?;
        Ok(Self { pinned })
    }

    #[cfg(not(feature = "cuda"))]
    pub(super) fn new(_: &Device, _: &TrainConfig) -> Result<Self> {
        Ok(Self {})
    }

    /// Reads the features of a batch, without the regions that are left out.
    pub(super) fn read(
        &self,
        store: &RegionStore,
        batch: Batch,
        captions: Vec<Vec<u32>>,
        omission: &Omission,
    ) -> Result<LoadedBatch> {
        Ok(LoadedBatch {
            features: self.features(store, &batch.images, omission)?,
            batch,
            captions,
        })
    }

    fn features(
        &self,
        store: &RegionStore,
        images: &[usize],
        omission: &Omission,
    ) -> Result<Features> {
        #[cfg(feature = "cuda")]
        if let Some(uploads) = &self.pinned {
            let uploading = UploadingFeatures::read(uploads, store, images, omission)?;
            return Ok(Features::Uploading(uploading));
        }
        let mut features = ImageFeatures::read(store, images)?;
        let (regions, width) = (features.regions, features.width);
        omission.omit_regions(&mut features.values, &mut features.counts, regions, width);
        Ok(Features::Host(features))
    }
}

impl LoadedBatch {
    /// Loss and gradients, as [`batch_gradients`] computes them.
    pub(super) fn gradients(
        self,
        model: &Model,
        config: &TrainConfig,
        options: StepOptions<'_>,
    ) -> Result<BatchGradients> {
        match self.features {
            Features::Host(features) => {
                let prepared = PreparedBatch {
                    batch: self.batch,
                    features,
                    captions: self.captions,
                };
                batch_gradients(model, prepared, config, options)
            }
            #[cfg(feature = "cuda")]
            Features::Uploading(features) => BatchLoss {
                model,
                regions: &features.encode(model)?,
                words: &encode_part(model, &self.captions, config, options.step, 0)?,
                pairing: &self.batch.pairing,
                config,
                options,
            }
            .gradients(),
        }
    }
}

#[cfg(feature = "cuda")]
impl UploadingFeatures {
    fn read(
        uploads: &Arc<Uploads>,
        store: &RegionStore,
        images: &[usize],
        omission: &Omission,
    ) -> Result<Self> {
        let shape = (images.len(), store.regions(), store.width());
        let mut room = uploads.buffer(shape.0 * shape.1 * shape.2)?;
        let mut counts: Vec<usize> = images.iter().map(|&image| store.count(image)).collect();
        store.read_batch_into(images, room.numbers()?)?;
        omission.omit_regions(room.numbers()?, &mut counts, shape.1, shape.2);
        Ok(Self {
            upload: room.send()?,
            shape,
            counts,
        })
    }

    fn encode(self, model: &Model) -> Result<uard_core::Regions> {
        Ok(model.encode_tensor(&self.upload.tensor(self.shape)?, self.counts)?)
    }
}
