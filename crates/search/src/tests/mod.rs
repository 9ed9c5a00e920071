//! Random photos for tests, the expected state of an index, and random operations on both.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod adopting;
mod crashes;
mod damage;
mod filters;
mod folders;
mod killed;
mod plans;
mod writing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;
use uard_attention::{PackedRegions, Precision};
use uard_core::Regions;

use crate::photo::*;
use crate::segment::SegmentBuilder;
use crate::{Filter, Index, ModelIdentity, MovedPhoto, Result, Writer};

const WIDTH: usize = 4;

fn model() -> ModelIdentity {
    ModelIdentity {
        hash: "model".to_owned(),
        threshold: 0.1 + 0.2,
        encoder: "random".to_owned(),
        width: WIDTH,
        precision: Precision::Exact,
    }
}

/// A temporary folder, in memory if possible: syncing a disk takes time, and crashes are simulated.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A random photo and its regions.
#[derive(Debug, Clone, PartialEq)]
struct Made {
    photo: NewPhoto,
    /// [regions, WIDTH]
    numbers: Vec<f32>,
}

impl Made {
    /// A photo with one to five regions.
    fn new(path: &Path, rng: &mut ChaCha8Rng) -> Self {
        let regions = rng.random_range(1..=5);
        let mut number = || rng.random_range(-1.0f32..1.0);
        let numbers: Vec<f32> = (0..regions * WIDTH).map(|_| number()).collect();
        let boxes = (0..regions).map(|_| [(); 4].map(|()| number())).collect();
        let mut content = [0; 32];
        rng.fill(&mut content);
        let year = rng.random_range(2020..2025);
        let metadata = PhotoMetadata {
            width: rng.random_range(1..5000),
            height: rng.random_range(1..5000),
            date: rng
                .random_bool(0.7)
                .then(|| year.to_string().parse().unwrap()),
            camera: rng.random_bool(0.5).then(|| "Canon EOS".to_owned()),
            coordinates: rng.random_bool(0.5).then(|| Coordinates {
                latitude: rng.random_range(-90.0..90.0),
                longitude: rng.random_range(-180.0..180.0),
            }),
        };
        let thumbnail = (0..rng.random_range(0..40)).map(|_| rng.random()).collect();
        Self {
            photo: NewPhoto {
                file: made_file(path, rng),
                content: ContentHash(content),
                metadata,
                preview: Preview { thumbnail, boxes },
            },
            numbers,
        }
    }

    /// The bytes of a segment with this photo alone.
    fn packed(&self) -> Vec<u8> {
        segment_of(std::slice::from_ref(self))
    }
}

fn made_file(path: &Path, rng: &mut ChaCha8Rng) -> PhotoFile {
    PhotoFile {
        path: path.to_owned(),
        bytes: rng.random_range(1..1 << 40),
        modified: rng.random_range(i64::MIN..i64::MAX),
        inode: rng.random(),
    }
}

/// The bytes of a segment of some photos.
fn segment_of(made: &[Made]) -> Vec<u8> {
    let mut segment = SegmentBuilder::new(&model()).unwrap();
    segment.push(&regions(made)).unwrap();
    bytes(&segment.finish().unwrap())
}

fn regions(made: &[Made]) -> Regions {
    let counts: Vec<usize> = made.iter().map(|made| made.numbers.len() / WIDTH).collect();
    let longest = counts.iter().copied().max().unwrap();
    let mut padded = Vec::new();
    for made in made {
        padded.extend(&made.numbers);
        padded.resize(padded.len().next_multiple_of(longest * WIDTH), 0.0);
    }
    let shape = (made.len(), longest, WIDTH);
    let rows = Tensor::from_vec(padded, shape, &Device::Cpu).unwrap();
    Regions::normalized(&rows, counts).unwrap()
}

fn bytes(packed: &PackedRegions) -> Vec<u8> {
    let mut bytes = Vec::new();
    packed.write_to(&mut bytes).unwrap();
    bytes
}

fn add(writer: &mut Writer, made: &[Made]) -> Result<Vec<PhotoId>> {
    let photos: Vec<NewPhoto> = made.iter().map(|made| made.photo.clone()).collect();
    writer.add(&photos, &regions(made))
}

/// Photos at these paths; the index of each is its seed.
fn made(names: &[&str]) -> Vec<Made> {
    let numbered = names.iter().enumerate();
    numbered
        .map(|(seed, name)| Made::new(Path::new(name), &mut rng(seed as u64)))
        .collect()
}

/// Everything that an index holds.
#[derive(Debug, Clone, PartialEq, Default)]
struct State {
    /// Each photo, and the bytes of a segment with this photo alone.
    photos: BTreeMap<PhotoId, (NewPhoto, Vec<u8>)>,
    unreadable: BTreeMap<PathBuf, UnreadablePhoto>,
}

