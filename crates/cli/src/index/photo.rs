//! Reads a photo once: its pixels, and what an index keeps of its file.

use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{ImageBuffer, Rgb, imageops};
use uard_features::backbone::{Photo, PhotoLimits};
use uard_features::extract::Decoded;
use uard_search::{ContentHash, Exif, PhotoMetadata};

/// The longest side of a thumbnail, in pixels.
const THUMBNAIL_SIDE: u32 = 256;

/// Of 100: the edges of figures stay clean, and a thumbnail has about 10 kB.
const THUMBNAIL_QUALITY: u8 = 80;

/// What an index keeps of a photo's file, beside its regions.
#[derive(Debug)]
pub struct FileContent {
    /// The hash of its bytes.
    pub hash: ContentHash,
    /// Its size and EXIF data.
    pub metadata: PhotoMetadata,
    /// A small JPEG.
    pub thumbnail: Vec<u8>,
}

/// Reads and decodes a photo.
pub fn read(path: &Path, limits: PhotoLimits) -> uard_features::Result<Decoded<FileContent>> {
    let bytes = Photo::read_file(path, limits)?;
    let photo = Photo::decode(&path.display().to_string(), &bytes, limits)?;
    let exif = Exif::read(&bytes);
    let details = FileContent {
        hash: ContentHash::hash(&bytes),
        metadata: PhotoMetadata {
            width: photo.width(),
            height: photo.height(),
            date: exif.date,
            camera: exif.camera,
            coordinates: exif.coordinates,
        },
        thumbnail: thumbnail(&photo),
    };
    Ok(Decoded { photo, details })
}

/// A small JPEG of a photo; empty if the encoder fails, which it does for no photo that was decoded.
fn thumbnail(photo: &Photo) -> Vec<u8> {
    let (width, height) = (photo.width(), photo.height());
    let scale = f64::from(THUMBNAIL_SIDE) / f64::from(width.max(height));
    let side = |side: u32| ((f64::from(side) * scale.min(1.0)).round() as u32).max(1);
    let mut jpeg = Vec::new();
    let Some(pixels) = ImageBuffer::<Rgb<u8>, &[u8]>::from_raw(width, height, photo.pixels())
    else {
        return jpeg;
    };
    let small = imageops::thumbnail(&pixels, side(width), side(height));
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, THUMBNAIL_QUALITY);
    match small.write_with_encoder(encoder) {
        Ok(()) => jpeg,
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbnail_keeps_the_shape_and_is_never_larger_than_the_photo() {
        for (size, expected) in [
            ((512, 384), (256, 192)),
            ((40, 30), (40, 30)),
            ((2000, 1), (256, 1)),
        ] {
            let (width, height) = size;
            let pixels = vec![120; (width * height * 3) as usize];
            let jpeg = thumbnail(&Photo::new(pixels, width, height).unwrap());
            let found = image::load_from_memory(&jpeg).unwrap();
            assert_eq!((found.width(), found.height()), expected);
        }
    }
}
