//! A batch that is ready to be computed: its features are in host memory, or on their way to a GPU.

#[cfg(feature = "cuda")]
use std::sync::Arc;

use candle_core::Device;
#[cfg(feature = "cuda")]
use uard_core::gpu::upload::{Upload, Uploads};
use uard_data::store::RegionStore;
use uard_model::{ImageFeatures, Model};

use super::omission::Omission;
use super::step::{BatchGradients, Judgement, Prepared, batch_gradients};
use crate::Result;
use crate::batches::Batch;
use crate::config::TrainConfig;

/// Where features are read to: host memory, or pinned memory, from where they are uploaded while the
/// batch before is computed.
#[derive(Debug)]
pub(super) struct Target {
    #[cfg(feature = "cuda")]
    pinned: Option<Arc<Uploads>>,
}

/// A batch with everything that was read for it.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) batch: Batch,
    captions: Vec<Vec<u32>>,
    features: Features,
}

#[derive(Debug)]
enum Features {
    Host(ImageFeatures),
    #[cfg(feature = "cuda")]
    Sent(Sent),
}

/// Features [I, R, F] on their way.
#[cfg(feature = "cuda")]
#[derive(Debug)]
struct Sent {
    upload: Upload,
    shape: (usize, usize, usize),
    counts: Vec<usize>,
}

impl Target {
    /// Pinned memory for a CUDA device, but for batches that are encoded in parts: those are cut on
    /// the host.
    #[cfg(feature = "cuda")]
    pub(super) fn of(device: &Device, config: &TrainConfig) -> Result<Self> {
        let pinned = device.is_cuda() && config.training.accumulation == 1;
        let pinned = pinned.then(|| Uploads::new(device)).transpose()?;
        Ok(Self { pinned })
    }

    #[cfg(not(feature = "cuda"))]
    pub(super) fn of(_: &Device, _: &TrainConfig) -> Result<Self> {
        Ok(Self {})
    }

    /// Reads the features of a batch, but for the regions that are left out.
    pub(super) fn read(
        &self,
        store: &RegionStore,
        (batch, captions): (Batch, Vec<Vec<u32>>),
        omission: &Omission,
    ) -> Result<Ready> {
        Ok(Ready {
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
            return Ok(Features::Sent(Sent::read(
                uploads, store, images, omission,
            )?));
        }
        let mut features = ImageFeatures::read(store, images)?;
        let rows = (features.regions, features.width);
        omission.omit_regions(&mut features.values, &mut features.counts, rows);
        Ok(Features::Host(features))
    }
}

impl Ready {
    /// As [`batch_gradients`].
    pub(super) fn gradients(
        self,
        model: &Model,
        config: &TrainConfig,
        judgement: Judgement<'_>,
    ) -> Result<BatchGradients> {
        match self.features {
            Features::Host(features) => {
                let prepared = Prepared {
                    batch: self.batch,
                    features,
                    captions: self.captions,
                };
                batch_gradients(model, prepared, config, judgement)
            }
            #[cfg(feature = "cuda")]
            Features::Sent(sent) => {
                let batch = (&self.batch, &self.captions[..]);
                let regions = sent.encoded(model)?;
                super::step::whole(model, &regions, batch, config, judgement)
            }
        }
    }
}

#[cfg(feature = "cuda")]
impl Sent {
    fn read(
        uploads: &Arc<Uploads>,
        store: &RegionStore,
        images: &[usize],
        omission: &Omission,
    ) -> Result<Self> {
        let shape = (images.len(), store.regions(), store.width());
        let mut room = uploads.room(shape.0 * shape.1 * shape.2)?;
        let mut counts: Vec<usize> = images.iter().map(|&image| store.count(image)).collect();
        store.read_batch_into(images, room.numbers()?)?;
        omission.omit_regions(room.numbers()?, &mut counts, (shape.1, shape.2));
        Ok(Self {
            upload: room.send()?,
            shape,
            counts,
        })
    }

    fn encoded(self, model: &Model) -> Result<uard_core::Regions> {
        Ok(model.encode_tensor(&self.upload.tensor(self.shape)?, self.counts)?)
    }
}
