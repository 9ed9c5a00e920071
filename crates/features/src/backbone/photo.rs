//! How does a file become the pixels of a photo? Decoded, turned upright, in red, green and blue.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// White, on which what is transparent is laid.
const WHITE: u32 = 255;

/// What a photo may cost before it is decoded: a file of some kilobytes can ask for gigabytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhotoLimits {
    /// The longest side, in pixels.
    pub side: u32,
    /// Bytes that decoding may ask for, the decoded pixels included.
    pub bytes: u64,
}

impl Default for PhotoLimits {
    /// 16,384 pixels and 512 MiB: more than cameras make (a 100 megapixel photo needs 300 MB).
    fn default() -> Self {
        Self {
            side: 16_384,
            bytes: 512 << 20,
        }
    }
}

/// A decoded photo.
///
/// # Shapes
/// `pixels` [height, width, 3], bytes of sRGB as stored; colour profiles are not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photo {
    pixels: Vec<u8>,
    width: u32,
    height: u32,
}

impl Photo {
    /// A photo of pixels that are there.
    ///
    /// # Errors
    /// When the bytes do not fill height x width x 3, or a side is zero.
    pub fn new(pixels: Vec<u8>, width: u32, height: u32) -> Result<Self> {
        let expected = width as usize * height as usize * 3;
        if pixels.len() != expected || expected == 0 {
            return Err(Error::Core(uard_core::Error::ShapeMismatch {
                tensor: format!("pixels of a {width} x {height} photo"),
                axis: "height x width x 3",
                expected: expected.max(1),
                found: pixels.len(),
            }));
        }
        Ok(Self {
            pixels,
            width,
            height,
        })
    }

    /// Reads a JPEG, PNG, WebP or GIF (its first picture), whatever the file's name ends with.
    ///
    /// The orientation of the EXIF data is applied. 16 bits a colour become 8, grey and CMYK become
    /// red, green and blue, and what is transparent is laid on white.
    ///
    /// # Errors
    /// When the file cannot be opened, is no such picture, is broken, or beyond the limits; the
    /// message names it.
    pub fn open(path: &Path, limits: PhotoLimits) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        read(BufReader::new(file), limits).map_err(|cause| Error::UnreadablePhoto {
            origin: path.display().to_string(),
            cause,
        })
    }

    /// [`open`](Self::open) for bytes; messages name `origin`.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn decode(origin: &str, bytes: &[u8], limits: PhotoLimits) -> Result<Self> {
        read(Cursor::new(bytes), limits).map_err(|cause| Error::UnreadablePhoto {
            origin: origin.to_owned(),
            cause,
        })
    }

    /// [height, width, 3]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// In pixels, upright.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// In pixels, upright.
    pub fn height(&self) -> u32 {
        self.height
    }
}

/// The other side is the reason, without the file.
fn read(bytes: impl BufRead + Seek, limits: PhotoLimits) -> std::result::Result<Photo, String> {
    let mut reader = ImageReader::new(bytes)
        .with_guessed_format()
        .map_err(|error| error.to_string())?;
    if reader.format().is_none() {
        return Err("its first bytes are not those of a JPEG, PNG, WebP or GIF".to_owned());
    }
    // Decoders are limited below, after their own sizes were named in a message of ours.
    reader.no_limits();
    let mut decoder = reader.into_decoder().map_err(|error| error.to_string())?;
    let (width, height) = decoder.dimensions();
    if width.max(height) > limits.side {
        let side = limits.side;
        return Err(format!(
            "{width} x {height} pixels, more than the limit of {side} a side; make it smaller or raise the limit"
        ));
    }
    // What is decoded, and the red, green and blue that is made of it.
    let bytes = decoder.total_bytes() + 3 * u64::from(width) * u64::from(height);
    if bytes > limits.bytes {
        let most = limits.bytes;
        return Err(format!(
            "{width} x {height} pixels need {bytes} bytes to decode, more than the limit of {most}; make it smaller or raise the limit"
        ));
    }
    let mut allowed = Limits::no_limits();
    allowed.max_image_width = Some(limits.side);
    allowed.max_image_height = Some(limits.side);
    allowed.max_alloc = Some(limits.bytes);
    let reason = |error: image::ImageError| error.to_string();
    decoder.set_limits(allowed).map_err(reason)?;
    // A broken EXIF block says nothing of how the photo was held; its pixels are what they are.
    let orientation = decoder
        .orientation()
        .unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(reason)?;
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width(), picture.height());
    let pixels = match picture.color().has_alpha() {
        true => on_white(&picture.into_rgba8().into_raw()),
        false => picture.into_rgb8().into_raw(),
    };
    Photo::new(pixels, width, height).map_err(|error| error.to_string())
}

/// `alpha colour + (1 - alpha) white`, to the nearest.
fn on_white(pixels: &[u8]) -> Vec<u8> {
    let pixels = pixels.chunks_exact(4).flat_map(|pixel| {
        let alpha = u32::from(pixel[3]);
        let laid =
            |colour: u8| ((u32::from(colour) * alpha + WHITE * (255 - alpha) + 127) / 255) as u8;
        [laid(pixel[0]), laid(pixel[1]), laid(pixel[2])]
    });
    pixels.collect()
}
