//! Decodes image files to photos: upright, in red, green and blue.

use std::io::{Cursor, ErrorKind, Read};
use std::path::Path;

use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use serde::{Deserialize, Serialize};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::error::VisionError;
use crate::{Error, Result};

/// The background of transparent pixels.
const WHITE: u32 = 255;

/// Bytes at the beginning of a file that identify its format.
const SIGNATURE: u64 = 16;

/// The most bytes of decompressed chunks before a PNG's pixels, in addition to four times the size
/// of the file. The largest such chunks are colour profiles, of a few megabytes for printers.
const UNPACKED_PROFILE: u64 = 16 << 20;

/// The most bytes per pixel that decoding takes: four colours of 16 bits, and the result of 3
/// bytes.
const PIXEL_BYTES: u64 = 8 + 3;

/// Which photos are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhotoLimits {
    /// The longest side, in pixels.
    pub side: u32,
    /// The most bytes that decoding may allocate, the decoded pixels included: a file of a few
    /// kilobytes can declare a picture of gigabytes.
    pub bytes: u64,
    /// Whether incomplete JPEGs are decoded.
    pub truncated: Truncated,
}

/// How a JPEG is treated that ends before its last pixel or is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Truncated {
    /// Such a JPEG is an error, as a broken PNG, WebP or GIF always is.
    #[default]
    Refused,
    /// Such a JPEG is decoded; the missing part is grey, or coarse in a progressive JPEG.
    Accepted,
}

impl Default for PhotoLimits {
    /// 16,384 pixels and 512 MiB, more than photos of cameras need: 100 megapixels take 300 MB.
    fn default() -> Self {
        Self {
            side: 16_384,
            bytes: 512 << 20,
            truncated: Truncated::default(),
        }
    }
}

