//! Tests of damaged files: every kind of damage is an error that names it, and no access leaves the file.

use half::bf16;
use proptest::prelude::*;

use super::super::file::verify;
use super::super::fragments::Part;
use super::*;
use crate::Error;

/// Bytes of the header, and of the table of a file for `Precision::Exact`.
const HEADER: usize = 128;
const TABLE: usize = 6 * 32;

fn file(kind: Kind) -> Vec<u8> {
    encoded(&Entries::new(&[2, 17, 1], 5).packed(kind, Precision::Exact))
}

fn message(file: &[u8]) -> String {
    let message = decoded(file, Kind::Regions).unwrap_err().to_string();
    assert!(message.starts_with("a.packed: "), "{message}");
    message
}

/// Reads everything that kernels read.
fn read_all(fragments: &Fragments) {
    for entry in 0..fragments.layout().counts().len() {
        let count = fragments.layout().counts()[entry];
        assert!(fragments.gram(entry).len() >= count * count);
        if fragments.supports(Precision::Exact) {
            assert_eq!(fragments.bounds(Part::Residuals, entry).len(), count);
        }
        let panels = fragments.layout().places_of(entry).end.div_ceil(16);
        let numbers = panels * 16 * fragments.shape().width;
        if fragments.supports(Precision::F32) {
            assert!(fragments.panels::<f32>().len() >= numbers);
        }
        if fragments.supports(Precision::Bf16) {
            assert!(fragments.panels::<bf16>().len() >= numbers);
        }
    }
}

/// Writes the right checksums of table and header after an edit.
fn seal(file: &mut [u8]) {
    let table = crc32fast::hash(&file[HEADER..HEADER + TABLE]);
    file[72..76].copy_from_slice(&table.to_le_bytes());
    let header = crc32fast::hash(&file[..124]);
    file[124..128].copy_from_slice(&header.to_le_bytes());
}

