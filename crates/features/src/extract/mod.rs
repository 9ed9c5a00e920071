//! Computes region features of photos: [`Encoding`] of any photos, [`Extraction`] of listed photos into
//! a feature store.

mod catalogue;
mod detected;
mod encoding;
mod error;
mod folder;
mod list;
mod pipeline;

use std::collections::BTreeMap;

use serde_json::Value;

pub use catalogue::{EncoderKind, EncoderOptions, OpenEncoder, RegionCount};
pub use encoding::{Decoded, Encoded, EncodedRegions, Encoding};
pub use error::ExtractError;
pub use folder::{CaptionedPhotos, CaptionedSplit};
pub use list::{ListedPhoto, PhotoList};
pub use pipeline::{Extracted, Extraction, Progress, StorePlace, reason};

use crate::Result;
use crate::backbone::{GridBackbone, Photo};
use uard_data::store::Column;

/// A frozen network that finds regions in photos.
pub trait PhotoEncoder: Send + Sync {
    /// The regions of each photo; they depend on that photo only.
    ///
    /// # Errors
    /// When a photo cannot be resized, or the network fails.
    fn encode(&self, photos: &[Photo]) -> Result<Vec<PhotoRegions>>;

    /// F, the width of a region's features.
    fn width(&self) -> usize;

    /// The most regions of a photo.
    fn most_regions(&self) -> usize;

    /// The names of the columns of [`PhotoRegions::extras`].
    fn extras(&self) -> &'static [&'static str];

    /// All settings that a photo's regions depend on, apart from the weights.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    fn settings(&self) -> Result<Value>;
}

/// The regions of a photo.
///
/// # Shapes
/// R regions of width F.
#[derive(Debug, Clone, PartialEq)]
pub struct PhotoRegions {
    /// [R, F]
    pub features: Vec<f32>,
    /// R boxes: x1, y1, x2, y2 in pixels of the upright photo.
    pub boxes: Vec<[f32; 4]>,
    /// Further columns by name, with an entry for each region: classes, confidences.
    pub extras: BTreeMap<String, Column>,
}

impl PhotoEncoder for GridBackbone {
    fn encode(&self, photos: &[Photo]) -> Result<Vec<PhotoRegions>> {
        self.regions(photos)
    }

    fn width(&self) -> usize {
        Self::width(self)
    }

    fn most_regions(&self) -> usize {
        self.regions_per_photo()
    }

    fn extras(&self) -> &'static [&'static str] {
        &[]
    }

    fn settings(&self) -> Result<Value> {
        let value = |value: serde_json::Result<Value>| {
            value.map_err(|cause| ExtractError::Settings {
                cause: cause.to_string(),
            })
        };
        Ok(serde_json::json!({
            "pixels": value(serde_json::to_value(self.preprocessing()))?,
            "cells": value(serde_json::to_value(self.cells()))?,
            "numbers": value(serde_json::to_value(self.network().matmul()))?,
        }))
    }
}