impl PhotoLimits {
    /// Every photo with sides of at most `side` pixels, however much memory decoding takes.
    pub fn up_to(side: u32) -> Self {
        let default = Self::default();
        Self {
            side,
            bytes: default
                .bytes
                .max(PIXEL_BYTES.saturating_mul(u64::from(side).pow(2))),
            ..default
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
    /// A photo of these pixels.
    ///
    /// # Errors
    /// When the number of bytes is not height x width x 3, or a side is zero.
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
    /// red, green and blue, and transparent pixels are blended with white.
    ///
    /// # Errors
    /// When the file cannot be opened, has another format, ends early, is broken or exceeds the
    /// limits; the message names the file.
    pub fn open(path: &Path, limits: PhotoLimits) -> Result<Self> {
        let bytes = Self::read_file(path, limits)?;
        Self::decode(&path.display().to_string(), &bytes, limits)
    }

    /// The bytes of a photo's file, for [`decode`](Self::decode). A file of another format, such as a
    /// film, may be large: only its first bytes are read.
    ///
    /// # Errors
    /// When the file cannot be opened or read. Of a larger file than `limits.bytes` only as many bytes
    /// are read, which cannot be decoded.
    pub fn read_file(path: &Path, limits: PhotoLimits) -> Result<Vec<u8>> {
        let mut file = uard_files::open_regular(path).map_err(Error::io(path, "open"))?;
        let mut bytes = Vec::new();
        let signature = file.by_ref().take(SIGNATURE).read_to_end(&mut bytes);
        signature.map_err(Error::io(path, "read"))?;
        if format(&bytes).is_ok() {
            let rest = file.take(limits.bytes).read_to_end(&mut bytes);
            rest.map_err(Error::io(path, "read"))?;
        }
        Ok(bytes)
    }

    /// [`open`](Self::open) for the bytes of a file; error messages call it `origin`.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn decode(origin: &str, bytes: &[u8], limits: PhotoLimits) -> Result<Self> {
        read(bytes, limits).map_err(|cause| {
            Error::Vision(VisionError::UnreadablePhoto {
                origin: origin.to_owned(),
                cause,
            })
        })
    }

    /// [height, width, 3]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Width of the upright photo in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height of the upright photo in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }
}

/// Whether the first bytes of a file are those of a JPEG, PNG, WebP or GIF.
///
/// # Errors
/// When the file cannot be opened or read.
pub(crate) fn is_photo(path: &Path) -> Result<bool> {
    let file = uard_files::open_regular(path).map_err(Error::io(path, "open"))?;
    let mut bytes = Vec::new();
    let signature = file.take(SIGNATURE).read_to_end(&mut bytes);
    signature.map_err(Error::io(path, "read"))?;
    Ok(format(&bytes).is_ok())
}

/// The result of decoding. Its error is the reason in words, without the name of the file.
type Decoded<T> = std::result::Result<T, String>;

fn format(bytes: &[u8]) -> Decoded<ImageFormat> {
    use ImageFormat::{Gif, Jpeg, Png, WebP};
    match image::guess_format(bytes) {
        Ok(format @ (Jpeg | Png | WebP | Gif)) => Ok(format),
        _ if bytes.is_empty() => Err("it is empty".to_owned()),
        _ => Err("its first bytes are not those of a JPEG, PNG, WebP or GIF".to_owned()),
    }
}

fn read(bytes: &[u8], limits: PhotoLimits) -> Decoded<Photo> {
    let format = format(bytes)?;
    let bytes = match format {
        ImageFormat::WebP => webp_chunks(bytes)?,
        _ => bytes,
    };
    let reason = |error: ImageError| match ends_early(&error) {
        true => format!(
            "it ends after {} bytes, before its picture does",
            bytes.len()
        ),
        false if format == ImageFormat::Jpeg => broken_jpeg(bytes, &error),
        false => error.to_string(),
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // Only the decoder of PNG applies this limit, to the chunks before the pixels. The size of the
    // picture is checked below, with a message of our own.
    let mut before_pixels = Limits::no_limits();
    before_pixels.max_alloc = Some((4 * bytes.len() as u64 + UNPACKED_PROFILE).min(limits.bytes));
    reader.limits(before_pixels);
    let mut decoder = reader.into_decoder().map_err(reason)?;
    check_size(&decoder, limits)?;
    let mut allowed = Limits::no_limits();
    // A frame of a GIF may declare a larger size than the picture's; the decoder would allocate all
    // of it.
    allowed.max_alloc = Some(match format {
        ImageFormat::Gif => 2 * decoder.total_bytes(),
        _ => limits.bytes,
    });
    decoder.set_limits(allowed).map_err(reason)?;
    // With a broken EXIF block the orientation is unknown; the pixels are kept as they are.
    let orientation = decoder
        .orientation()
        .unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut picture = match (format, limits.truncated) {
        (ImageFormat::Jpeg, Truncated::Refused) => whole_jpeg(bytes, &decoder)?,
        _ => DynamicImage::from_decoder(decoder).map_err(reason)?,
    };
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width(), picture.height());
    let pixels = match picture.color().has_alpha() {
        true => on_white(&picture.into_rgba8().into_raw()),
        false => picture.into_rgb8().into_raw(),
    };
    Photo::new(pixels, width, height).map_err(|error| error.to_string())
}

/// Decodes a JPEG with zune-jpeg in its strict mode, which refuses a picture that ends early.
/// `image` uses the same decoder in its lenient mode, which fills what is missing with grey.
fn whole_jpeg(bytes: &[u8], header: &impl ImageDecoder) -> Decoded<DynamicImage> {
    let (width, height) = header.dimensions();
    let is_grey = header.color_type() == ColorType::L8;
    let space = if is_grey {
        ColorSpace::Luma
    } else {
        ColorSpace::RGB
    };
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(width as usize)
        .set_max_height(height as usize)
        .jpeg_set_out_colorspace(space);
    let pixels = JpegDecoder::new_with_options(ZCursor::new(bytes), options)
        .decode()
        .map_err(|error| broken_jpeg(bytes, &error))?;
    let picture = match is_grey {
        true => image::GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
        false => image::RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
    };
    picture.ok_or_else(|| "its number of pixels is not that of its header".to_owned())
}

fn broken_jpeg(bytes: &[u8], error: &impl std::fmt::Display) -> String {
    // Some messages of the decoder end with a line break.
    let error = error.to_string();
    let error = error.trim_end();
    format!(
        "it ends after {} bytes before its picture does, or is broken ({error}); --accept-truncated \
         decodes what is there",
        bytes.len()
    )
}

/// The bytes of a WebP without any that follow it. All its chunks must lie within the file, because
/// the decoder allocates the lengths that they declare.
///
/// # Source
/// <https://developers.google.com/speed/webp/docs/riff_container>
fn webp_chunks(bytes: &[u8]) -> Decoded<&[u8]> {
    /// Bytes before the first chunk: the header of the RIFF chunk, which is the whole file, and
    /// `WEBP`.
    const HEADERS: usize = 8 + 4;
    let chunk = |bytes| {
        let (&[.., a, b, c, d], content) = <[u8]>::split_first_chunk::<8>(bytes)?;
        Some((u32::from_le_bytes([a, b, c, d]) as usize, content))
    };
    let declared = chunk(bytes).map_or(0, |(length, _)| 8 + length);
    let bytes = &bytes[..bytes.len().min(declared)];
    let mut rest = bytes.get(HEADERS..).unwrap_or_default();
    while let Some((length, content)) = chunk(rest) {
        if content.len() < length {
            let (found, needed) = (bytes.len(), bytes.len() - content.len() + length);
            return Err(format!("it ends after {found} bytes, of {needed} at least"));
        }
        rest = content
            .get(length.next_multiple_of(2)..)
            .unwrap_or_default();
    }
    Ok(bytes)
}

fn check_size(decoder: &impl ImageDecoder, limits: PhotoLimits) -> Decoded<()> {
    let (width, height) = decoder.dimensions();
    let longest = width.max(height);
    let (side, most) = (limits.side, limits.bytes);
    if longest > side {
        return Err(format!(
            "{width} x {height} pixels, more than the limit of {side} a side; make it smaller or raise the limit (--longest-side {longest})"
        ));
    }
    // The decoded pixels and the 3 bytes a pixel that they are converted to.
    let bytes = decoder.total_bytes() + 3 * u64::from(width) * u64::from(height);
    if bytes > most {
        return Err(format!(
            "{width} x {height} pixels need {bytes} bytes to decode, more than the limit of {most}; make it smaller or raise the limit (--longest-side {longest})"
        ));
    }
    Ok(())
}

fn ends_early(error: &ImageError) -> bool {
    let is_end = |error: &std::io::Error| error.kind() == ErrorKind::UnexpectedEof;
    if let ImageError::IoError(error) = error {
        return is_end(error);
    }
    let first = std::error::Error::source(error);
    let mut causes = std::iter::successors(first, |cause| cause.source());
    causes.any(|cause| cause.downcast_ref().is_some_and(is_end))
}

/// `alpha colour + (1 - alpha) white`, rounded to the nearest. `pixels` are red, green, blue,
/// alpha.
fn on_white(pixels: &[u8]) -> Vec<u8> {
    let pixels = pixels.chunks_exact(4).flat_map(|pixel| {
        let alpha = u32::from(pixel[3]);
        let blended =
            |colour: u8| ((u32::from(colour) * alpha + WHITE * (255 - alpha) + 127) / 255) as u8;
        [blended(pixel[0]), blended(pixel[1]), blended(pixel[2])]
    });
    pixels.collect()
}
