//! Tests of `uard index` with an untrained model, whose encoder of photos has a few kilobytes.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::{serve, uard};

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use candle_core::Device;
use serde_json::{Value, json};
use uard::{inside, refused, scenes, succeeded, uard};
use uard_core::random::Draws;
use uard_features::text::TextModel;
use uard_features::text::vocabulary::Vocabulary;
use uard_model::{
    Checkpoint, CheckpointDirectory, FORMAT_VERSION, Model, ModelConfig, STATE, WORDS,
};
use uard_relevance::{LearnedThreshold, LearnerConfig};
use uard_search::{Index, IndexedPhoto};

/// Width and regions of the encoder of photos.
const WIDTH: usize = 20;
const REGIONS: usize = 16;

fn goldens(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../features/tests/goldens")
        .join(name)
}

/// Writes a run with a checkpoint of random weights, for features of this width.
fn write_run(run: &Path, width: usize, seed: u64) {
    let weights = goldens("transformers/dinov2");
    let config = format!(
        "model.joint_width = 8\n\
         text = {{ word_width = 5, longest = 20 }}\n\
         [images]\nencoder = \"vision-transformer\"\nregions = \"all\"\nweights = [{weights:?}]\n"
    );
    let settings = ModelConfig::from_toml(&config, "test").unwrap();
    let text = TextModel::from_vocabulary(Vocabulary::build(["a red circle"], 1), None, 20);
    let hash = text.hash().unwrap();
    let model = Model::new(&settings, width, text, &Draws::new(seed), &Device::Cpu).unwrap();
    let state = json!({
        "format_version": FORMAT_VERSION,
        "step": 3,
        "config": config,
        "vocabulary_hash": hash,
        "data_hash": "of no data",
        "features": { "regions": REGIONS, "width": width },
        "threshold": LearnedThreshold::first(&LearnerConfig::default()),
    });
    let mut files = model.files().unwrap();
    files.push((STATE, state.to_string().into_bytes()));
    files.push(("optimizer.safetensors", b"not copied".to_vec()));
    let name = CheckpointDirectory::name(3);
    CheckpointDirectory::of_run(run)
        .write(&name, &files)
        .unwrap();
}

