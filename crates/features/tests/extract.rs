//! Tests of extraction from a folder into a store: readable photos are stored, other files are
//! listed with the reason.

// The helper functions of the tests unwrap as well.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use uard_core::random::Draws;
use uard_data::dataset::Split;
use uard_data::store::{Element, FeatureStore, Finished, Share, Shares, StoreWriter};
use uard_features::backbone::{
    Cells, Fit, GridBackbone, Photo, PhotoLimits, Preprocessing, ResNet, Stage, Truncated,
};
use uard_features::extract::{
    CaptionedPhotos, Extracted, Extraction, PhotoEncoder, PhotoList, PhotoRegions, Progress,
    StorePlace,
};
use uard_hub::weights::Weights;
use uard_linalg::matmul::Matmul;

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/photos")
}

/// A network of a few channels with random weights.
fn encoder(height: u32) -> GridBackbone {
    let config = ResNet {
        width: 4,
        ..ResNet::R18
    };
    let weights = Weights::drawn(Draws::new(3));
    let network = config.load(&weights, Stage::C4, Matmul::F32).unwrap();
    let preprocessing = Preprocessing {
        fit: Fit::Stretch { width: 48, height },
        ..Preprocessing::IMAGENET
    };
    GridBackbone::new(network, preprocessing, Cells::Grid { side: 3 }).unwrap()
}

/// Photos of every format, and files that are not photos.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str, to: &str| {
        fs::copy(goldens().join(name), folder.path().join(to)).unwrap();
    };
    fs::create_dir(folder.path().join("一只猫")).unwrap();
    copy("cmyk.jpg", "cmyk.jpg");
    copy("grey16.png", "a photo with spaces.png");
    copy("rgb.gif", "一只猫/猫.gif");
    copy("orientation6.jpg", "named as a picture.png");
    copy("lossless.webp", "lossless.webp");
    let photo = fs::read(goldens().join("rgb.jpg")).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("broken.jpg", &photo[..photo.len() / 2]);
    write("empty.jpg", b"");
    write("huge.png", &huge());
    write("text.jpg", b"this is no photo");
    folder
}

/// A PNG of 20,000 x 20,000 pixels in a hundred bytes. Its end is missing, which must not be
/// reported: it is refused for its size.
fn huge() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend(20_000_u32.to_be_bytes());
    png.extend(20_000_u32.to_be_bytes());
    png.extend([8, 0, 0, 0, 0]);
    // The checksum of the header, computed with zlib.
    png.extend(0xc61b_19e5_u32.to_be_bytes());
    png.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    png
}

const UNREADABLE: [(&str, &str); 4] = [
    ("broken.jpg", "it ends after 364 bytes"),
    ("empty.jpg", "it is empty"),
    ("huge.png", "20000 x 20000"),
    ("text.jpg", "not those of a JPEG"),
];

/// An extraction of some photos into a folder of its own.
struct Case<'a> {
    encoder: &'a GridBackbone,
    photos: PhotoList,
    out: tempfile::TempDir,
}

impl<'a> Case<'a> {
    fn new(encoder: &'a GridBackbone, folder: &Path) -> Self {
        Self {
            encoder,
            photos: PhotoList::open(folder).unwrap(),
            out: tempfile::tempdir().unwrap(),
        }
    }

    fn run(
        &self,
        on_progress: &dyn Fn(Progress),
        stop: &AtomicBool,
    ) -> uard_features::Result<Extracted> {
        self.run_share(None, on_progress, stop)
    }

    fn run_share(
        &self,
        share: Option<Share>,
        on_progress: &dyn Fn(Progress),
        stop: &AtomicBool,
    ) -> uard_features::Result<Extracted> {
        let extraction = Extraction {
            encoder: self.encoder,
            name: "tiny",
            weights: &goldens().join("rgb.jpg"),
            limits: PhotoLimits::default(),
            element: Element::F32,
        };
        let photos = self.photos.photos();
        let place = StorePlace {
            share,
            ..dev(self.out.path())
        };
        extraction.run(place, photos, on_progress, stop)
    }

    /// Runs without being stopped.
    fn run_to_end(&self) -> Extracted {
        self.run(&|_| (), &AtomicBool::new(false)).unwrap()
    }

