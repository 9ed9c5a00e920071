//! Writes scenes to a directory: first under another name, so that the directory is complete or absent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use uard_core::random::Draws;
use uard_files::DirectoryLock;

use super::ScenesConfig;
use super::captions::{CAPTIONS, Described, captions};
use super::family::families;
use super::projection::{FEATURE_WIDTH, Projection};
use super::regions::REGIONS;
use super::rendering::{Alignment, Rendering, calibrated};
use super::scene::{CANVAS, Scene};
use super::things::things;
use uard_data::dataset::{Thing, Things};
use uard_data::npy::NpyWriter;
use uard_data::{Error, Result};

/// The format of the files; raised whenever the same configuration would give other files.
pub const FORMAT_VERSION: u32 = 2;

/// The file with the configuration and the format of a directory's scenes.
const PROVENANCE: &str = "scenes.json";

/// The number of scenes that are held in memory before they are written.
const CHUNK: usize = 64;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Provenance {
    format_version: u32,
    config: ScenesConfig,
    canvas_pixels: usize,
    captions_per_scene: usize,
    regions_per_scene: usize,
    feature_width: usize,
}

impl Provenance {
    fn new(config: &ScenesConfig) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            config: config.clone(),
            canvas_pixels: CANVAS,
            captions_per_scene: CAPTIONS,
            regions_per_scene: REGIONS,
            feature_width: FEATURE_WIDTH,
        }
    }
}

/// Whether a directory holds exactly the scenes of this configuration, written to the end by this
/// format version.
///
/// Reads `scenes.json` and checks that every file of every split exists; their contents are not read.
pub fn is_complete(dir: &Path, config: &ScenesConfig) -> bool {
    let provenance = uard_files::read(&dir.join(PROVENANCE)).ok();
    let provenance = provenance.and_then(|bytes| serde_json::from_slice::<Provenance>(&bytes).ok());
    provenance == Some(Provenance::new(config))
        && dir.join("images").is_dir()
        && config.splits().iter().all(|(split, _)| {
            [
                "ims.npy",
                "caps.txt",
                "ids.txt",
                "boxes.npy",
                "alignments.json",
                "things.json",
            ]
            .iter()
            .all(|file| dir.join(format!("{split}_{file}")).is_file())
        })
}

/// Draws all scenes and writes them into `dir`; see [`crate`] for the files.
///
/// Writes to a hidden directory beside `dir`, which is renamed to `dir` at the end. Existing scenes in
/// `dir` are replaced, an empty directory is filled, and a directory with anything else is refused.
/// Calls `on_scene` after each scene, from any thread, with the number of finished scenes and the total.
///
/// # Errors
/// A file that cannot be written, a split without scenes, a `dir` that holds something else, or
/// another process that writes it.
pub fn write(
    config: &ScenesConfig,
    dir: &Path,
    on_scene: &(dyn Fn(usize, usize) + Sync),
) -> Result<()> {
    check(config, dir)?;
    let lock = DirectoryLock::acquire_beside(dir);
    let _lock = lock.map_err(Error::io(dir, "write scenes to"))?;
    let partial = UnfinishedDirectory::beside(dir)?;
    let images = partial.path.join("images");
    fs::create_dir(&images).map_err(Error::io(&images, "create"))?;
    let draws = Draws::new(config.seed);
    let done = AtomicUsize::new(0);
    let writer = SplitWriter {
        draws,
        projection: calibrated(&draws),
        dir: &partial.path,
        on_scene: &|| on_scene(done.fetch_add(1, Ordering::Relaxed) + 1, config.scenes()),
    };
    for (number, (split, scenes)) in config.splits().into_iter().enumerate() {
        writer.split(number as u64, split, scenes)?;
    }
    write_json(&partial.path.join(PROVENANCE), &Provenance::new(config))?;
    partial.publish(dir)
}

