//! Reads the images of a feature store by their index, over all its parts.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use safetensors::tensor::Dtype;

use super::entry::{Column, Entry, Size};
use super::error::StoreError;
use super::manifest::{BOXES, Manifest, SIZES, StoreFile};
use super::part::{Part, damaged};
use super::part_builder::{ListEntry, REGIONS, Unreadable};
use super::share::{Share, ShareOfList};
use crate::npy::ElementType;
use crate::npy::NpyError;
use crate::{Error, Result};

/// The folder of a split's store.
pub fn store_path(dir: &Path, split: &str) -> PathBuf {
    dir.join(format!("{split}_store"))
}

/// The file name of a part.
pub(super) fn part_path(store: &Path, part: usize) -> PathBuf {
    store.join(format!("part-{part:06}.safetensors"))
}

/// A complete store of ragged features, mapped into memory.
///
/// # Shapes
/// I images; image i has `count(i)` regions of width F.
#[derive(Debug)]
pub struct FeatureStore {
    path: PathBuf,
    manifest: Manifest,
    share: Option<ShareOfList>,
    parts: Vec<Part>,
    /// The first image of each part.
    firsts: Vec<usize>,
    images: usize,
    most_regions: usize,
}

impl FeatureStore {
    /// Opens `DIR/{split}_store` and checks manifest, lengths, shapes and counts of every part. The
    /// SHA-256 of a part is checked when one of its images is first read, because this reads the whole
    /// part.
    ///
    /// # Errors
    /// A missing store; one that is not complete; a part that is missing, damaged, or of another store.
    pub fn open(dir: &Path, split: &str) -> Result<Self> {
        let store = Self::open_share(dir, split)?;
        match store.images {
            0 => Err(Error::Store(StoreError::Empty {
                unreadable: store.unreadable().count(),
                first: Vec::new(),
                path: store.path,
            })),
            _ => Ok(store),
        }
    }

