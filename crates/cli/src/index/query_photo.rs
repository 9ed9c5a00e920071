//! Reads a photo as query: from the index, or else by the encoder of the index's photos.

use std::path::Path;

use uard_features::backbone::PhotoLimits;
use uard_model::ImageFeatures;
use uard_search::{QueryPhoto, Searcher};

use super::model::{EncoderChoice, IndexModel, IndexOptions, LoadedEncoder, expect_encoder};
use super::photo;
use crate::exit::wrong;

/// The regions of a photo, which need not be in the index.
pub fn query_photo(searcher: &mut Searcher, path: &Path) -> anyhow::Result<QueryPhoto> {
    match searcher.photo(path)? {
        Some(photo) => Ok(photo),
        None => encode(searcher, path),
    }
}

/// Encodes a photo as the photos of the index were encoded.
pub fn encode(searcher: &Searcher, path: &Path) -> anyhow::Result<QueryPhoto> {
    let index = searcher.index();
    let folder = index.folder();
    if !EncoderChoice::is_remembered(folder) {
        return Err(wrong(format!(
            "{}: not in the index {}, which does not know how to encode it, because its photos were added \
             as features (--data)",
            path.display(),
            folder.display()
        )));
    }
    let model = IndexModel::open(IndexOptions {
        folder: folder.to_owned(),
        model: None,
        precision: None,
    })?;
    let decoded = photo::read(path, PhotoLimits::default())?;
    let beside = path.parent().unwrap_or(path);
    let choice = EncoderChoice::default().or_remembered(folder)?;
    let encoder = LoadedEncoder::load(model.checkpoint(), &choice, beside)?;
    expect_encoder(index, folder, &encoder.name)?;
    let found = encoder.network.encode(&[decoded.photo])?.pop();
    let Some(found) = found.filter(|found| !found.boxes.is_empty()) else {
        return Err(wrong(format!(
            "{}: the encoder finds no region in it",
            path.display()
        )));
    };
    let regions = encoder.model.images(ImageFeatures {
        width: encoder.network.width(),
        regions: found.boxes.len(),
        counts: vec![found.boxes.len()],
        values: found.features,
    })?;
    Ok(QueryPhoto {
        id: None,
        regions,
        boxes: found.boxes,
    })
}
