//! Pictures for a report: the bytes of their files, and width and height from the file header.

use std::io::{self, Cursor, ErrorKind, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{ImageDecoder, ImageReader};
use uard_report::record::PictureSize;

/// The largest picture file in a report, in bytes; larger ones are left out.
const LARGEST: u64 = 16 << 20;

/// The bytes of a picture file of up to [`LARGEST`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = uard_files::open_regular(path)?;
    if file.metadata()?.len() > LARGEST {
        return Err(ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Width and height in pixels, turned upright as browsers show it; `None` for damaged files.
pub fn size(bytes: &[u8]) -> Option<PictureSize> {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let mut decoder = reader.ok()?.into_decoder().ok()?;
    let (width, height) = decoder.dimensions();
    Some(match decoder.orientation() {
        Ok(Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH) => PictureSize {
            width: height,
            height: width,
        },
        _ => PictureSize { width, height },
    })
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::{ImageEncoder, ImageFormat, RgbImage};

    use super::*;

    fn size_of(bytes: &[u8]) -> Option<(u32, u32)> {
        size(bytes).map(|size| (size.width, size.height))
    }

    #[test]
    fn every_format_gives_its_size_and_damaged_files_none() {
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::Gif,
            ImageFormat::WebP,
        ] {
            let mut bytes = Cursor::new(Vec::new());
            RgbImage::new(25, 19).write_to(&mut bytes, format).unwrap();
            assert_eq!(size_of(bytes.get_ref()), Some((25, 19)), "{format:?}");
            assert_eq!(size_of(&bytes.get_ref()[..14]), None, "{format:?}");
        }
        assert_eq!(size_of(b""), None);
    }

    #[test]
    fn a_photo_that_lies_on_its_side_has_the_size_of_the_upright_one() {
        /// One tag, orientation, which is 6: turn by 90 degrees.
        const EXIF: &[u8] = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new(&mut bytes);
        encoder.set_exif_metadata(EXIF.to_vec()).unwrap();
        encoder.encode_image(&RgbImage::new(25, 19)).unwrap();
        assert_eq!(size_of(&bytes), Some((19, 25)));
    }
}