    /// The same for a share of a list, which may have no image.
    pub(super) fn open_share(dir: &Path, split: &str) -> Result<Self> {
        let path = store_path(dir, split);
        let file = StoreFile::read(&path)?;
        if !file.complete {
            return Err(Error::Store(StoreError::Incomplete {
                command: file.manifest.provenance.command(),
                path,
            }));
        }
        let parts = file.parts.par_iter().enumerate();
        let parts: Vec<Result<Part>> = parts
            .map(|(number, digest)| open_part(&path, number, &file.manifest, digest))
            .collect();
        let parts = parts.into_iter().collect::<Result<Vec<Part>>>()?;
        let mut firsts = Vec::with_capacity(parts.len());
        let mut images = 0;
        for part in &parts {
            firsts.push(images);
            images += part.images();
        }
        if images != file.images {
            let cause = format!("it lists {} images, its parts have {images}", file.images);
            return Err(damaged(&StoreFile::path(&path), cause));
        }
        let counts = |part: &Part| (0..part.images()).map(|i| part.rows(i).len()).max();
        Ok(Self {
            most_regions: parts.iter().filter_map(counts).max().unwrap_or_default(),
            path,
            manifest: file.manifest,
            share: file.share,
            parts,
            firsts,
            images,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The number of images, I.
    pub fn images(&self) -> usize {
        self.images
    }

    /// The width of a region's features, F.
    pub fn width(&self) -> usize {
        self.manifest.width
    }

    /// The largest number of regions of an image.
    pub fn most_regions(&self) -> usize {
        self.most_regions
    }

    /// The type of the stored features.
    pub fn element(&self) -> ElementType {
        self.manifest.element.into()
    }

    /// The ids of all images, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let ids = self.parts.iter().flat_map(|part| &part.header.ids);
        ids.map(String::as_str)
    }

    /// The entries of the list that have no features, in order.
    pub fn unreadable(&self) -> impl Iterator<Item = &Unreadable> {
        self.parts.iter().flat_map(|part| &part.header.unreadable)
    }

    /// The number of entries of the list, unreadable ones included.
    pub(super) fn entries(&self) -> usize {
        self.parts.iter().map(|part| part.header.entries()).sum()
    }

    /// Checks that the store is a share of the same list as another, of one extraction.
    pub(super) fn expect_share(&self, share: Share, first: &Self) -> Result<()> {
        let found = match (&self.share, &first.share) {
            (None, _) => Some("a store of a whole list".to_owned()),
            (Some(found), _) if found.share != share => Some(format!("part {}", found.share)),
            (Some(found), Some(first)) if found.list_sha256 != first.list_sha256 => {
                Some("a part of another list".to_owned())
            }
            _ => None,
        };
        if let Some(found) = found {
            return Err(Error::Store(StoreError::OtherShare {
                path: self.path.clone(),
                share,
                first: first.path.clone(),
                found,
            }));
        }
        let begun = |store: &Self| StoreFile::begun(&store.manifest, None);
        match begun(first).check_continues(&self.path, &begun(self)) {
            Err(Error::Store(StoreError::OtherManifest {
                key, stored, given, ..
            })) => Err(Error::Store(StoreError::OtherSettings {
                path: self.path.clone(),
                key,
                expected: stored,
                found: given,
            })),
            outcome => outcome,
        }
    }

    /// The entries of the list.
    pub(super) fn list(&self) -> impl Iterator<Item = ListEntry<'_>> {
        self.parts.iter().flat_map(|part| part.header.list())
    }

    /// The number of regions of an image.
    ///
    /// # Errors
    /// An image that does not exist.
    pub fn count(&self, image: usize) -> Result<usize> {
        let (part, place) = self.locate(image)?;
        Ok(part.rows(place).len())
    }

    /// The stored bytes of an image's features.
    ///
    /// # Errors
    /// An image that does not exist; a damaged part.
    pub fn feature_bytes(&self, image: usize) -> Result<&[u8]> {
        let (part, place) = self.verified(image)?;
        let bytes = part.bytes(REGIONS, part.rows(place));
        Ok(bytes.map(|(_, bytes)| bytes).unwrap_or_default())
    }

    /// x1, y1, x2, y2 of each region in pixels; `None` if the store has no boxes.
    ///
    /// # Errors
    /// An image that does not exist; a damaged part.
    pub fn boxes(&self, image: usize) -> Result<Option<Vec<[f32; 4]>>> {
        let (part, place) = self.verified(image)?;
        let Some((_, bytes)) = part.bytes(BOXES, part.rows(place)) else {
            return Ok(None);
        };
        let corners = numbers(bytes, f32::from_le_bytes);
        let (corners, _) = corners.as_chunks::<4>();
        Ok(Some(corners.to_vec()))
    }

    /// An image's size in pixels; `None` if the store has no sizes.
    ///
    /// # Errors
    /// An image that does not exist; a damaged part.
    pub fn size(&self, image: usize) -> Result<Option<Size>> {
        let (part, place) = self.verified(image)?;
        let Some((_, bytes)) = part.bytes(SIZES, place..place + 1) else {
            return Ok(None);
        };
        let sizes = numbers(bytes, u32::from_le_bytes);
        Ok(match sizes[..] {
            [height, width] => Some(Size { height, width }),
            _ => None,
        })
    }

    /// An extra column of an image's regions; `None` if the store has no such column.
    ///
    /// # Errors
    /// An image that does not exist; a damaged part.
    pub fn extra(&self, name: &str, image: usize) -> Result<Option<Column>> {
        let (part, place) = self.verified(image)?;
        if !self.manifest.extras().any(|extra| extra == name) {
            return Ok(None);
        }
        let column = part.bytes(name, part.rows(place));
        Ok(column.map(|(dtype, bytes)| match dtype {
            Dtype::I64 => Column::Integers(numbers(bytes, i64::from_le_bytes)),
            _ => Column::Reals(numbers(bytes, f32::from_le_bytes)),
        }))
    }

    /// An image with all its columns.
    ///
    /// # Errors
    /// An image that does not exist; a damaged part.
    pub(super) fn entry(&self, image: usize) -> Result<Entry> {
        let (part, place) = self.verified(image)?;
        let bytes = self.feature_bytes(image)?;
        let mut features = vec![0.0; bytes.len() / self.element().size()];
        self.element().convert(bytes, &mut features);
        let extras = self.manifest.extras().filter_map(|name| {
            let column = self.extra(name, image).transpose()?;
            Some(column.map(|column| (name.to_owned(), column)))
        });
        Ok(Entry {
            id: part.header.ids[place].clone(),
            size: self.size(image)?,
            boxes: self.boxes(image)?,
            features,
            extras: extras.collect::<Result<_>>()?,
        })
    }

    /// Reads every byte and compares each part with its digest.
    ///
    /// # Errors
    /// The first damaged part.
    pub fn verify(&self) -> Result<()> {
        let outcomes: Vec<Result<()>> = self.parts.par_iter().map(Part::verify).collect();
        outcomes.into_iter().collect()
    }

    /// The part that holds an image, after the part's digest was checked, and the image's index in
    /// the part.
    fn verified(&self, image: usize) -> Result<(&Part, usize)> {
        let (part, place) = self.locate(image)?;
        part.verify_once()?;
        Ok((part, place))
    }

    fn locate(&self, image: usize) -> Result<(&Part, usize)> {
        if image >= self.images {
            return Err(NpyError::ImageOutOfRange {
                path: self.path.clone(),
                image,
                images: self.images,
            }
            .into());
        }
        // A part without images has the same first image as the next part, and the last of these parts
        // holds the image.
        let part = self.firsts.partition_point(|&first| first <= image) - 1;
        Ok((&self.parts[part], image - self.firsts[part]))
    }
}

fn open_part(store: &Path, number: usize, manifest: &Manifest, digest: &str) -> Result<Part> {
    let path = part_path(store, number);
    let part = Part::open(&path, number, manifest)?;
    match part.header.sha256 == digest {
        true => Ok(part),
        false => Err(damaged(&path, "it is a part of another store")),
    }
}

fn numbers<T, const SIZE: usize>(bytes: &[u8], decode: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<SIZE>();
    chunks.iter().map(|&chunk| decode(chunk)).collect()
}

#[cfg(test)]
mod tests;
