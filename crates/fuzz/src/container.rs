//! Damages zip archives and PNGs and then corrects their checksums, because readers refuse a wrong
//! checksum before they read the damaged bytes.

use std::io::{Cursor, Read, Write};

use rand::Rng;
use uard_core::random::Stream;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::mutate::{LONGEST, damaged};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Number of bytes of a PNG's chunk besides its data: length, name and checksum.
const AROUND_DATA: usize = 12;

/// Damages a file. In half of the cases the checksums of archives and PNGs are corrected.
pub fn damage(stream: &mut Stream, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let correct = stream.random::<bool>();
    if correct
        && bytes.starts_with(b"PK")
        && let Some(archive) = with_damaged_member(stream, bytes)
    {
        return archive;
    }
    let mut damaged = damaged(stream, bytes, other);
    if correct && damaged.starts_with(PNG) {
        correct_checksums(&mut damaged);
    }
    damaged
}

/// The archive with one of its members damaged, and all of them stored without compression.
fn with_damaged_member(stream: &mut Stream, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).ok()?;
    let chosen = stream.random_range(0..archive.len().max(1));
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for at in 0..archive.len() {
        let mut member = archive.by_index(at).ok()?;
        let mut content = Vec::new();
        member
            .by_ref()
            .take(LONGEST as u64)
            .read_to_end(&mut content)
            .ok()?;
        if at == chosen {
            content = damaged(stream, &content, bytes);
        }
        writer.start_file(member.name().ok()?, options).ok()?;
        writer.write_all(&content).ok()?;
    }
    Some(writer.finish().ok()?.into_inner())
}

/// Writes the right checksum after every complete chunk of a PNG.
fn correct_checksums(bytes: &mut [u8]) {
    let mut start = PNG.len();
    while let Some(length) = bytes.get(start..start + 4) {
        let length = length
            .iter()
            .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        let end = start + AROUND_DATA + length;
        let Some(chunk) = bytes.get_mut(start..end) else {
            return;
        };
        let (summed, checksum) = chunk.split_at_mut(AROUND_DATA - 4 + length);
        checksum.copy_from_slice(&crc32fast::hash(&summed[4..]).to_be_bytes());
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use uard_core::random::Draws;

    use super::*;

    #[test]
    fn checksums_of_a_png_are_right_after_damage() {
        let png = std::fs::read(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../features/tests/goldens/photos/alpha.png"
        ));
        let right = png.expect("the picture is in the repository");
        let mut corrected = right.clone();
        // The last byte of the file belongs to a checksum.
        *corrected.last_mut().expect("not empty") ^= 1;
        correct_checksums(&mut corrected);
        assert_eq!(corrected, right);
    }

    #[test]
    fn an_archive_with_a_damaged_member_is_still_an_archive() {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let named = writer.start_file("a", SimpleFileOptions::default());
        named.expect("a member");
        writer.write_all(b"some content").expect("written");
        let archive = writer.finish().expect("whole").into_inner();
        let damaged = with_damaged_member(&mut Draws::new(0).stream("zip", &[1]), &archive);
        let damaged = damaged.expect("an archive");
        let mut reader = ZipArchive::new(Cursor::new(damaged)).expect("an archive");
        let mut content = Vec::new();
        let member = reader.by_name("a");
        member
            .expect("it is there")
            .read_to_end(&mut content)
            .expect("right checksum");
        assert_ne!(content, b"some content");
    }
}
