//! Tests that a written checkpoint is read back as the same model.

// The functions beside the tests are test code as well.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde_json::json;
use uard_core::random::{Draws, normal};
use uard_features::text::TextModel;
use uard_features::text::vocabulary::Vocabulary;
use uard_model::{
    Checkpoint, CheckpointDirectory, FORMAT_VERSION, ImageFeatures, Model, ModelConfig, STATE,
};
use uard_relevance::{LearnedThreshold, LearnerConfig};

const WIDTH: usize = 6;

const CONFIG: &str = "
    loss.margin = 0.2
    model.joint_width = 8
    text = { word_width = 5, longest = 20 }
    matcher.inverse_temperature = 20.0
    training.epochs = 3
    training.matmul = \"f32\"
";

const CAPTIONS: [&str; 2] = ["a red circle above a square", "a circle"];

fn model() -> Model {
    let config = ModelConfig::from_toml(CONFIG, "test").unwrap();
    let text =
        TextModel::from_vocabulary(Vocabulary::build(CAPTIONS, 1), None, config.text.longest);
    Model::new(&config, WIDTH, text, &Draws::new(7), &Device::Cpu).unwrap()
}

fn features() -> ImageFeatures {
    ImageFeatures {
        values: normal(
            &mut Draws::new(1).stream("features", &[]),
            1.0,
            2 * 3 * WIDTH,
        ),
        counts: vec![3, 2],
        regions: 3,
        width: WIDTH,
    }
}

/// Writes a checkpoint as training does, without the keys and files that only training reads.
fn written(run: &Path, model: &Model) -> PathBuf {
    let learner = LearnerConfig {
        first_threshold: 0.25,
        ..LearnerConfig::default()
    };
    let state = json!({
        "format_version": FORMAT_VERSION,
        "step": 3,
        "config": CONFIG,
        "vocabulary_hash": model.text().hash().unwrap(),
        "data_hash": "of no data",
        "features": { "regions": 3, "width": WIDTH },
        "threshold": LearnedThreshold::first(&learner),
    });
    let mut files = model.files().unwrap();
    files.push((STATE, state.to_string().into_bytes()));
    let directory = CheckpointDirectory::of_run(run);
    directory
        .write(&CheckpointDirectory::name(3), &files)
        .unwrap()
}

fn refusal(run: &Path) -> String {
    let model = Checkpoint::open(run).and_then(|checkpoint| checkpoint.model(&Device::Cpu));
    model.unwrap_err().to_string()
}

#[test]
fn a_checkpoint_encodes_captions_and_features_as_the_written_model_does() {
    let run = tempfile::tempdir().unwrap();
    let written_model = model();
    let path = written(run.path(), &written_model);
    let checkpoint = Checkpoint::open(run.path()).unwrap();
    assert_eq!(checkpoint.path(), path);
    assert_eq!(checkpoint.threshold(None), 0.25);
    let requested = Some("0.5".parse().unwrap());
    assert_eq!(checkpoint.threshold(requested), 0.5);
    let read = checkpoint.model(&Device::Cpu).unwrap();
    assert_eq!(read.matcher().config(), written_model.matcher().config());

    let words = read.texts(&CAPTIONS).unwrap();
    // The counts include the marks of start and end.
    assert_eq!(words.counts(), [8, 4]);
    let regions = read.images(features()).unwrap();
    assert_eq!(regions.counts(), [3, 2]);
    let numbers = |rows: &candle_core::Tensor| {
        let rows = rows.flatten_all().unwrap();
        rows.to_vec1::<f32>().unwrap()
    };
    let expected = written_model.texts(&CAPTIONS).unwrap();
    assert_eq!(numbers(words.rows()), numbers(expected.rows()));
    let expected = written_model.images(features()).unwrap();
    assert_eq!(numbers(regions.rows()), numbers(expected.rows()));
}

#[test]
fn a_copy_has_the_identity_of_its_model_and_nothing_of_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), &model());
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let identity = checkpoint.identity().unwrap();
    fs::write(path.join("optimizer.safetensors"), b"moments").unwrap();
    let copy = folder.path().join("index/model");
    checkpoint.copy_to(&copy).unwrap();
    assert!(!copy.join("optimizer.safetensors").exists());
    assert_eq!(
        fs::read_dir(folder.path().join("index")).unwrap().count(),
        1
    );
    let copied = Checkpoint::open(&copy).unwrap();
    assert_eq!(copied.identity().unwrap(), identity);
    copied.model(&Device::Cpu).unwrap();
    // A directory that holds something is not replaced.
    assert!(checkpoint.copy_to(&copy).is_err());
    // Without checksums the files themselves are hashed.
    fs::remove_file(copy.join("SHA256SUMS")).unwrap();
    let unsummed = Checkpoint::open(&copy).unwrap();
    assert_eq!(unsummed.identity().unwrap(), identity);
    fs::write(copy.join("model.safetensors"), b"other").unwrap();
    assert_ne!(unsummed.identity().unwrap(), identity);
}

#[test]
fn invalid_settings_are_refused_by_file_and_key() {
    let run = tempfile::tempdir().unwrap();
    let path = written(run.path(), &model());
    // Without checksums, so that the settings themselves are checked.
    fs::remove_file(path.join("SHA256SUMS")).unwrap();
    let state = fs::read_to_string(path.join(STATE)).unwrap();
    for (setting, other, expected) in [
        (
            "joint_width = 8",
            "joint_width = 0",
            "model.joint_width = 0: expected 1 to 8192",
        ),
        ("longest = 20", "longest = 2", "text.longest = 2"),
        ("word_width", "word_with", "word_with"),
        ("joint_width = 8", "joint_width = 800", "bytes of weights"),
        ("\"format_version\":2", "\"format_version\":9", "format 9"),
    ] {
        let changed = state.replacen(setting, other, 1);
        assert_ne!(changed, state, "{setting}");
        fs::write(path.join(STATE), changed).unwrap();
        let message = refusal(run.path());
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("step-00000003"), "{message}");
    }
}