/// A folder with photos, a run and an index.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// Four files: three photos, one of them in a subfolder, and one that is no photo.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder };
        write_run(&place.at("run"), WIDTH, 1);
        fs::create_dir_all(place.at("photos/sub")).unwrap();
        for (from, to) in [
            ("rgb.jpg", "photos/a.jpg"),
            ("grey.jpg", "photos/sub/b.jpg"),
            ("alpha.png", "photos/c.png"),
        ] {
            place.copy(from, to);
        }
        fs::write(place.at("photos/broken.jpg"), "no photo").unwrap();
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        inside(&self.folder, name)
    }

    fn copy(&self, golden: &str, to: &str) {
        fs::copy(goldens("photos").join(golden), self.at(to)).unwrap();
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = uard();
        command.current_dir(self.folder.path());
        command.args(["index", "--index", "index"]);
        command.args(arguments.split_whitespace());
        command
    }

    fn index(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Asserts that a call succeeds and that stderr has all parts.
    fn says(&self, arguments: &str, parts: &[&str]) {
        let output = self.index(arguments);
        succeeded(&output);
        let said = String::from_utf8_lossy(&output.stderr);
        for part in parts {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
    }

    fn photo(&self, name: &str) -> Option<IndexedPhoto> {
        let index = Index::open(&self.at("index")).unwrap();
        index.photo_at(&self.at(name)).unwrap()
    }

    fn stats(&self) -> Value {
        serde_json::from_str(&succeeded(&self.index("--stats --format json"))).unwrap()
    }
}

#[test]
fn an_update_finds_new_changed_moved_removed_and_unreadable_photos() {
    let place = Place::new();
    place.says(
        "photos --model run",
        &[
            "3 photos indexed (3 new, 0 changed, 0 moved, 0 removed, 0 unchanged) in index",
            "1 photos could not be read:",
            "photos/broken.jpg: its first bytes are not those of a JPEG",
        ],
    );
    // The index has a copy of the model, without what only a resumed training needs.
    assert!(place.at("index/model/model.safetensors").is_file());
    assert!(!place.at("index/model/optimizer.safetensors").exists());
    let moved = place.photo("photos/sub/b.jpg").unwrap();
    assert_eq!((moved.metadata.width, moved.metadata.height), (24, 16));
    let preview = Index::open(&place.at("index")).unwrap().preview(moved.id);
    let preview = preview.unwrap().unwrap();
    assert_eq!(preview.boxes.len(), REGIONS);
    assert!(preview.thumbnail.starts_with(b"\xff\xd8"));
    // Another path to the same folder is no other folder.
    place.says(
        "run/../photos",
        &["(0 new, 0 changed, 0 moved, 0 removed, 3 unchanged)"],
    );

    fs::rename(place.at("photos/sub/b.jpg"), place.at("photos/d.jpg")).unwrap();
    fs::remove_file(place.at("photos/c.png")).unwrap();
    place.copy("progressive.jpg", "photos/a.jpg");
    place.copy("orientation6.jpg", "photos/e.jpg");
    place.says(
        "photos",
        &["3 photos indexed (1 new, 1 changed, 1 moved, 1 removed, 0 unchanged)"],
    );
    assert_eq!(place.photo("photos/d.jpg").unwrap().id, moved.id);
    // The file has 16 x 24 pixels and lies on its side.
    assert_eq!(place.photo("photos/e.jpg").unwrap().metadata.width, 24);

    let stats = place.stats();
    assert_eq!(stats["photos"], 3);
    assert_eq!(stats["packed_images"], 5);
    let unreadable = stats["unreadable"][0]["path"].as_str().unwrap();
    assert!(unreadable.ends_with("photos/broken.jpg"), "{unreadable}");
    assert!(succeeded(&place.index("--compact")).contains("regions of 2 removed photos"));
    assert!(succeeded(&place.index("--remove photos/d.jpg")).contains("1 photos removed, 2 left"));
    refused(
        &place.index("--remove photos/d.jpg"),
        &["has no photo there"],
    );
    assert!(succeeded(&place.index("--check")).contains("everything is as it was written"));
    // A folder that is empty, as of a disk that is not mounted, loses nothing.
    fs::rename(place.at("photos"), place.at("elsewhere")).unwrap();
    fs::create_dir(place.at("photos")).unwrap();
    refused(&place.index("photos"), &["photos: no photo was found"]);
    assert_eq!(place.stats()["photos"], 2);
}

#[test]
fn another_model_another_encoder_and_wrong_paths_are_refused() {
    let place = Place::new();
    refused(
        &place.index("photos"),
        &["no index of photos is here yet", "--model RUN"],
    );
    refused(
        &place.index("nothing --model run"),
        &["cannot open nothing"],
    );
    fs::create_dir(place.at("empty")).unwrap();
    refused(
        &place.index("empty --model run"),
        &["empty: no photo was found"],
    );
    refused(&place.index("--stats"), &["no index of photos is here"]);
    assert!(!place.at("index").exists());
    for useless in [
        "--check --watch",
        "photos --split test",
        "--stats --model run",
        "photos --format json",
    ] {
        refused(&place.index(useless), &["cannot be used with"]);
    }
    fs::write(place.at("empty/broken.jpg"), "no photo").unwrap();
    refused(
        &place.index("empty --model run"),
        &["none of the photos could be read"],
    );

    place.says("photos --model run", &["3 photos indexed"]);
    write_run(&place.at("other"), WIDTH, 2);
    refused(
        &place.index("photos --model other"),
        &["made with the model"],
    );
    refused(
        &place.index("photos --precision bf16"),
        &["the index index has f32"],
    );
    place.copy("cmyk.jpg", "photos/new.jpg");
    let registers = goldens("transformers/dinov2_with_registers");
    let encoder = format!("photos --weights {}", registers.display());
    refused(
        &place.index(&encoder),
        &["its photos were encoded by vision-transformer"],
    );
    place.says("photos --model run/checkpoints/step-00000003", &["(1 new,"]);

    let lock = uard_files::DirectoryLock::acquire(&place.at("index")).unwrap();
    let holder = format!("process {} is writing there", std::process::id());
    refused(&place.index("photos"), &[&holder]);
    drop(lock);

    let segment = place.at("index/segment-1.packed");
    let mut bytes = fs::read(&segment).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let checked = place.index("--check");
    assert_eq!(checked.status.code(), Some(1));
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("segment-1.packed"), "{said}");
    assert!(
        said.contains("index them again") && said.contains("photos/a.jpg"),
        "{said}"
    );
}

