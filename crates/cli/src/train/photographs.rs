//! Extracts the regions of photographs with captions into a data directory, for `uard train --images`.

use std::path::Path;

use anyhow::Context;
use uard_data::store::{Element, FeatureStore, StoreWriter, store_path};
use uard_features::backbone::PhotoLimits;
use uard_features::extract::{CaptionedPhotos, Extraction, StorePlace};
use uard_model::config::ImagesConfig;

use super::plan::DataDirectory;
use crate::commands::{Outcome, extract};
use crate::weights::weights_of_encoder;

/// Extracts every split of a folder of photographs with captions into a directory below `data/`, unless
/// it is there already; `None` if Ctrl-C stopped the extraction.
pub fn extracted(folder: &Path, config: &ImagesConfig) -> anyhow::Result<Option<DataDirectory>> {
    let captioned = CaptionedPhotos::open(folder)?;
    let options = config.options();
    let data = Path::new("data").join(data_name(folder, config)?);
    for split in &captioned.splits {
        StoreWriter::check_writable(&store_path(&data, &split.name))?;
    }
    let weights = weights_of_encoder(config, folder)?;
    let encoder = options.open(&weights)?;
    let extraction = Extraction {
        encoder: encoder.as_ref(),
        name: options.kind.name(),
        weights: &weights,
        limits: PhotoLimits::default(),
        element: Element::F32,
    };
    for split in &captioned.splits {
        let place = StorePlace {
            dir: &data,
            split: &split.name,
            share: None,
        };
        if extract(&extraction, place, &split.list)? == Outcome::Stopped {
            return Ok(None);
        }
        let store = FeatureStore::open(&data, &split.name)?;
        split.write_captions(&data, &store)?;
    }
    Ok(Some(DataDirectory {
        path: data,
        pictures: Some(captioned.photos),
    }))
}

/// The name of the data directory: the folder's name, the encoder and the number of regions, so that
/// configurations with the same encoder and regions share one extraction.
fn data_name(folder: &Path, config: &ImagesConfig) -> anyhow::Result<String> {
    let whole = folder.canonicalize();
    let whole = whole.with_context(|| format!("cannot find {}", folder.display()))?;
    let name = whole.file_name().unwrap_or(whole.as_os_str());
    let name = name.to_string_lossy();
    // Windows does not allow a colon in a file's name.
    let encoder = config.encoder.name().replace(':', "-");
    Ok(format!("{name}-{encoder}-{}", config.regions))
}
