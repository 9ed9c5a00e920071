//! Writes a feature store as padded arrays, the layout that SCAN published.

use std::path::Path;

use super::feature_store::FeatureStore;
use super::manifest::BOXES;
use crate::npy::{NpyWriter, write_f32, write_i64};
use crate::{Error, Result};

/// Writes `{split}_ims.npy` (N, R, F) and, beside it, `{split}_ids.txt`, `{split}_boxes.npy`
/// (N, R, 4) if the store has boxes, and `{split}_counts.npy` if images differ in their number of regions.
///
/// R is the largest number of regions, and padding is zero. Sizes and extras are not written. The features
/// are written last, so that a directory of an interrupted write is not taken for a split.
///
/// # Errors
/// A file cannot be written; nothing is left of this file.
pub fn write_padded(store: &FeatureStore, dir: &Path, split: &str) -> Result<()> {
    let path = |ending: &str| dir.join(format!("{split}_{ending}"));
    let (images, regions) = (store.images(), store.most_regions());
    let counts = (0..images).map(|image| Ok(store.count(image)? as i64));
    let counts: Vec<i64> = counts.collect::<Result<_>>()?;
    if counts.iter().any(|&count| count != regions as i64) {
        write_i64(&path("counts.npy"), &[images], &counts)?;
    }
    let ids: String = store.ids().map(|id| format!("{id}\n")).collect();
    let file = path("ids.txt");
    uard_files::write(&file, ids).map_err(Error::io(&file, "write"))?;
    if store.manifest().columns.contains(BOXES) {
        let mut corners = vec![0.0; images * regions * 4];
        for (image, corners) in corners.chunks_exact_mut(regions * 4).enumerate() {
            let boxes = store.boxes(image)?.unwrap_or_default();
            corners[..boxes.len() * 4].copy_from_slice(boxes.as_flattened());
        }
        write_f32(&path("boxes.npy"), &[images, regions, 4], &corners)?;
    }
    features(store, &path("ims.npy"))
}

fn features(store: &FeatureStore, path: &Path) -> Result<()> {
    let (images, regions, width) = (store.images(), store.most_regions(), store.width());
    let element = store.element();
    let mut writer = NpyWriter::encoded(path, element, &[images, regions, width])?;
    let padding = vec![0; regions * width * element.size()];
    for image in 0..images {
        let bytes = store.feature_bytes(image)?;
        writer.write_bytes(bytes)?;
        writer.write_bytes(&padding[bytes.len()..])?;
    }
    writer.finish()
}
