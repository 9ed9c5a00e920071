//! Finds the weights of the encoder of photos that a configuration names.

use std::path::{Path, PathBuf};

use uard_features::extract::ExtractError;
use uard_hub::source::Source;
use uard_model::config::ImagesConfig;

use crate::hub::hub;

/// The encoder's weights: the first path of the configuration that exists, else the first name on a hub,
/// downloaded if it is not in the cache.
pub fn weights_of_encoder(config: &ImagesConfig, folder: &Path) -> anyhow::Result<PathBuf> {
    let paths = config.weights.iter().filter_map(|source| match source {
        Source::Path(path) => Some([path.clone(), folder.join(path)]),
        Source::Hub(_) => None,
    });
    if let Some(path) = paths.flatten().find(|path| path.exists()) {
        return Ok(path);
    }
    let mut sources = config.weights.iter();
    if let Some(name) = sources.find(|source| matches!(source, Source::Hub(_))) {
        return Ok(config.encoder.weights(name, &hub())?);
    }
    let looked: Vec<String> = config.weights.iter().map(Source::to_string).collect();
    Err(ExtractError::NoWeights {
        encoder: config.encoder.name(),
        looked: match looked.is_empty() {
            true => "no place".to_owned(),
            false => looked.join(", "),
        },
    })?
}
