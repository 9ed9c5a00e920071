//! Reads the EXIF data of a photo: date, camera, orientation and coordinates.

use std::io::Cursor;

use exif::{In, Reader, Tag, Value};

use crate::photo::{Coordinates, Date};

/// The EXIF data that an index stores. A field that is missing or has an impossible value is `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exif {
    /// When it was taken, in the camera's local time.
    pub date: Option<Date>,
    /// Make and model.
    pub camera: Option<String>,
    /// How the stored pixels are turned and mirrored, 1 to 8 as in EXIF; 1 is upright.
    pub orientation: Option<u8>,
    /// Where it was taken.
    pub coordinates: Option<Coordinates>,
}

impl Exif {
    /// Reads the EXIF data from the bytes of a JPEG, PNG, WebP, TIFF or HEIF file. Never fails: a photo
    /// without EXIF data, or with damaged ones, can be indexed too.
    pub fn read(bytes: &[u8]) -> Self {
        let read = || {
            let mut reader = Reader::new();
            reader.continue_on_error(true);
            let read = reader.read_from_container(&mut Cursor::new(bytes));
            read.or_else(|error| error.distill_partial_result(|_| ()))
        };
        match uard_files::caught(read) {
            Ok(Ok(exif)) => Self {
                date: date(&exif),
                camera: camera(&exif),
                orientation: orientation(&exif),
                coordinates: coordinates(&exif),
            },
            _ => Self::default(),
        }
    }
}

/// When the photo was taken, or else digitised, or else changed.
fn date(exif: &exif::Exif) -> Option<Date> {
    let tags = [Tag::DateTimeOriginal, Tag::DateTimeDigitized, Tag::DateTime];
    tags.into_iter().find_map(|tag| {
        let found = exif::DateTime::from_ascii(text(exif, tag)?.as_bytes()).ok()?;
        let (year, month, day) = (found.year, found.month, found.day);
        let (hour, minute, second) = (found.hour, found.minute, found.second);
        let date = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        date.parse().ok()
    })
}

/// Make and model. Many models begin with their make, which is then not repeated.
fn camera(exif: &exif::Exif) -> Option<String> {
    match (text(exif, Tag::Make), text(exif, Tag::Model)) {
        (Some(make), Some(model)) if model.starts_with(&make) => Some(model),
        (Some(make), Some(model)) => Some(format!("{make} {model}")),
        (make, model) => model.or(make),
    }
}

fn orientation(exif: &exif::Exif) -> Option<u8> {
    let number = exif
        .get_field(Tag::Orientation, In::PRIMARY)?
        .value
        .get_uint(0)?;
    u8::try_from(number)
        .ok()
        .filter(|number| (1..=8).contains(number))
}

fn coordinates(exif: &exif::Exif) -> Option<Coordinates> {
    let degrees = |tag, greatest: f64| match &exif.get_field(tag, In::PRIMARY)?.value {
        Value::Rational(parts) => {
            let mut unit = 1.0;
            let mut sum = 0.0;
            for part in parts.iter().take(3) {
                sum += part.to_f64() / unit;
                unit *= 60.0;
            }
            // A division by zero gives infinity or NaN, which is refused here too.
            (!parts.is_empty() && sum <= greatest).then_some(sum)
        }
        _ => None,
    };
    let sign = |tag, negative| match text(exif, tag)?.as_str() {
        side if side == negative => Some(-1.0),
        _ => Some(1.0),
    };
    Some(Coordinates {
        latitude: degrees(Tag::GPSLatitude, 90.0)? * sign(Tag::GPSLatitudeRef, "S")?,
        longitude: degrees(Tag::GPSLongitude, 180.0)? * sign(Tag::GPSLongitudeRef, "W")?,
    })
}

