//! Pictures for a report: the bytes of their files, and width and height from the file header.

use std::io::{self, ErrorKind, Read};
use std::path::Path;

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

/// Width and height in pixels of a PNG or JPEG; `None` for other formats and damaged files.
pub fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    png(bytes).or_else(|| jpeg(bytes))
}

fn png(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes
        .strip_prefix(b"\x89PNG\r\n\x1a\n")?
        .get(4..)?
        .strip_prefix(b"IHDR")?;
    let number = |start: usize| {
        let four = header.get(start..start + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(four))
    };
    Some((number(0)?, number(4)?))
}

/// Reads segment by segment up to the frame header (SOF), which holds height and width.
fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut rest = bytes.strip_prefix(b"\xff\xd8")?;
    loop {
        let [0xff, marker, tail @ ..] = rest else {
            return None;
        };
        if *marker == 0xff {
            rest = &rest[1..];
            continue;
        }
        let number = |start: usize| {
            let two = tail.get(start..start + 2)?.try_into().ok()?;
            Some(u16::from_be_bytes(two))
        };
        let is_frame = matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc);
        if is_frame {
            return Some((number(5)?.into(), number(3)?.into()));
        }
        rest = tail.get(usize::from(number(0)?)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn png_and_jpeg_give_their_size_and_damaged_ones_none() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend([0, 0, 1, 0, 0, 0, 0, 192]);
        assert_eq!(size(&png), Some((256, 192)));
        assert_eq!(size(&png[..20]), None);
        let jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x0b\x08\x01\xf4\x02\x80";
        assert_eq!(size(jpeg), Some((640, 500)));
        assert_eq!(size(&jpeg[..14]), None);
        assert_eq!(size(b"GIF89a"), None);
    }
}