/// Refuses a split without scenes, and a directory that holds anything but scenes.
fn check(config: &ScenesConfig, dir: &Path) -> Result<()> {
    let refuse = |kind, message: String| {
        Err(Error::io(dir, "write scenes to")(io::Error::new(
            kind, message,
        )))
    };
    if let Some((split, _)) = config.splits().iter().find(|(_, scenes)| *scenes == 0) {
        let message = format!("split `{split}` has 0 scenes; expected at least 1");
        return refuse(io::ErrorKind::InvalidInput, message);
    }
    if dir.join(PROVENANCE).is_file() || !dir.exists() || is_empty(dir) {
        return Ok(());
    }
    let message =
        format!("it holds other files and no {PROVENANCE}; choose another directory, or empty it");
    refuse(io::ErrorKind::AlreadyExists, message)
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

/// An unfinished directory, which is removed when dropped unless it was published.
struct UnfinishedDirectory {
    path: PathBuf,
}

impl UnfinishedDirectory {
    /// A hidden directory beside `dir`, named after it and this process.
    fn beside(dir: &Path) -> Result<Self> {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let path = dir.with_file_name(format!(".{name}.partial-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).map_err(Error::io(&path, "create"))?;
        Ok(Self { path })
    }

    /// Renames the directory to `dir`, after removing the existing one.
    fn publish(self, dir: &Path) -> Result<()> {
        if dir.exists() {
            fs::remove_dir_all(dir).map_err(Error::io(dir, "replace"))?;
        }
        fs::rename(&self.path, dir).map_err(Error::io(dir, "rename the finished scenes to"))
    }
}

impl Drop for UnfinishedDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Draws and writes the scenes of a split.
struct SplitWriter<'a> {
    draws: Draws,
    projection: Projection,
    dir: &'a Path,
    on_scene: &'a (dyn Fn() + Sync),
}

/// The features, boxes, alignments and things of a scene.
struct SceneData {
    features: Vec<f32>,
    boxes: Vec<f32>,
    alignments: Vec<Alignment>,
    things: Vec<Thing>,
}

#[derive(Serialize)]
struct Alignments {
    captions: Vec<Alignment>,
}

impl SplitWriter<'_> {
    fn split(&self, number: u64, split: &str, scenes: usize) -> Result<()> {
        let families = families(&self.draws, number, scenes);
        let described = captions(&self.draws, number, &families);
        let scenes: Vec<Scene> = families.into_iter().flat_map(|f| f.siblings).collect();
        let ids: Vec<String> = (0..scenes.len())
            .map(|index| format!("{split}_{index:05}"))
            .collect();
        let texts = described.iter().flatten().map(|d| d.caption.text.as_str());
        write_lines(&self.file(split, "caps.txt"), texts)?;
        write_lines(&self.file(split, "ids.txt"), ids.iter().map(String::as_str))?;
        let shape = [scenes.len(), REGIONS, FEATURE_WIDTH];
        let mut features = NpyWriter::create(&self.file(split, "ims.npy"), &shape)?;
        let shape = [scenes.len(), REGIONS, 4];
        let mut boxes = NpyWriter::create(&self.file(split, "boxes.npy"), &shape)?;
        let mut alignments = Alignments {
            captions: Vec::new(),
        };
        let mut shown = Things::default();
        for start in (0..scenes.len()).step_by(CHUNK) {
            let chunk = start..(start + CHUNK).min(scenes.len());
            let entries = chunk
                .into_par_iter()
                .map(|i| self.scene(&scenes[i], &described[i], &ids[i], [number, i as u64]))
                .collect::<Result<Vec<SceneData>>>()?;
            for scene in entries {
                features.write(&scene.features)?;
                boxes.write(&scene.boxes)?;
                alignments.captions.extend(scene.alignments);
                shown.images.push(scene.things);
            }
        }
        features.finish()?;
        boxes.finish()?;
        write_json(&self.file(split, "alignments.json"), &alignments)?;
        shown.write_json(&self.file(split, "things.json"))
    }

    fn scene(
        &self,
        scene: &Scene,
        described: &[Described],
        id: &str,
        indices: [u64; 2],
    ) -> Result<SceneData> {
        let rendering = Rendering::new(scene, &self.draws, indices);
        let path = self.dir.join("images").join(format!("{id}.png"));
        write_png(&path, &rendering.picture.pixels)?;
        let descriptors = rendering.descriptors();
        let features = descriptors
            .iter()
            .flat_map(|d| self.projection.project(d))
            .collect();
        let boxes = rendering
            .boxes
            .iter()
            .flat_map(|b| [b.x1, b.y1, b.x2, b.y2])
            .collect();
        let alignments = described.iter().map(|d| rendering.alignment(d)).collect();
        (self.on_scene)();
        Ok(SceneData {
            features,
            boxes,
            alignments,
            things: things(scene, &rendering.picture.visible),
        })
    }

    fn file(&self, split: &str, name: &str) -> PathBuf {
        self.dir.join(format!("{split}_{name}"))
    }
}

fn write_png(path: &Path, pixels: &[u8]) -> Result<()> {
    let mut bytes = Vec::new();
    let side = CANVAS as u32;
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Sub)
        .write_image(pixels, side, side, ExtendedColorType::Rgb8)
        .map_err(|cause| Error::io(path, "encode")(io::Error::other(cause)))?;
    fs::write(path, bytes).map_err(Error::io(path, "write"))
}