impl State {
    /// Reads everything from an index.
    fn read(index: &mut Index) -> Self {
        let mut photos = BTreeMap::new();
        for segment in index.select(&Filter::default()).unwrap().segments {
            for (&position, &id) in segment.positions.iter().zip(&segment.photos) {
                let mut alone = SegmentBuilder::new(&model()).unwrap();
                alone.push_photo(&segment.mapped, position).unwrap();
                let found = index.photo(id).unwrap().unwrap();
                assert_eq!((found.segment, found.position), (segment.segment, position));
                let photo = NewPhoto {
                    file: found.file,
                    content: found.content,
                    metadata: found.metadata,
                    preview: index.preview(id).unwrap().unwrap(),
                };
                photos.insert(id, (photo, bytes(&alone.finish().unwrap())));
            }
        }
        let unreadable = index.unreadable().unwrap().into_iter();
        Self {
            photos,
            unreadable: unreadable
                .map(|found| (found.file.path.clone(), found))
                .collect(),
        }
    }

    fn forget(&mut self, path: &Path) {
        self.photos.retain(|_, (photo, _)| photo.file.path != path);
        self.unreadable.remove(path);
    }

    /// Applies an operation. `ids` are the numbers that the index gave to the added photos.
    fn apply(&mut self, operation: &Operation, ids: &[PhotoId]) {
        match operation {
            Operation::Add(made) => {
                for (made, &id) in made.iter().zip(ids) {
                    self.forget(&made.photo.file.path);
                    self.photos.insert(id, (made.photo.clone(), made.packed()));
                }
            }
            Operation::Remove(paths) => paths.iter().for_each(|path| self.forget(path)),
            Operation::RemoveFolder(folder) => {
                self.photos
                    .retain(|_, (photo, _)| !photo.file.path.starts_with(folder));
                self.unreadable.retain(|path, _| !path.starts_with(folder));
            }
            Operation::Move(moved) => {
                let photos: Vec<_> = moved
                    .iter()
                    .map(|moved| self.photos.remove(&moved.id).unwrap())
                    .collect();
                for (MovedPhoto { id, file }, (mut photo, regions)) in moved.iter().zip(photos) {
                    self.forget(&file.path);
                    photo.file = file.clone();
                    self.photos.insert(*id, (photo, regions));
                }
            }
            Operation::Unreadable(found) => {
                for found in found {
                    self.forget(&found.file.path);
                    self.unreadable
                        .insert(found.file.path.clone(), found.clone());
                }
            }
            Operation::Compact | Operation::Reopen => {}
        }
    }
}

/// A change of an index.
#[derive(Debug, Clone)]
enum Operation {
    Add(Vec<Made>),
    Remove(Vec<PathBuf>),
    RemoveFolder(PathBuf),
    Move(Vec<MovedPhoto>),
    Unreadable(Vec<UnreadablePhoto>),
    Compact,
    Reopen,
}

impl Operation {
    /// Draws an operation.
    fn draw(rng: &mut ChaCha8Rng, state: &State) -> Self {
        let few = rng.random_range(1..4);
        match rng.random_range(0..16) {
            0..7 => Self::Add((0..few).map(|_| Made::new(&path(rng), rng)).collect()),
            7..9 => Self::Remove((0..few).map(|_| path(rng)).collect()),
            9 if rng.random_bool(0.3) => Self::RemoveFolder("/photos/b".into()),
            9..12 => {
                let mut moved = Vec::new();
                for &id in state.photos.keys() {
                    // Photos may exchange their paths, take those of others, or get the same one.
                    if rng.random_bool(0.3) {
                        let file = made_file(&path(rng), rng);
                        moved.push(MovedPhoto { id, file });
                    }
                }
                Self::Move(moved)
            }
            12 => Self::Unreadable(
                (0..few)
                    .map(|number| UnreadablePhoto {
                        file: made_file(&path(rng), rng),
                        reason: format!("reason {number}"),
                    })
                    .collect(),
            ),
            13..15 => Self::Compact,
            _ => Self::Reopen,
        }
    }

    /// Performs it, and returns the numbers of the photos that were added. The caller performs
    /// `Reopen`.
    fn perform(&self, writer: &mut Writer) -> Result<Vec<PhotoId>> {
        match self {
            Self::Add(made) => return add(writer, made),
            Self::Remove(paths) => writer.remove(paths).map(|_| ()),
            Self::RemoveFolder(folder) => writer.remove_folder(folder).map(|_| ()),
            Self::Move(moved) => writer.move_photos(moved),
            Self::Unreadable(found) => writer.add_unreadable(found),
            // Segments of about four photos, so that some are left alone.
            Self::Compact => writer.compact_to(16 << 10).map(|_| ()),
            Self::Reopen => Ok(()),
        }
        .map(|()| Vec::new())
    }
}

/// One of a few paths, so that operations often meet the same one; some are not UTF-8.
fn path(rng: &mut ChaCha8Rng) -> PathBuf {
    let folder = ["/photos/a", "/photos/b", "/photos/b/c"][rng.random_range(0..3)];
    match rng.random_range(0..5) {
        #[cfg(unix)]
        0 => {
            use std::os::unix::ffi::OsStrExt;
            Path::new(folder).join(std::ffi::OsStr::from_bytes(b"\xff\xfe.jpg"))
        }
        number => Path::new(folder).join(format!("{number}.jpg")),
    }
}
