//! Tests of decoding photos: pictures that `goldens/photos.py` wrote, and broken ones made from
//! them.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::path::{Path, PathBuf};

use uard_features::backbone::{Photo, PhotoLimits, Truncated};

/// The largest difference of a colour after JPEG at quality 95, and after conversion to CMYK and
/// back.
const TOLERANCE: i32 = 6;

/// The middle pixels (x, y) of the green corner, of the red rest of the left half, and of the blue
/// half.
const PLACES: [(usize, usize); 3] = [(3, 3), (4, 12), (18, 8)];
const COLOURS: [[u8; 3]; 3] = [[40, 200, 60], [200, 40, 40], [40, 60, 200]];

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/photos");
    folder.join(name)
}

fn open(name: &str) -> Photo {
    Photo::open(&golden(name), PhotoLimits::default()).unwrap()
}

fn assert_shows(name: &str, colours: [[u8; 3]; 3]) {
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
fn every_format_is_decoded_to_the_right_colours() {
    for name in ["rgb.jpg", "cmyk.jpg", "lossless.webp", "rgb.gif"] {
        assert_shows(name, COLOURS);
    }
}

#[test]
fn a_jpeg_that_ends_early_cannot_be_read_whatever_follows_its_end() {
    let limits = PhotoLimits::default();
    for name in [
        "rgb.jpg",
        "progressive.jpg",
        "restarts.jpg",
        "cmyk.jpg",
        "grey.jpg",
    ] {
        let whole = open(name);
        let bytes = std::fs::read(golden(name)).unwrap();
        // The picture is so small that the decoder does not need the last bytes.
        for length in (1..bytes.len() - 8).step_by(3) {
            let refusal = Photo::decode(name, &bytes[..length], limits);
            assert!(refusal.is_err(), "{name} with {length} bytes");
        }
        let another = b"\0\xff\xd8 another picture, as phones store them";
        let followed = [&bytes[..], another].concat();
        assert_eq!(
            Photo::decode(name, &followed, limits).unwrap(),
            whole,
            "{name}"
        );
    }
}

#[test]
fn the_reason_states_how_many_bytes_the_file_has() {
    let limits = PhotoLimits::default();
    let bytes = std::fs::read(golden("rgb.jpg")).unwrap();
    for length in [bytes.len() - 40, 100, 20] {
        let message = refused(&bytes[..length], limits);
        let expected = format!("ends after {length} bytes before its picture does");
        assert!(message.contains(&expected), "{message}");
    }
    for name in ["grey16.png", "lossless.webp", "lossy.webp"] {
        let bytes = std::fs::read(golden(name)).unwrap();
        let message = refused(&bytes[..bytes.len() * 2 / 3], limits);
        assert!(message.contains("it ends after"), "{name}: {message}");
    }
    let bytes = std::fs::read(golden("rgb.gif")).unwrap();
    let message = refused(&bytes[..bytes.len() * 2 / 3], limits);
    assert!(message.contains("Unexpected End of File"), "{message}");
}

#[test]
fn a_gif_whose_frame_is_larger_than_its_picture_is_refused() {
    let mut bytes = std::fs::read(golden("rgb.gif")).unwrap();
    let descriptor = bytes.iter().position(|&byte| byte == b',').unwrap();
    // Width and height of the frame: 10,000 x 10,000 pixels would take 400 MB.
    for place in [5, 7] {
        bytes[descriptor + place..][..2].copy_from_slice(&10_000_u16.to_le_bytes());
    }
    let message = refused(&bytes, PhotoLimits::default());
    assert!(message.contains("limit"), "{message}");
}

#[test]
fn other_formats_cut_at_any_byte_are_complete_or_refused() {
    for name in [
        "grey16.png",
        "alpha.png",
        "lossless.webp",
        "lossy.webp",
        "rgb.gif",
    ] {
        let whole = open(name);
        let bytes = std::fs::read(golden(name)).unwrap();
        for length in 0..bytes.len() {
            if let Ok(photo) = Photo::decode(name, &bytes[..length], PhotoLimits::default()) {
                assert_eq!(photo, whole, "{name} with {length} bytes");
            }
        }
    }
}

#[test]
fn the_missing_part_of_an_accepted_truncated_jpeg_is_grey() {
    let limits = PhotoLimits {
        truncated: Truncated::Accepted,
        ..PhotoLimits::default()
    };
    let bytes = std::fs::read(golden("rgb.jpg")).unwrap();
    let photo = Photo::decode("half", &bytes[..bytes.len() - 40], limits).unwrap();
    assert_eq!((photo.width(), photo.height()), (24, 16));
    assert_eq!(photo.pixels()[..24], open("rgb.jpg").pixels()[..24]);
}

#[test]
fn grey_becomes_three_equal_colours_and_sixteen_bits_eight() {
    assert_shows("grey16.png", [[40; 3], [200; 3], [40; 3]]);
    // Grey is 0.299 red + 0.587 green + 0.114 blue.
    assert_shows("grey.jpg", [[136; 3], [88; 3], [70; 3]]);
}

#[test]
fn transparent_pixels_become_white() {
    assert_shows("alpha.png", [[40, 200, 60], [255; 3], [255; 3]]);
}

#[test]
fn every_orientation_is_turned_upright() {
    for orientation in 1..=8 {
        assert_shows(&format!("orientation{orientation}.jpg"), COLOURS);
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
    assert!(message.contains("it is empty"), "{message}");
    let png = std::fs::read(golden("grey16.png")).unwrap();
    refused(&png[..png.len() / 2], limits);
    let missing = Photo::open(Path::new("no such photo.jpg"), limits).unwrap_err();
    assert!(missing.to_string().contains("no such photo.jpg"));
}

#[test]
fn the_format_is_recognised_by_content_not_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("名 字.txt");
    std::fs::copy(golden("rgb.jpg"), &path).unwrap();
    let photo = Photo::open(&path, PhotoLimits::default()).unwrap();
    assert_eq!(photo, open("rgb.jpg"));
}

/// A PNG whose header declares this size, without any pixels.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let parts = [chunk(&header), chunk(b"IDAT"), chunk(b"IEND")];
    [&b"\x89PNG\r\n\x1a\n"[..], &parts.concat()].concat()
}

