//! Are photos decoded as people see them, and refused with a reason where they cannot be? Pictures
//! written by `goldens/photos.py`, and broken ones made here.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::path::{Path, PathBuf};

use uard_features::backbone::{Photo, PhotoLimits};

/// Of a colour, of JPEG at quality 95 and of colours that went through CMYK.
const TOLERANCE: i32 = 6;

/// Middles of the green corner, of the red rest of the left half, and of the blue half.
const PLACES: [(usize, usize); 3] = [(3, 3), (4, 12), (18, 8)];
const COLOURS: [[u8; 3]; 3] = [[40, 200, 60], [200, 40, 40], [40, 60, 200]];

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/photos");
    folder.join(name)
}

fn open(name: &str) -> Photo {
    Photo::open(&golden(name), PhotoLimits::default()).unwrap()
}

fn shows(name: &str, colours: [[u8; 3]; 3]) {
    let photo = open(name);
    assert_eq!((photo.width(), photo.height()), (24, 16), "{name}");
    for ((x, y), expected) in PLACES.into_iter().zip(colours) {
        let found = &photo.pixels()[(y * 24 + x) * 3..][..3];
        for (found, expected) in found.iter().zip(expected) {
            let difference = (i32::from(*found) - i32::from(expected)).abs();
            assert!(
                difference <= TOLERANCE,
                "{name} at {x}, {y}: {found} {expected}"
            );
        }
    }
}

#[test]
fn every_kind_of_file_shows_its_colours() {
    for name in ["rgb.jpg", "cmyk.jpg", "lossless.webp", "rgb.gif"] {
        shows(name, COLOURS);
    }
}

#[test]
fn grey_becomes_three_equal_colours_and_sixteen_bits_eight() {
    shows("grey16.png", [[40; 3], [200; 3], [40; 3]]);
    // 0.299 red + 0.587 green + 0.114 blue.
    shows("grey.jpg", [[136; 3], [88; 3], [70; 3]]);
}

#[test]
fn what_is_transparent_is_white() {
    shows("alpha.png", [[40, 200, 60], [255; 3], [255; 3]]);
}

#[test]
fn every_orientation_is_turned_upright() {
    for orientation in 1..=8 {
        shows(&format!("orientation{orientation}.jpg"), COLOURS);
    }
}

fn refused(bytes: &[u8], limits: PhotoLimits) -> String {
    let error = Photo::decode("folder/a 照片.jpg", bytes, limits).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("folder/a 照片.jpg"), "{message}");
    message
}

#[test]
fn files_that_are_no_photos_are_refused_by_name() {
    let limits = PhotoLimits::default();
    let message = refused(b"a text file", limits);
    assert!(message.contains("first bytes"), "{message}");
    let message = refused(b"", limits);
    assert!(message.contains("first bytes"), "{message}");
    let png = std::fs::read(golden("grey16.png")).unwrap();
    refused(&png[..png.len() / 2], limits);
    let missing = Photo::open(Path::new("no such photo.jpg"), limits).unwrap_err();
    assert!(missing.to_string().contains("no such photo.jpg"));
}

#[test]
fn the_kind_is_told_by_content_not_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("名 字.txt");
    std::fs::copy(golden("rgb.jpg"), &path).unwrap();
    let photo = Photo::open(&path, PhotoLimits::default()).unwrap();
    assert_eq!(photo, open("rgb.jpg"));
}

/// A PNG that says it has 20,000 x 20,000 pixels: its header, without any.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let chunk = |kind: &[u8]| {
        let mut bytes = ((kind.len() - 4) as u32).to_be_bytes().to_vec();
        bytes.extend(kind);
        bytes.extend(checksum(kind).to_be_bytes());
        bytes
    };
    let parts = [chunk(&header), chunk(b"IDAT"), chunk(b"IEND")];
    [&b"\x89PNG\r\n\x1a\n"[..], &parts.concat()].concat()
}

/// CRC-32 of PNG.
fn checksum(bytes: &[u8]) -> u32 {
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 * (sum & 1))
        })
    });
    !sum
}

#[test]
fn decompression_bombs_are_refused_before_they_are_decoded() {
    let limits = PhotoLimits::default();
    let message = refused(&bomb(20_000, 20_000), limits);
    assert!(message.contains("20000 x 20000 pixels"), "{message}");
    assert!(message.contains("16384 a side"), "{message}");
    let message = refused(&bomb(16_000, 16_000), limits);
    assert!(message.contains("bytes to decode"), "{message}");
    let small = PhotoLimits { side: 20, ..limits };
    let picture = std::fs::read(golden("rgb.jpg")).unwrap();
    let message = refused(&picture, small);
    assert!(message.contains("24 x 16 pixels"), "{message}");
}