#[test]
fn a_file_gives_back_what_was_packed() {
    for kind in KINDS {
        for precision in PRECISIONS {
            for counts in [&[][..], &[1], &[5, 1, 20]] {
                let packed = Entries::new(counts, 33).packed(kind, precision);
                let file = encoded(&packed);
                let read = decoded(&file, kind).unwrap();
                verify(&read).unwrap();
                read_all(&read);
                assert_eq!(read.shape(), packed.shape());
                assert_eq!(read.layout().counts(), counts);
                assert_eq!(read.layout().blocks(), packed.layout().blocks());
                for part in Part::ALL {
                    let bytes = read.part(part).as_bytes();
                    assert_eq!(bytes, packed.part(part).as_bytes());
                    assert_eq!(bytes.as_ptr() as usize % 64, 0);
                }
                assert!(
                    encoded(&read) == file,
                    "writing it again gives the same bytes"
                );
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let mut file = file(Kind::Regions);
    let numbers = decoded(&file, Kind::Regions).unwrap();
    let numbers = file.len()
        - Part::ALL
            .map(|part| numbers.part(part).as_bytes().len())
            .iter()
            .sum::<usize>();
    let step = if cfg!(miri) { 97 } else { 1 };
    for at in (0..file.len()).step_by(step) {
        for bit in 0..8 {
            file[at] ^= 1 << bit;
            let found = decoded(&file, Kind::Regions);
            match found {
                Err(_) => assert!(at < numbers, "byte {at}: opening does not check numbers"),
                Ok(read) => {
                    assert!(at >= numbers, "byte {at} was not checked");
                    read_all(&read);
                    assert!(matches!(verify(&read), Err(Error::PackedChecksum { .. })));
                }
            }
            file[at] ^= 1 << bit;
        }
    }
}

#[test]
fn every_truncation_is_found() {
    let mut file = file(Kind::Regions);
    let length = file.len();
    let step = if cfg!(miri) { 97 } else { 1 };
    for short in (0..length).step_by(step) {
        let message = message(&file[..short]);
        let expected = match short {
            0 => "found nothing".to_owned(),
            1..HEADER => format!("expected 128 bytes, found {short}"),
            _ => format!("expected {length} bytes, found {short}"),
        };
        assert!(message.contains(&expected), "{short}: {message}");
    }
    file.push(0);
    let message = message(&file);
    assert!(
        message.contains(&format!("found {}", length + 1)),
        "{message}"
    );
}

#[test]
fn each_kind_of_damage_has_its_own_message() {
    let sound = file(Kind::Regions);
    let damaged = |at: usize, bytes: &[u8]| {
        let mut file = sound.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        message(&file)
    };
    for (at, bytes, expected) in [
        (0, &b"\x93NUMPY\x01\0"[..], "no file of packed fragments"),
        (8, &[1, 2, 3, 4], "byte order mark 01020304, found 04030201"),
        (12, &[2], "packed in format version 2, expected version 1"),
        (24, &[9], "checksum of the header"),
        (HEADER + 8, &[9], "checksum of the table"),
        (HEADER + TABLE, &[9], "checksum of the counts"),
    ] {
        let message = damaged(at, bytes);
        assert!(message.contains(expected), "{message}");
    }
    let message = message(&file(Kind::Words));
    assert!(
        message.contains("expected packed regions, found packed words"),
        "{message}"
    );
}

#[test]
fn contradictions_with_right_checksums_are_named() {
    let sealed = |at: usize, bytes: &[u8]| {
        let mut file = file(Kind::Regions);
        file[at..at + bytes.len()].copy_from_slice(bytes);
        seal(&mut file);
        message(&file)
    };
    for (at, bytes, expected) in [
        (16, &[3][..], "kind: expected 1 or 2, found 3"),
        (20, &[0], "precision: expected 1, 2 or 3, found 0"),
        (20, &[1], "rows of the table: expected 3, found 6"),
        (24, &[0], "width: expected 1 to 16777216, found 0"),
        (24, &[0xff; 8], "width: expected 1 to 16777216"),
        (24, &[64], "bytes of a part"),
        (32, &[2], "fragments: expected 19, found 20"),
        (32, &[4], "count of an entry: expected 1 to 65536, found 0"),
        (32, &[17], "checksum of the counts"),
        (32, &[0xff; 8], "bytes, found"),
        (40, &[21], "fragments: expected 20, found 21"),
        (48, &[9], "panels: expected 2, found 9"),
        (56, &[0], "columns of a block: expected 288, found"),
        (60, &[7], "rows of the table: expected 6, found 7"),
        (64, &[1], "bytes, found"),
        (HEADER + 32, &[6], "number of a part: expected 2, found 6"),
        (HEADER + 32 + 8, &[1], "offset of a part"),
        (HEADER + 64 + 16, &[0xff; 8], "bytes of a part"),
    ] {
        let message = sealed(at, bytes);
        assert!(message.contains(expected), "{at} {bytes:?}: {message}");
    }
}

#[test]
fn counts_out_of_range_are_named() {
    for count in [0u32, (1 << 16) + 1, u32::MAX] {
        let mut file = file(Kind::Regions);
        let counts = HEADER + TABLE..HEADER + TABLE + 64;
        file[counts.start + 4..counts.start + 8].copy_from_slice(&count.to_le_bytes());
        let checksum = crc32fast::hash(&file[counts]);
        file[HEADER + 4..HEADER + 8].copy_from_slice(&checksum.to_le_bytes());
        seal(&mut file);
        let message = message(&file);
        let expected = format!("count of an entry: expected 1 to 65536, found {count}");
        assert!(message.contains(&expected), "{message}");
    }
}

fn odd_number() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(1 << 63),
        Just(1 << 32),
        0..400u64,
        any::<u64>()
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 2000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn edited_numbers_with_right_checksums_never_lead_outside(
        edits in prop::collection::vec((16..HEADER + TABLE + 64 - 8, odd_number(), 1..=8usize), 1..4),
        length in prop_oneof![Just(None), (0..4000u64).prop_map(Some)],
    ) {
        let mut file = file(Kind::Words);
        for (at, number, bytes) in edits {
            file[at..at + bytes].copy_from_slice(&number.to_le_bytes()[..bytes]);
        }
        if let Some(length) = length {
            file[64..72].copy_from_slice(&length.to_le_bytes());
            file.resize(length.max(512) as usize, 0);
        }
        let counts = crc32fast::hash(&file[HEADER + TABLE..HEADER + TABLE + 64]);
        file[HEADER + 4..HEADER + 8].copy_from_slice(&counts.to_le_bytes());
        seal(&mut file);
        if let Ok(read) = decoded(&file, Kind::Words) {
            read_all(&read);
            let _ = verify(&read);
        }
    }

    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(decoded(&noise, Kind::Words).is_err());
    }
}