fn write_lines<'a>(path: &Path, lines: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut text = lines.collect::<Vec<_>>().join("\n");
    text.push('\n');
    fs::write(path, text).map_err(Error::io(path, "write"))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(value).map_err(io::Error::from);
    text.and_then(|text| fs::write(path, text))
        .map_err(Error::io(path, "write"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tiny(seed: u64) -> ScenesConfig {
        ScenesConfig {
            train: 7,
            dev: 2,
            test: 3,
            seed,
        }
    }

    fn written(config: &ScenesConfig, threads: usize) -> BTreeMap<PathBuf, Vec<u8>> {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("scenes");
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| write(config, &dir, &|_, _| ())).unwrap();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
        let mut files = BTreeMap::new();
        for folder in [dir.clone(), dir.join("images")] {
            for entry in fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
            {
                if entry.is_file() {
                    let name = entry.strip_prefix(&dir).unwrap().to_owned();
                    files.insert(name, fs::read(entry).unwrap());
                }
            }
        }
        files
    }

    #[test]
    fn same_seed_gives_same_bytes_with_one_and_two_threads() {
        let one = written(&tiny(4), 1);
        assert_eq!(one.len(), 12 + 18 + 1);
        assert!(one == written(&tiny(4), 2));
        assert!(one[Path::new("test_ims.npy")] != written(&tiny(5), 2)[Path::new("test_ims.npy")]);
    }

    #[test]
    fn features_are_finite_and_alignments_within_bounds() {
        let files = written(&tiny(1), 2);
        let npy = npyz::NpyFile::new(&files[Path::new("train_ims.npy")][..]).unwrap();
        assert_eq!(npy.shape(), [7, REGIONS as u64, FEATURE_WIDTH as u64]);
        let values: Vec<f32> = npy.into_vec().unwrap();
        assert!(values.iter().all(|value| value.is_finite()));
        let json: serde_json::Value =
            serde_json::from_slice(&files[Path::new("train_alignments.json")]).unwrap();
        let captions = json["captions"].as_array().unwrap();
        assert_eq!(captions.len(), 35);
        for pair in captions
            .iter()
            .flat_map(|caption| caption.as_array().unwrap())
        {
            let regions = pair[1].as_array().unwrap();
            assert!(!regions.is_empty() && pair[0].is_u64());
            assert!(
                regions
                    .iter()
                    .all(|region| region.as_u64().unwrap() < REGIONS as u64)
            );
        }
    }

    #[test]
    fn every_figure_is_visible_inside_of_the_canvas() {
        let files = written(&tiny(1), 2);
        let things: Things =
            serde_json::from_slice(&files[Path::new("train_things.json")]).unwrap();
        assert_eq!(things.images.len(), 7);
        for things in things.images {
            let corners: Vec<[f32; 4]> = things.iter().filter_map(|thing| thing.corners).collect();
            assert!((3..=6).contains(&corners.len()));
            for [x1, y1, x2, y2] in corners {
                assert!(0.0 <= x1 && x1 < x2 && x2 <= CANVAS as f32);
                assert!(0.0 <= y1 && y1 < y2 && y2 <= CANVAS as f32);
                assert!(x2 - x1 < CANVAS as f32 / 2.0);
            }
        }
    }

    #[test]
    fn complete_directory_is_recognised_and_an_incomplete_one_is_not() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("scenes");
        assert!(!is_complete(&dir, &tiny(0)));
        let calls = AtomicUsize::new(0);
        write(&tiny(0), &dir, &|_, total| {
            assert_eq!(total, 12);
            calls.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        assert_eq!(calls.into_inner(), 12);
        assert!(is_complete(&dir, &tiny(0)));
        assert!(!is_complete(&dir, &tiny(1)));
        fs::remove_file(dir.join("dev_boxes.npy")).unwrap();
        assert!(!is_complete(&dir, &tiny(0)));
        write(&tiny(0), &dir, &|_, _| ()).unwrap();
        assert!(is_complete(&dir, &tiny(0)));
    }

    #[test]
    fn a_directory_with_other_files_is_refused_and_not_changed() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("thesis.tex"), "mine").unwrap();
        let refused = write(&tiny(0), place.path(), &|_, _| ()).unwrap_err();
        assert!(
            refused.to_string().contains("choose another directory"),
            "{refused}"
        );
        assert!(place.path().join("thesis.tex").is_file());
    }

    #[test]
    fn split_without_scenes_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let config = ScenesConfig { dev: 0, ..tiny(0) };
        let refused = write(&config, &place.path().join("scenes"), &|_, _| ()).unwrap_err();
        assert!(
            refused.to_string().contains("`dev` has 0 scenes"),
            "{refused}"
        );
    }
}