    /// The name and bytes of every file of the store.
    fn bytes(&self) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(self.out.path().join("dev_store")).unwrap();
        let mut files: Vec<(String, Vec<u8>)> = entries
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                (name, fs::read(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }
}

fn dev(dir: &Path) -> StorePlace<'_> {
    StorePlace {
        dir,
        split: "dev",
        share: None,
    }
}

#[test]
fn readable_photos_are_stored_and_other_files_listed_with_the_reason() {
    let (encoder, folder) = (encoder(48), folder());
    let case = Case::new(&encoder, folder.path());
    let expected = Finished {
        images: 5,
        unreadable: 4,
    };
    assert_eq!(case.run_to_end(), Extracted::Finished(expected));
    let store = FeatureStore::open(case.out.path(), "dev").unwrap();
    store.verify().unwrap();
    let ids: Vec<&str> = store.ids().collect();
    let sorted = [
        "a photo with spaces.png",
        "cmyk.jpg",
        "lossless.webp",
        "named as a picture.png",
        "一只猫/猫.gif",
    ];
    assert_eq!(ids, sorted);
    let listed: Vec<(String, String)> = store
        .unreadable()
        .map(|entry| (entry.id.clone(), entry.reason.clone()))
        .collect();
    assert_eq!(listed.len(), UNREADABLE.len());
    for ((id, reason), (expected, part)) in listed.iter().zip(UNREADABLE) {
        assert_eq!(id, expected);
        assert!(reason.contains(part), "{id}: {reason}");
        let path = folder.path().display().to_string();
        assert!(!reason.contains(&path), "{id}: {reason}");
    }
    for image in 0..store.images() {
        assert_eq!(store.count(image).unwrap(), 9);
        let boxes = store.boxes(image).unwrap().unwrap();
        let size = store.size(image).unwrap().unwrap();
        assert_eq!(boxes[8][2..], [size.width as f32, size.height as f32]);
    }
}

#[test]
fn stopped_and_continued_with_any_number_of_threads_the_bytes_are_the_same() {
    // A part of a store holds more photos than there are here, so this tests that nothing of a
    // stopped run is kept. Parts are tested in uard-data.
    let (encoder, folder) = (encoder(48), folder());
    let straight = Case::new(&encoder, folder.path());
    straight.run_to_end();
    let stopped = Case::new(&encoder, folder.path());
    let stop = AtomicBool::new(false);
    let after_one = |progress: Progress| stop.store(progress.done > 0, Ordering::Relaxed);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let outcome = pool
        .unwrap()
        .install(|| stopped.run(&after_one, &stop).unwrap());
    assert_eq!(outcome, Extracted::Stopped);
    assert!(FeatureStore::open(stopped.out.path(), "dev").is_err());
    assert!(matches!(stopped.run_to_end(), Extracted::Finished(_)));
    assert_eq!(stopped.bytes(), straight.bytes());
    // The extraction runs again on a complete store.
    let seen = std::cell::Cell::new(0);
    let on_progress = |progress: Progress| seen.set(progress.before);
    straight.run(&on_progress, &AtomicBool::new(false)).unwrap();
    assert_eq!(seen.get(), 9);
    assert_eq!(stopped.bytes(), straight.bytes());
}

#[test]
#[cfg(unix)]
fn pipes_sockets_devices_and_bad_names_are_listed_without_waiting() {
    use std::ffi::OsStr;
    use std::os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener};
    let (encoder, folder) = (encoder(48), tempfile::tempdir().unwrap());
    let at = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
    for name in [
        &b"a.jpg"[..],
        b"tab\there.jpg",
        b"new\nline.jpg",
        b"x\xe8.jpg",
        b"x\xe9.jpg",
    ] {
        fs::copy(goldens().join("rgb.jpg"), at(name)).unwrap();
    }
    let made = std::process::Command::new("mkfifo")
        .arg(at(b"pipe"))
        .status();
    assert!(made.unwrap().success());
    let _socket = UnixListener::bind(at(b"socket")).unwrap();
    symlink("/dev/zero", at(b"device")).unwrap();
    symlink("nothing", at(b"link to nothing")).unwrap();
    let case = Case::new(&encoder, folder.path());
    let expected = Finished {
        images: 1,
        unreadable: 8,
    };
    assert_eq!(case.run_to_end(), Extracted::Finished(expected));
    let list = fs::read_to_string(case.out.path().join("dev_store/unreadable.tsv")).unwrap();
    let expected = [
        ("device", "a character device"),
        ("link to nothing", "No such file"),
        ("new\\nline.jpg", "rename it"),
        ("pipe", "a named pipe"),
        ("socket", ""),
        ("tab\\there.jpg", "rename it"),
        ("x\\xe8.jpg", "not UTF-8"),
        ("x\\xe9.jpg", "not UTF-8"),
    ];
    assert_eq!(list.lines().count(), expected.len());
    for (line, (id, part)) in list.lines().zip(expected) {
        let (found, reason) = line.split_once('\t').unwrap();
        assert_eq!(found, id);
        assert!(reason.contains(part) && !reason.contains('\t'), "{line}");
    }
}