#[test]
fn a_data_directory_is_indexed_with_and_without_its_pictures() {
    let place = Place::new();
    let data = scenes(1);
    let at = |name: &str| data.path().canonicalize().unwrap().join(name);
    write_run(&place.at("scenes"), uard_scenes::FEATURE_WIDTH, 1);
    let update = format!(
        "--data {} --split test --model scenes",
        data.path().display()
    );
    fs::rename(at("images"), at("away")).unwrap();
    place.says(&update, &["8 photos indexed (8 new,"]);
    let ids = fs::read_to_string(at("test_ids.txt")).unwrap();
    let id = ids.lines().next().unwrap();
    let index = Index::open(&place.at("index")).unwrap();
    let photo = index.photo_at(&at(id)).unwrap().unwrap();
    let preview = index.preview(photo.id).unwrap().unwrap();
    assert_eq!(
        (preview.boxes.len(), preview.thumbnail.len()),
        (uard_scenes::REGIONS, 0)
    );
    place.says(
        &update,
        &["(0 new, 0 changed, 0 moved, 0 removed, 8 unchanged)"],
    );

    fs::rename(at("away"), at("images")).unwrap();
    place.says(
        &update,
        &["8 photos indexed (8 new, 0 changed, 0 moved, 8 removed,"],
    );
    let picture = index
        .photo_at(&at(&format!("images/{id}.png")))
        .unwrap()
        .unwrap();
    assert_eq!(picture.metadata.width as usize, uard_scenes::CANVAS);
    refused(&place.index("photos"), &["--data"]);
}

/// Words of a model that has learned none.
fn write_no_words(model: &Path) {
    let identity = Checkpoint::open(model).unwrap().identity().unwrap();
    let words = json!({ "model": identity, "words": [] }).to_string();
    let header = json!({
        "__metadata__": { "words": words },
        "vectors": { "dtype": "F32", "shape": [0, 8], "data_offsets": [0, 0] },
    });
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    fs::write(model.join(WORDS), [&length, header.as_bytes()].concat()).unwrap();
}

#[test]
fn a_photo_is_a_query_whether_it_is_indexed_or_not() {
    let place = Place::new();
    let registers = goldens("transformers/dinov2_with_registers");
    let first = format!("photos --model run --weights {}", registers.display());
    place.says(&first, &["3 photos indexed"]);
    // The weights are remembered.
    place.copy("cmyk.jpg", "photos/new.jpg");
    place.says("photos", &["(1 new,"]);
    write_no_words(&place.at("index/model"));

    let asked = |arguments: &str| {
        let mut command = uard();
        command.current_dir(place.at("photos"));
        command.args(arguments.split_whitespace());
        command.args(["--index", "../index", "--format", "json"]);
        command.output().unwrap()
    };
    let json = |output: Output| serde_json::from_str::<Value>(&succeeded(&output)).unwrap();
    let indexed = json(asked("search --like a.jpg"));
    let results = indexed["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    assert!(
        results
            .iter()
            .all(|found| !found["path"].as_str().unwrap().ends_with("a.jpg"))
    );
    // The same photo outside of the folder.
    place.copy("rgb.jpg", "outside.jpg");
    let outside = json(asked("search --like ../outside.jpg"));
    let best = &outside["results"][0];
    assert!(
        best["path"].as_str().unwrap().ends_with("photos/a.jpg"),
        "{best}"
    );
    assert!(
        (best["similarity"].as_f64().unwrap() - 1.0).abs() < 1e-5,
        "{best}"
    );
    for (found, expected) in outside["results"].as_array().unwrap()[1..]
        .iter()
        .zip(results)
    {
        assert_eq!(found["path"], expected["path"]);
    }
    let explained = json(asked("explain ../outside.jpg circle"));
    assert_eq!(explained["id"], Value::Null);
    assert_eq!(explained["words"][0]["word"], "circle");
    refused(
        &asked("search --like ../photos/broken.jpg"),
        &["broken.jpg", "JPEG"],
    );
    refused(&asked("search"), &["QUERY"]);
    serve::takes_and_gives_photos(place.folder.path());
    serve::wants_a_token(place.folder.path());
}

/// Ends when the program does, however the test ends.
#[cfg(unix)]
struct Running(std::process::Child);

#[cfg(unix)]
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

#[cfg(unix)]
#[test]
fn a_watched_folder_is_updated_until_ctrl_c() {
    use std::io::{BufRead, BufReader};
    let place = Place::new();
    let mut command = place.command("photos --model run --watch");
    let mut running = Running(
        command
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let stderr = BufReader::new(running.0.stderr.take().unwrap());
    let mut lines = stderr.lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("waiting for changes")));
    place.copy("cmyk.jpg", "photos/sub/new.jpg");
    assert!(lines.any(|line| line.contains("4 photos indexed (1 new,")));
    let pid = running.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}

