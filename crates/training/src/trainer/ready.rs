//! Where are the features of a batch that is ready to be computed? In host memory, or on their way to
//! a GPU.

#[cfg(feature = "cuda")]
use std::sync::Arc;

use candle_core::Device;
#[cfg(feature = "cuda")]
use uard_core::gpu::upload::{Upload, Uploads};
use uard_data::store::RegionStore;

use super::omission::Omission;
use super::step::{BatchGradients, Judgement, Prepared, batch_gradients};
use crate::Result;
use crate::batches::Batch;
use crate::config::TrainConfig;
use crate::model::{ImageFeatures, Model};

/// Where features are read to.
#[derive(Debug)]
pub(super) enum Target {
    /// Host memory.
    Host,
    /// Pinned memory, from where they are uploaded while the batch before is computed.
    #[cfg(feature = "cuda")]
    Pinned(Arc<Uploads>),
}

/// A batch with everything that was read for it.
#[derive(Debug)]
pub(super) enum Ready {
    /// All of it in host memory.
    Host(Prepared),
    /// The features are on their way.
    #[cfg(feature = "cuda")]
    Sent {
        batch: Batch,
        captions: Vec<Vec<u32>>,
        features: Sent,
    },
}

/// Features [I, R, F] on their way.
#[cfg(feature = "cuda")]
#[derive(Debug)]
pub(super) struct Sent {
    upload: Upload,
    shape: (usize, usize, usize),
    counts: Vec<usize>,
}

impl Target {
    /// Pinned memory for a CUDA device, but for batches that are encoded in parts: those are cut on
    /// the host.
    #[cfg(feature = "cuda")]
    pub(super) fn of(device: &Device, config: &TrainConfig) -> Result<Self> {
        match device.is_cuda() && config.training.accumulation == 1 {
            true => Ok(Self::Pinned(Uploads::new(device)?)),
            false => Ok(Self::Host),
        }
    }

    #[cfg(not(feature = "cuda"))]
    pub(super) fn of(_: &Device, _: &TrainConfig) -> Result<Self> {
        Ok(Self::Host)
    }

    /// Reads the features of a batch, but for the regions that are left out.
    pub(super) fn read(
        &self,
        store: &RegionStore,
        (batch, captions): (Batch, Vec<Vec<u32>>),
        omission: &Omission,
    ) -> Result<Ready> {
        match self {
            Self::Host => {
                let mut features = ImageFeatures::read(store, &batch.images)?;
                let rows = (features.regions, features.width);
                omission.omit_regions(&mut features.values, &mut features.counts, rows);
                Ok(Ready::Host(Prepared {
                    features,
                    batch,
                    captions,
                }))
            }
            #[cfg(feature = "cuda")]
            Self::Pinned(uploads) => Ok(Ready::Sent {
                features: Sent::read(uploads, store, &batch.images, omission)?,
                batch,
                captions,
            }),
        }
    }
}

impl Ready {
    pub(super) fn batch(&self) -> &Batch {
        match self {
            Self::Host(prepared) => &prepared.batch,
            #[cfg(feature = "cuda")]
            Self::Sent { batch, .. } => batch,
        }
    }

    /// As [`batch_gradients`].
    pub(super) fn gradients(
        self,
        model: &Model,
        config: &TrainConfig,
        judgement: Judgement,
    ) -> Result<BatchGradients> {
        match self {
            Self::Host(prepared) => batch_gradients(model, prepared, config, judgement),
            #[cfg(feature = "cuda")]
            Self::Sent {
                batch,
                captions,
                features,
            } => {
                let regions = features.encoded(model)?;
                let batch = (&batch, &captions[..]);
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
        model.encode_tensor(&self.upload.tensor(self.shape)?, self.counts)
    }
}
