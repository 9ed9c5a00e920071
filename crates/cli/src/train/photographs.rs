//! How does a run begin with photographs? Their regions are extracted first, and kept.

use std::path::{Path, PathBuf};

use uard_features::backbone::PhotoLimits;
use uard_features::extract::{CaptionedPhotos, EncoderOptions, ExtractError, Extraction};
use uard_features::store::{Element, FeatureStore};
use uard_training::config::ImagesConfig;

use crate::commands::{Outcome, extract};

/// A data directory that was made of photographs.
#[derive(Debug)]
pub struct Extracted {
    /// Stores and captions of each split.
    pub data: PathBuf,
    /// The photographs, for the report.
    pub photos: PathBuf,
}

/// Extracts every split of a folder of photographs with captions into `data/`, or finds it there;
/// `None` when it was stopped.
pub fn extracted(
    folder: &Path,
    config: &ImagesConfig,
    name: &str,
) -> anyhow::Result<Option<Extracted>> {
    let captioned = CaptionedPhotos::open(folder)?;
    let options = EncoderOptions {
        kind: config.encoder,
        regions: config.regions,
        matmul: config.matmul,
    };
    let weights = weights(config, folder)?;
    let encoder = options.open(&weights)?;
    let extraction = Extraction {
        encoder: encoder.as_ref(),
        name: options.kind.name(),
        weights: &weights,
        limits: PhotoLimits::default(),
        element: Element::F32,
    };
    let data = Path::new("data").join(format!("{name}-{}-{}", config.encoder, config.regions));
    for split in &captioned.splits {
        if extract(&extraction, (&data, &split.name), &split.list)? == Outcome::Stopped {
            return Ok(None);
        }
        let store = FeatureStore::open(&data, &split.name)?;
        split.write_captions(&data, &store)?;
    }
    Ok(Some(Extracted {
        data,
        photos: captioned.photos,
    }))
}

/// The first place that holds the weights.
fn weights(config: &ImagesConfig, folder: &Path) -> anyhow::Result<PathBuf> {
    let places = config.weights.iter();
    let mut paths = places.flat_map(|place| [PathBuf::from(place), folder.join(place)]);
    let found = paths.find(|path| path.is_file());
    let missing = || ExtractError::NoWeights {
        encoder: config.encoder.name(),
        looked: match config.weights.is_empty() {
            true => "no place".to_owned(),
            false => config.weights.join(", "),
        },
    };
    Ok(found.ok_or_else(missing)?)
}