/// A text field, without the spaces and zero bytes that cameras fill it with.
fn text(exif: &exif::Exif, tag: Tag) -> Option<String> {
    let Value::Ascii(lines) = &exif.get_field(tag, In::PRIMARY)?.value else {
        return None;
    };
    let text = String::from_utf8_lossy(lines.first()?);
    let text = text.trim_matches(|mark: char| mark == '\0' || mark.is_whitespace());
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use exif::experimental::Writer;
    use exif::{Field, Rational};

    fn field(tag: Tag, value: Value) -> Field {
        Field {
            tag,
            ifd_num: In::PRIMARY,
            value,
        }
    }

    fn ascii(tag: Tag, text: &str) -> Field {
        field(tag, Value::Ascii(vec![text.as_bytes().to_vec()]))
    }

    fn degrees(tag: Tag, parts: [[u32; 2]; 3]) -> Field {
        let parts = parts.map(|[num, denom]| Rational { num, denom });
        field(tag, Value::Rational(parts.to_vec()))
    }

    /// A JPEG that holds EXIF data and no pixels.
    fn jpeg(fields: &[Field]) -> Vec<u8> {
        let mut writer = Writer::new();
        fields.iter().for_each(|field| writer.push_field(field));
        let mut tiff = Cursor::new(Vec::new());
        writer.write(&mut tiff, false).unwrap();
        let segment = [b"Exif\0\0", tiff.get_ref().as_slice()].concat();
        let length = u16::try_from(segment.len() + 2).unwrap().to_be_bytes();
        [
            &[0xff, 0xd8, 0xff, 0xe1],
            &length[..],
            &segment,
            &[0xff, 0xd9],
        ]
        .concat()
    }

    fn fields() -> Vec<Field> {
        vec![
            ascii(Tag::DateTime, "2025:01:01 00:00:00"),
            ascii(Tag::DateTimeOriginal, "2024:05:17 10:30:00"),
            ascii(Tag::Make, "Canon \0"),
            ascii(Tag::Model, "Canon EOS R5"),
            field(Tag::Orientation, Value::Short(vec![6])),
            degrees(Tag::GPSLatitude, [[33, 1], [51, 1], [3000, 100]]),
            ascii(Tag::GPSLatitudeRef, "S"),
            degrees(Tag::GPSLongitude, [[151, 1], [12, 1], [0, 1]]),
            ascii(Tag::GPSLongitudeRef, "E"),
        ]
    }

    #[test]
    fn all_fields_are_read() {
        let exif = Exif::read(&jpeg(&fields()));
        assert_eq!(exif.date.unwrap().as_str(), "2024-05-17T10:30:00");
        assert_eq!(exif.camera.unwrap(), "Canon EOS R5");
        assert_eq!(exif.orientation, Some(6));
        let coordinates = exif.coordinates.unwrap();
        assert!(
            (coordinates.latitude + 33.858_333).abs() < 1e-6,
            "{coordinates:?}"
        );
        assert!(
            (coordinates.longitude - 151.2).abs() < 1e-9,
            "{coordinates:?}"
        );
    }

    #[test]
    fn impossible_values_are_none() {
        let nonsense = [
            ascii(Tag::DateTimeOriginal, "0000:00:00 00:00:00"),
            ascii(Tag::Make, "\0\0  "),
            field(Tag::Orientation, Value::Short(vec![9])),
            degrees(Tag::GPSLatitude, [[1, 0], [0, 0], [0, 0]]),
            ascii(Tag::GPSLatitudeRef, "N"),
            degrees(Tag::GPSLongitude, [[500, 1], [0, 1], [0, 1]]),
            ascii(Tag::GPSLongitudeRef, "E"),
        ];
        assert_eq!(Exif::read(&jpeg(&nonsense)), Exif::default());
        assert_eq!(Exif::read(b""), Exif::default());
        assert_eq!(Exif::read(b"\xff\xd8 no photo"), Exif::default());
    }

    #[test]
    fn damaged_exif_data_do_not_panic() {
        let whole = jpeg(&fields());
        for at in 0..whole.len() {
            let _ = Exif::read(&whole[..at]);
            for flip in [1, 0x80, 0xff] {
                let mut broken = whole.clone();
                broken[at] ^= flip;
                let _ = Exif::read(&broken);
            }
        }
    }
}