/// A chunk of a PNG; `content` begins with the four bytes of its type.
fn chunk(content: &[u8]) -> Vec<u8> {
    let mut bytes = ((content.len() - 4) as u32).to_be_bytes().to_vec();
    bytes.extend(content);
    bytes.extend(checksum(content).to_be_bytes());
    bytes
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
    assert!(message.contains("--longest-side 16000"), "{message}");
    // With the limit raised, it is refused because it has no pixels.
    let message = refused(&bomb(16_000, 16_000), PhotoLimits::up_to(16_000));
    assert!(!message.contains("limit"), "{message}");
    let small = PhotoLimits { side: 20, ..limits };
    let picture = std::fs::read(golden("rgb.jpg")).unwrap();
    let message = refused(&picture, small);
    assert!(message.contains("24 x 16 pixels"), "{message}");
}

/// A zlib stream of zeros, 258 for every 13 bits: the longest match of deflate's fixed codes.
fn packed_zeros(matches: usize) -> Vec<u8> {
    // The header of a last block in fixed codes, a zero, `matches` matches at distance 1, the end.
    let zero = [0, 0, 1, 1, 0, 0, 0, 0];
    let longest = [1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0];
    let mut bits = [&[1, 1, 0][..], &zero, &longest.repeat(matches), &[0; 7]].concat();
    bits.resize(bits.len().next_multiple_of(8), 0);
    let byte = |bits: &[u8]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | bit);
    let zeros = 1 + 258 * matches as u32;
    let adler = (zeros % 65_521) << 16 | 1;
    [
        &[0x78, 0x01],
        &bits.chunks(8).map(byte).collect::<Vec<u8>>()[..],
        &adler.to_be_bytes(),
    ]
    .concat()
}

/// The largest resident memory of this process so far, in bytes.
#[cfg(target_os = "linux")]
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    1024 * kilobytes.parse::<u64>().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn a_colour_profile_that_decompresses_to_much_is_not_decompressed() {
    let png = std::fs::read(golden("alpha.png")).unwrap();
    // The profile is inserted after the signature and the header.
    let (start, rest) = png.split_at(8 + 25);
    let profile = |matches| {
        let content = [&b"iCCPa\0\0"[..], &packed_zeros(matches)].concat();
        [start, &chunk(&content), rest].concat()
    };
    let decode = |png: &[u8]| Photo::decode("png", png, PhotoLimits::default()).unwrap();
    assert_eq!(decode(&profile(1)), open("alpha.png"));
    let bomb = profile(1_000_000);
    let before = peak();
    assert_eq!(decode(&bomb), open("alpha.png"));
    // 1.6 MB that decompress to 258 MB.
    assert!(peak() - before < 100 << 20, "{} to {}", before, peak());
}

#[test]
fn a_chunk_of_a_webp_that_declares_more_than_the_file_has_is_refused() {
    let webp = std::fs::read(golden("lossless.webp")).unwrap();
    let extended = b"VP8X\x0a\0\0\0\x08\0\0\0\x17\0\0\x0f\0\0";
    let exif = b"EXIF\xfe\xff\xff\xff, and no more";
    let bytes = [&webp[..12], extended, &webp[12..], exif].concat();
    let riff = |size: usize| [b"RIFF", &(size as u32).to_le_bytes()[..], &bytes[8..]].concat();
    let message = refused(&riff(bytes.len() - 8), PhotoLimits::default());
    assert!(message.contains("it ends after"), "{message}");
    // Bytes after the end that the file declares are not read.
    let trailing = [&webp[..], exif].concat();
    let photo = Photo::decode("webp", &trailing, PhotoLimits::default()).unwrap();
    assert_eq!(photo, open("lossless.webp"));
}