/// An encoder with one region a photo, whose only feature is NaN for photos of more than 16 rows.
struct NanEncoder;

impl PhotoEncoder for NanEncoder {
    fn encode(&self, photos: &[Photo]) -> uard_features::Result<Vec<PhotoRegions>> {
        let regions = |photo: &Photo| PhotoRegions {
            features: vec![if photo.height() > 16 { f32::NAN } else { 1.0 }],
            boxes: vec![[0.0, 0.0, 16.0, 16.0]],
            extras: Default::default(),
        };
        Ok(photos.iter().map(regions).collect())
    }

    fn width(&self) -> usize {
        1
    }

    fn most_regions(&self) -> usize {
        1
    }

    fn extras(&self) -> &'static [&'static str] {
        &[]
    }

    fn settings(&self) -> uard_features::Result<serde_json::Value> {
        Ok(serde_json::Value::Null)
    }
}

#[test]
fn a_photo_whose_features_cannot_be_stored_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let photo = fs::read(goldens().join("rgb.jpg")).unwrap();
    fs::write(folder.path().join("a.jpg"), &photo).unwrap();
    // The height in the header: 24 rows, of which 8 are missing.
    let frame = photo.windows(2).position(|bytes| bytes == b"\xff\xc0");
    let mut taller = photo;
    taller[frame.unwrap() + 6] = 24;
    fs::write(folder.path().join("b.jpg"), taller).unwrap();
    let (out, photos) = (folder.path().join("out"), PhotoList::open(folder.path()));
    let extraction = Extraction {
        encoder: &NanEncoder,
        name: "broken",
        weights: &goldens().join("rgb.jpg"),
        limits: PhotoLimits {
            truncated: Truncated::Accepted,
            ..PhotoLimits::default()
        },
        element: Element::F32,
    };
    let photos = photos.unwrap();
    let stop = AtomicBool::new(false);
    let done = extraction.run(dev(&out), photos.photos(), &|_| (), &stop);
    let expected = Finished {
        images: 1,
        unreadable: 1,
    };
    assert_eq!(done.unwrap(), Extracted::Finished(expected));
    let list = fs::read_to_string(out.join("dev_store/unreadable.tsv")).unwrap();
    assert!(
        list.starts_with("b.jpg\tregion 0: feature 0 is NaN"),
        "{list}"
    );
    let manifest = fs::read_to_string(out.join("dev_store/store.json")).unwrap();
    assert!(
        manifest.contains("\"truncated\": \"accepted\""),
        "{manifest}"
    );
}

#[test]
fn if_no_photo_can_be_read_the_error_and_the_list_state_the_reasons() {
    let (encoder, folder) = (encoder(48), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("a.jpg"), b"").unwrap();
    fs::write(folder.path().join("b.jpg"), b"text").unwrap();
    let case = Case::new(&encoder, folder.path());
    let message = case.run(&|_| (), &AtomicBool::new(false)).unwrap_err();
    let message = message.to_string();
    assert!(
        message.contains("a.jpg: it is empty; b.jpg: its first bytes"),
        "{message}"
    );
    let list = case.out.path().join("dev_store/unreadable.tsv");
    assert!(message.contains(&list.display().to_string()), "{message}");
    assert_eq!(fs::read_to_string(list).unwrap().lines().count(), 2);
}

#[test]
fn a_store_has_one_writer_and_a_complete_store_is_not_locked() {
    let (encoder, folder) = (encoder(48), folder());
    let case = Case::new(&encoder, folder.path());
    let during = |progress: Progress| {
        if progress.done == 0 {
            let message = case.run(&|_| (), &AtomicBool::new(false)).unwrap_err();
            assert!(
                message.to_string().contains("is writing there"),
                "{message}"
            );
            assert!(StoreWriter::check_writable(&dev(case.out.path()).path()).is_err());
        }
    };
    case.run(&during, &AtomicBool::new(false)).unwrap();
    let complete = case.bytes();
    assert!(complete.iter().all(|(name, _)| !name.starts_with('.')));
    let again = |_: Progress| {
        case.run_to_end();
    };
    case.run(&again, &AtomicBool::new(false)).unwrap();
    assert_eq!(case.bytes(), complete);
}

