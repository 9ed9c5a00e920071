//! Reads a photo as query: from the index, or else by the encoder of the index's photos.

use std::path::Path;

use uard_features::backbone::{Photo, PhotoLimits};
use uard_model::ImageFeatures;
use uard_search::{EncodedPhoto, Index, QueryPhoto};

use super::batch::NO_REGION;
use super::model::{EncoderChoice, IndexModel, LoadedEncoder, expect_encoder};
use crate::exit::wrong;

/// The encoder of the photos of an index, for photos that need not be in it.
pub struct QueryEncoder(LoadedEncoder);

/// A photo, which need not be in the index.
pub fn query_photo(index: &Index, path: &Path) -> anyhow::Result<QueryPhoto> {
    match index.photo_at(path)? {
        Some(photo) => Ok(QueryPhoto::Indexed(photo.id)),
        None => Ok(QueryPhoto::Encoded(encode(index, path)?)),
    }
}

/// Encodes a photo as the photos of the index were encoded.
fn encode(index: &Index, path: &Path) -> anyhow::Result<EncodedPhoto> {
    if !QueryEncoder::is_possible(index.folder()) {
        return Err(wrong(format!(
            "{}: not in the index {}, which does not know how to encode it, because its photos were added \
             as features (--data)",
            path.display(),
            index.folder().display()
        )));
    }
    let photo = Photo::open(path, PhotoLimits::default())?;
    let encoder = QueryEncoder::load(index.folder(), path.parent().unwrap_or(path))?;
    let no_region = || wrong(format!("{}: {NO_REGION}", path.display()));
    let photo = encoder.encode(photo)?.ok_or_else(no_region)?;
    Ok(EncodedPhoto {
        path: Some(path.to_owned()),
        ..photo
    })
}

impl QueryEncoder {
    /// Whether the photos of an index were encoded, and not added as features.
    pub fn is_possible(index: &Path) -> bool {
        EncoderChoice::is_remembered(index)
    }

    /// Loads the encoder that an index remembers. Its weights are also looked for beside `photos`, a
    /// folder.
    pub fn load(index: &Path, photos: &Path) -> anyhow::Result<Self> {
        let model = IndexModel::of_index(index)?;
        let choice = EncoderChoice::default().or_remembered(index)?;
        let encoder = LoadedEncoder::load(model.checkpoint(), &choice, photos)?;
        expect_encoder(&Index::open(index)?, index, &encoder.name)?;
        Ok(Self(encoder))
    }

    /// Encodes a photo; none if no region is found in it.
    pub fn encode(&self, photo: Photo) -> anyhow::Result<Option<EncodedPhoto>> {
        let Self(encoder) = self;
        let (width, height) = (photo.width(), photo.height());
        let found = encoder.network.encode(&[photo])?.pop();
        let Some(found) = found.filter(|found| !found.boxes.is_empty()) else {
            return Ok(None);
        };
        let regions = encoder.model.images(ImageFeatures {
            width: encoder.network.width(),
            regions: found.boxes.len(),
            counts: vec![found.boxes.len()],
            values: found.features,
        })?;
        Ok(Some(EncodedPhoto {
            path: None,
            regions,
            boxes: found.boxes,
            width,
            height,
        }))
    }
}