#[test]
fn an_index_adopts_others_and_answers_like_one_that_encoded_all_photos() {
    let place = Place::new();
    place.says("photos --model run", &["3 new"]);
    let part = |paths: &str, folder: &str| {
        let mut command = uard();
        command.current_dir(place.folder.path()).arg("index");
        command.args(paths.split(' '));
        command.args(["--model", "run", "--index", folder]);
        succeeded(&command.output().unwrap());
    };
    part("photos/a.jpg photos/c.png", "part-1");
    part("photos/sub photos/broken.jpg", "part-2");
    let adopt = |arguments: &str| {
        let mut command = uard();
        command.current_dir(place.folder.path());
        command.args(["index", "--index", "adopted", "--adopt"]);
        command.args(arguments.split(' ')).output().unwrap()
    };
    let output = adopt("part-1 part-2");
    succeeded(&output);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("3 photos indexed (3 new"), "{said}");
    assert!(said.contains("photos/broken.jpg"), "{said}");
    let paths = |folder: &str| {
        let mut paths = Index::open(&place.at(folder)).unwrap().paths().unwrap();
        paths.sort();
        paths
    };
    assert_eq!(paths("adopted"), paths("index"));
    // Model and encoder came with the photos, so that an update needs no more.
    let mut update = uard();
    update.current_dir(place.folder.path());
    update.args(["index", "photos", "--index", "adopted"]);
    let output = update.output().unwrap();
    succeeded(&output);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("0 new, 0 changed, 0 moved, 0 removed, 3 unchanged"),
        "{said}"
    );
    refused(&adopt("photos"), &["photos", "no index of photos is here"]);
    write_run(&place.at("other"), WIDTH, 2);
    let mut command = uard();
    command.current_dir(place.folder.path());
    command.args("index photos --model other --index foreign".split(' '));
    succeeded(&command.output().unwrap());
    refused(&adopt("part-1 foreign"), &["foreign", "the model"]);
}

#[test]
fn each_photo_is_in_one_part_and_photos_of_other_parts_stay() {
    let place = Place::new();
    let part = |part: &str, index: &str| {
        let mut command = uard();
        command.current_dir(place.folder.path());
        command.args(["index", "photos", "--model", "run", "--part", part]);
        let output = command.args(["--index", index]).output().unwrap();
        succeeded(&output);
        let mut paths = Index::open(&place.at(index)).unwrap().paths().unwrap();
        paths.sort();
        paths
    };
    let parts = ["1/3", "2/3", "3/3"].map(|number| part(number, &number.replace('/', "-of-")));
    let mut all = parts.concat();
    all.sort();
    place.says("photos --model run", &["3 new"]);
    let mut whole = Index::open(&place.at("index")).unwrap().paths().unwrap();
    whole.sort();
    assert_eq!(all, whole);
    // In an index of all photos, those of other parts are not taken for removed.
    fs::remove_file(place.at("photos/broken.jpg")).unwrap();
    assert_eq!(part("2/3", "index"), whole);
    refused(&place.index("photos --part 4/3"), &["4/3"]);
}

#[test]
fn parts_of_a_store_are_extracted_and_joined() {
    let place = Place::new();
    let weights = goldens("transformers/dinov2");
    let extract = |arguments: &str| {
        let mut command = uard();
        command.current_dir(place.folder.path()).arg("extract");
        command.args(arguments.split(' ')).output().unwrap()
    };
    let encoder = format!(
        "--encoder vision-transformer --weights {} --regions all --images photos",
        weights.display()
    );
    succeeded(&extract(&format!("{encoder} --out whole")));
    for part in ["1/2", "2/2"] {
        succeeded(&extract(&format!("{encoder} --out parts --part {part}")));
    }
    let joined = extract("--join parts --out joined");
    succeeded(&joined);
    let said = String::from_utf8_lossy(&joined.stderr).into_owned();
    assert!(said.contains("3 photos joined in"), "{said}");
    assert!(said.contains("1 photos could not be read"), "{said}");
    for file in ["store.json", "part-000000.safetensors", "unreadable.tsv"] {
        let read =
            |folder: &str| fs::read(place.at(folder).join("photos_store").join(file)).unwrap();
        assert_eq!(read("joined"), read("whole"), "{file}");
    }
    refused(
        &extract("--join whole --out other"),
        &["no part of photos is here"],
    );
    fs::remove_dir_all(place.at("parts/photos-2-of-2_store")).unwrap();
    refused(&extract("--join parts --out other"), &["2/2", "missing"]);
    refused(&extract(&format!("{encoder} --out o --part 3/2")), &["3/2"]);
    refused(
        &extract(&format!("{encoder} --out o --part 1/9")),
        &["at most 4 parts"],
    );
    refused(&extract("--out o"), &["--encoder"]);
}