#[test]
fn checking_a_place_leaves_no_files_there() {
    let folder = tempfile::tempdir().unwrap();
    StoreWriter::check_writable(&dev(folder.path()).path()).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(StoreWriter::check_writable(&dev(&file).path()).is_err());
}

#[test]
fn a_store_of_other_settings_or_photos_is_not_continued() {
    let (square, tall, folder) = (encoder(48), encoder(64), folder());
    let case = Case::new(&square, folder.path());
    case.run_to_end();
    let other = Case {
        encoder: &tall,
        photos: case.photos.clone(),
        out: case.out,
    };
    let message = other.run(&|_| (), &AtomicBool::new(false)).unwrap_err();
    assert!(message.to_string().contains("height"), "{message}");
    fs::remove_file(folder.path().join("cmyk.jpg")).unwrap();
    let fewer = Case {
        encoder: &square,
        photos: PhotoList::open(folder.path()).unwrap(),
        out: other.out,
    };
    let message = fewer.run(&|_| (), &AtomicBool::new(false)).unwrap_err();
    assert!(message.to_string().contains("cmyk.jpg"), "{message}");
}

#[test]
fn captions_of_unreadable_photos_are_left_out() {
    let (encoder, folder) = (encoder(48), tempfile::tempdir().unwrap());
    let photos = folder.path().join("photos");
    fs::create_dir(&photos).unwrap();
    fs::copy(goldens().join("rgb.jpg"), photos.join("a.jpg")).unwrap();
    fs::write(photos.join("b.jpg"), b"nothing").unwrap();
    fs::copy(goldens().join("grey.jpg"), photos.join("c.jpg")).unwrap();
    let text = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    text("dev_ids.txt", "a.jpg\nb.jpg\nc.jpg\n");
    text("dev_caps.txt", "a one\na two\nb one\nb two\nc one\nc two\n");
    let captioned = CaptionedPhotos::open(folder.path()).unwrap();
    assert_eq!((captioned.splits.len(), &captioned.photos), (1, &photos));
    let split = &captioned.splits[0];
    let case = Case {
        encoder: &encoder,
        photos: split.list.clone(),
        out: tempfile::tempdir().unwrap(),
    };
    case.run_to_end();
    let store = FeatureStore::open(case.out.path(), "dev").unwrap();
    split.write_captions(case.out.path(), &store).unwrap();
    let read = Split::open(case.out.path(), "dev").unwrap();
    assert_eq!(read.captions, ["a one", "a two", "c one", "c two"]);
    assert_eq!(read.image_of_caption, [0, 0, 1, 1]);
    assert_eq!(read.ids, ["a.jpg", "c.jpg"]);
    let nothing = CaptionedPhotos::open(&photos).unwrap_err().to_string();
    assert!(nothing.contains("train_ids.txt"), "{nothing}");
}

#[test]
fn shares_are_extracted_alone_and_joined_to_the_bytes_of_one_extraction() {
    let (encoder, folder) = (encoder(48), folder());
    let whole = Case::new(&encoder, folder.path());
    whole.run_to_end();
    let shared = Case::new(&encoder, folder.path());
    let stop = AtomicBool::new(false);
    for number in [3, 1, 2] {
        let share: Share = format!("{number}/3").parse().unwrap();
        let photos = share.range(whole.photos.photos().len()).len();
        let on_progress = |progress: Progress| assert_eq!(progress.total, photos);
        let extracted = shared.run_share(Some(share), &on_progress, &stop);
        assert!(matches!(extracted.unwrap(), Extracted::Finished(_)));
    }
    let dir = shared.out.path();
    let shares = Shares::open(&[dir.to_owned()], "dev").unwrap();
    shares.join(dir, "dev", &mut |_| (), &stop).unwrap();
    assert_eq!(shared.bytes(), whole.bytes());
    let too_many = shared.run_share(Some("3/99".parse().unwrap()), &|_| (), &stop);
    let message = too_many.unwrap_err().to_string();
    assert!(message.contains("at most 9 parts"), "{message}");
}
