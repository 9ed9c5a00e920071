//! Wrong input of training and evaluation is refused with an error message and exit code 2.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::uard;

use std::fs;
use std::path::{Path, PathBuf};

use uard::{random_array, refused, run, scenes, succeeded, train, uard};
use uard_data::npy::write_f32;

const SHAPE: [usize; 3] = [6, 4, 8];

/// A data directory of six images and twelve captions a split, which the tests damage.
struct Data {
    directory: tempfile::TempDir,
}

impl Data {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (seed, split) in [(1, "train"), (2, "dev")] {
            random_array(
                &directory.path().join(format!("{split}_ims.npy")),
                &SHAPE,
                seed,
            );
            let captions = "a dog with a ball\na red kite above the sea\n".repeat(SHAPE[0]);
            fs::write(directory.path().join(format!("{split}_caps.txt")), captions).unwrap();
        }
        Self { directory }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn refuses(&self, parts: &[&str]) {
        let run = self.at("run");
        refused(
            &train(self.directory.path(), &run, &[]).output().unwrap(),
            parts,
        );
        assert!(!run.join("checkpoints").exists());
    }
}

#[test]
fn a_truncated_array_is_named_with_both_sizes() {
    let data = Data::new();
    let bytes = fs::read(data.at("train_ims.npy")).unwrap();
    fs::write(data.at("train_ims.npy"), &bytes[..bytes.len() - 100]).unwrap();
    data.refuses(&["train_ims.npy", "truncated", "768", "668"]);
}

#[test]
fn another_number_of_axes_is_refused() {
    let data = Data::new();
    random_array(&data.at("train_ims.npy"), &[6, 32], 1);
    data.refuses(&["train_ims.npy", "expected 3 axes", "(6, 32)"]);
}

#[test]
fn an_array_of_objects_is_refused_with_advice() {
    let data = Data::new();
    let text = "{'descr': '|O', 'fortran_order': False, 'shape': (6, 4, 8), }";
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{text:<117}\n").into_bytes());
    fs::write(data.at("dev_ims.npy"), bytes).unwrap();
    data.refuses(&["dev_ims.npy", "object array", "astype"]);
}

#[test]
fn a_feature_that_is_nan_is_located() {
    let data = Data::new();
    let mut values = random_array(&data.at("train_ims.npy"), &SHAPE, 1);
    values[3 * 32 + 2 * 8 + 5] = f32::NAN;
    write_f32(&data.at("train_ims.npy"), &SHAPE, &values).unwrap();
    data.refuses(&["train_ims.npy", "image 3, region 2", "feature 5 is NaN"]);
}

#[test]
fn a_number_of_captions_that_is_no_multiple_of_images_is_refused() {
    let data = Data::new();
    fs::write(data.at("train_caps.txt"), "a dog\n".repeat(13)).unwrap();
    data.refuses(&["13 captions", "6 images", "train_map.txt"]);
}

#[test]
fn an_empty_caption_is_located() {
    let data = Data::new();
    let captions = fs::read_to_string(data.at("dev_caps.txt")).unwrap();
    fs::write(
        data.at("dev_caps.txt"),
        captions.replacen("a red kite above the sea", " ", 1),
    )
    .unwrap();
    data.refuses(&["dev_caps.txt line 2", "empty caption"]);
}

#[test]
fn a_caption_of_ten_thousand_words_is_cut_with_a_warning() {
    let data = Data::new();
    let captions = fs::read_to_string(data.at("train_caps.txt")).unwrap();
    let long = captions.replacen("a red kite", &"kite ".repeat(10_000), 1);
    fs::write(data.at("train_caps.txt"), long).unwrap();
    let output = train(data.directory.path(), &data.at("run"), &[]).output();
    let output = output.unwrap();
    succeeded(&output);
    let said = String::from_utf8_lossy(&output.stderr);
    let line = "train_caps.txt line 2 is cut after 256 words or pieces (text.longest, ";
    assert!(said.contains(line), "{said}");
}

#[test]
fn ids_that_contradict_the_order_of_captions_are_refused() {
    let data = Data::new();
    let ids: String = (0..12)
        .map(|caption| format!("{}.jpg\n", caption % 6))
        .collect();
    fs::write(data.at("train_ids.txt"), ids).unwrap();
    data.refuses(&[
        "train_ids.txt lines 1 and 2",
        "`0.jpg` and `1.jpg`",
        "train",
    ]);
}

#[test]
fn images_that_repeat_up_to_rounding_give_a_warning() {
    let data = Data::new();
    let mut values = random_array(&data.at("dev_ims.npy"), &[12, 4, 8], 3);
    for row in (0..12).step_by(2) {
        let (first, copy) = values[row * 32..(row + 2) * 32].split_at_mut(32);
        copy.copy_from_slice(first);
        copy[3] *= 1.0001;
    }
    write_f32(&data.at("dev_ims.npy"), &[12, 4, 8], &values).unwrap();
    let output = train(data.directory.path(), &data.at("run"), &[])
        .output()
        .unwrap();
    succeeded(&output);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("each 2 rows") && said.contains("dev_ims.npy"),
        "{said}"
    );
}

#[test]
fn unknown_keys_and_values_of_a_configuration_are_refused() {
    let data = Data::new();
    let config = data.at("own.toml");
    fs::write(&config, "[training]\nepoch = 3\n").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = uard();
        command
            .args(["train", "--data"])
            .arg(data.directory.path())
            .arg("--run");
        command
            .arg(data.at("run"))
            .args(arguments)
            .output()
            .unwrap()
    };
    refused(
        &run(&["--config", config.to_str().unwrap()]),
        &["own.toml", "`epoch`", "`epochs`"],
    );
    let set = |set| run(&["--config", "scenes", "--set", set]);
    refused(
        &set("training.epoch=3"),
        &["--set training.epoch=3", "`epochs`"],
    );
    refused(&set("trainings.epochs=3"), &["trainings", "training"]);
    refused(
        &set("model.joint_width=1099511627776"),
        &["model.joint_width = 1099511627776", "1 to 8192"],
    );
    refused(
        &set("text.word_width=10000000"),
        &["text.word_width", "1 to 8192"],
    );
    refused(
        &set("evaluation.split=../../dev"),
        &[
            "evaluation.split",
            "expected the name of a split, such as dev",
        ],
    );
    refused(
        &set("training.batch=1"),
        &["training.batch = 1", "2 or more"],
    );
    refused(&set("training.epochs"), &["expected section.key=value"]);
    refused(
        &run(&["--config", "no.toml"]),
        &["no.toml", "scenes, flickr8k"],
    );
    refused(
        &run(&["--config", "scenes", "--compare", "soft"]),
        &["soft", "maxsim"],
    );
    assert!(!data.at("run").exists());
}

#[test]
fn missing_paths_and_arguments_are_named() {
    let data = Data::new();
    let run_directory = data.at("run");
    let output = train(Path::new("no/such/data"), &run_directory, &[])
        .output()
        .unwrap();
    refused(&output, &["no/such/data"]);
    refused(&run("train --config coco"), &["--data DIR is needed"]);
    refused(
        &run("evaluate --checkpoint no/run --data d --split dev"),
        &["no/run", "no checkpoint"],
    );
    refused(
        &run("evaluate --checkpoint Cargo.toml --data d --split dev"),
        &["Cargo.toml", "no checkpoint", "expected a directory"],
    );
    refused(&run("train"), &["--config"]);
    refused(
        &run("train --config scenes --device gpu"),
        &["gpu", "auto, cpu, cuda or metal"],
    );
}

#[cfg(not(any(feature = "cuda", feature = "metal")))]
#[test]
fn a_device_that_was_not_built_in_is_refused() {
    let data = Data::new();
    let output = train(
        data.directory.path(),
        &data.at("run"),
        &["--device", "cuda"],
    )
    .output();
    // `train` already gives --device, and clap refuses the option twice.
    refused(&output.unwrap(), &["--device"]);
    let arguments = format!(
        "train --config scenes --device cuda --data {}",
        data.directory.path().display()
    );
    // Exit code 1: the arguments are valid, but this build or machine lacks the device.
    let output = run(&arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--features cuda"), "{said}");
}

/// Evaluates a run on its own data.
fn evaluate(run_directory: &Path, data: &Path) -> std::process::Output {
    run(&format!(
        "evaluate --checkpoint {} --data {} --split dev --format json",
        run_directory.display(),
        data.display()
    ))
}

#[test]
fn checkpoints_of_another_format_vocabulary_or_data_are_refused() {
    let data = scenes(1);
    let own = tempfile::tempdir().unwrap();
    succeeded(
        &train(data.path(), own.path(), &["--set", "training.patience=1"])
            .output()
            .unwrap(),
    );
    let text = succeeded(&evaluate(own.path(), data.path()));
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["split"], "dev");
    assert!(found["retrieval"]["rsum"].as_f64().unwrap() > 0.0);
    let again = train(data.path(), own.path(), &["--set", "training.patience=1"]).output();
    refused(&again.unwrap(), &["--resume"]);

    let other = scenes(2);
    let resume = ["--set", "training.patience=1", "--resume"];
    let resumed = train(other.path(), own.path(), &resume).output().unwrap();
    let mend = "give the data directory that the run started with";
    refused(&resumed, &["the training data", mend]);
    let checkpoints = own.path().join("checkpoints");
    let best = fs::read_to_string(checkpoints.join("best")).unwrap();
    let best = checkpoints.join(best.trim());
    // Without checksums the vocabulary itself is checked.
    fs::remove_file(best.join("SHA256SUMS")).unwrap();
    let vocabulary = fs::read_to_string(best.join("vocab.json")).unwrap();
    fs::write(
        best.join("vocab.json"),
        vocabulary.replace("above", "beyond"),
    )
    .unwrap();
    refused(
        &evaluate(own.path(), data.path()),
        &["the vocabulary", "use the data set"],
    );
    fs::write(best.join("vocab.json"), vocabulary).unwrap();
    succeeded(&evaluate(own.path(), data.path()));
    let state = fs::read_to_string(best.join("state.json")).unwrap();
    for (width, parts) in [
        (
            "8192",
            ["state.json", "bytes of weights, model.safetensors has"],
        ),
        ("1000000000000", ["state.json", "text.word_width"]),
    ] {
        let hungry = state.replacen("word_width = 12", &format!("word_width = {width}"), 1);
        assert_ne!(hungry, state);
        fs::write(best.join("state.json"), hungry).unwrap();
        refused(&evaluate(own.path(), data.path()), &parts);
    }
    let newer = state.replacen("\"format_version\": 2", "\"format_version\": 3", 1);
    assert_ne!(newer, state);
    fs::write(best.join("state.json"), newer).unwrap();
    refused(
        &evaluate(own.path(), data.path()),
        &["checkpoint format 3", "reads format 2"],
    );
}

#[test]
fn dev_features_of_another_width_are_refused_before_the_first_step() {
    let data = Data::new();
    random_array(&data.at("dev_ims.npy"), &[6, 4, 5], 2);
    data.refuses(&["dev_ims.npy", "width 5", "train_ims.npy", "width 8"]);
    assert!(!data.at("run").exists());
}

#[test]
fn an_evaluation_is_refused_before_it_computes() {
    let data = scenes(1);
    let own = tempfile::tempdir().unwrap();
    let short = ["--set", "training.epochs=1"];
    succeeded(&train(data.path(), own.path(), &short).output().unwrap());
    let other = Data::new();
    refused(
        &evaluate(own.path(), other.directory.path()),
        &["dev_ims.npy", "width 8", "step-"],
    );
    let evaluate_into = |more: &str| {
        run(&format!(
            "evaluate --checkpoint {} --data {} --split dev {more}",
            own.path().display(),
            data.path().display()
        ))
    };
    refused(&evaluate_into("--folds 3"), &["8 images", "3 folds"]);
    refused(
        &evaluate_into("--normalization 1.5"),
        &["--normalization = 1.5", "0 to 1"],
    );
    let normalized = succeeded(&evaluate_into("--normalization 0.5 --format json"));
    assert!(
        normalized.contains("normalization of weight 0.5"),
        "{normalized}"
    );
    let folds = succeeded(&evaluate_into(
        "--normalization 0.5 --folds 2 --format json",
    ));
    assert!(folds.contains("normalization of weight 0.5"), "{folds}");
    refused(
        &run(&format!(
            "evaluate --checkpoint {} --data {} --split train --normalization 0.5",
            own.path().display(),
            data.path().display()
        )),
        &["--normalization", "evaluate another one"],
    );
    let train = data.path().join("train_caps.txt");
    fs::rename(&train, data.path().join("hidden")).unwrap();
    refused(
        &evaluate_into("--normalization 0.5"),
        &["train_caps.txt", "--normalization compares"],
    );
    succeeded(&evaluate_into("--normalization 0"));
    refused(
        &evaluate_into("--similarities nowhere/s.npy"),
        &["nowhere/s.npy", "the folder nowhere does not exist"],
    );
}

#[test]
fn a_pointer_to_a_checkpoint_that_is_not_there_is_refused() {
    let data = scenes(1);
    let own = tempfile::tempdir().unwrap();
    let short = ["--set", "training.epochs=1"];
    succeeded(&train(data.path(), own.path(), &short).output().unwrap());
    for found in ["step-9", "../checkpoints", ""] {
        fs::write(own.path().join("checkpoints/best"), found).unwrap();
        refused(
            &evaluate(own.path(), data.path()),
            &["checkpoints/best", found, "no such directory beside it"],
        );
    }
}

#[test]
fn a_flipped_bit_in_a_checkpoint_is_found() {
    let data = scenes(1);
    let own = tempfile::tempdir().unwrap();
    let short = ["--set", "training.epochs=1"];
    succeeded(&train(data.path(), own.path(), &short).output().unwrap());
    let checkpoints = own.path().join("checkpoints");
    let best = fs::read_to_string(checkpoints.join("best")).unwrap();
    let best = checkpoints.join(best.trim());
    for name in ["model.safetensors", "state.json"] {
        let whole = fs::read(best.join(name)).unwrap();
        let mut bytes = whole.clone();
        // In state.json this changes a digit, so the file stays valid JSON.
        let digit = bytes.iter().rposition(u8::is_ascii_digit).unwrap();
        bytes[digit] ^= 1;
        fs::write(best.join(name), bytes).unwrap();
        refused(
            &evaluate(own.path(), data.path()),
            &[name, "SHA-256", "use an earlier checkpoint"],
        );
        fs::write(best.join(name), whole).unwrap();
    }
    succeeded(&evaluate(own.path(), data.path()));
    // Checkpoints of earlier versions have no checksums, and are read without a check.
    fs::remove_file(best.join("SHA256SUMS")).unwrap();
    succeeded(&evaluate(own.path(), data.path()));
}

#[test]
fn a_state_that_no_run_reaches_is_refused() {
    let data = scenes(1);
    let own = tempfile::tempdir().unwrap();
    succeeded(&train(data.path(), own.path(), &[]).output().unwrap());
    let checkpoints = own.path().join("checkpoints");
    let latest = fs::read_to_string(checkpoints.join("latest")).unwrap();
    let path = checkpoints.join(latest.trim()).join("state.json");
    fs::remove_file(path.with_file_name("SHA256SUMS")).unwrap();
    let whole: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let damages: [(&str, serde_json::Value, &str); 5] = [
        ("/epochs_without_gain", u64::MAX.into(), "without a gain"),
        ("/running/hills/relevant/counts", [1, 2].into(), "100 bins"),
        ("/batch", 1000.into(), "batch 1000 of epoch"),
        (
            "/step",
            100_000.into(),
            "contradict each other: step 100000",
        ),
        ("/epoch", 0.into(), "of epoch 0"),
    ];
    for (pointer, damage, said) in damages {
        let mut state = whole.clone();
        *state.pointer_mut(pointer).unwrap() = damage;
        fs::write(&path, state.to_string()).unwrap();
        let resumed = train(data.path(), own.path(), &["--resume"]).output();
        refused(&resumed.unwrap(), &["state.json", said]);
    }
}

#[test]
fn resuming_without_a_run_is_refused() {
    let data = Data::new();
    let resume = train(data.directory.path(), &data.at("run"), &["--resume"]);
    refused(
        &{ resume }.output().unwrap(),
        &["holds no run to resume", "--run DIR"],
    );
    assert!(!data.at("run").exists());
}

#[test]
fn the_number_of_words_with_a_vector_is_printed() {
    let data = Data::new();
    let vectors = data.at("vectors.txt");
    let numbers = " 0.1".repeat(12);
    let start = || {
        let set = format!("text.word_vectors={}", vectors.display());
        let mut command = train(data.directory.path(), &data.at("run"), &["--set", &set]);
        command.output().unwrap()
    };
    fs::write(&vectors, format!("Zebra{numbers}\n\n")).unwrap();
    refused(&start(), &["vectors.txt", "none of the 13 words"]);
    fs::write(&vectors, format!("dog{numbers}\nkite{numbers}\n\n")).unwrap();
    let output = start();
    let said = succeeded(&output);
    assert!(
        said.contains("13 words, 2 of them with a given vector"),
        "{said}"
    );
}

#[test]
fn too_many_threads_are_capped_with_a_note() {
    let data = Data::new();
    write_f32(&data.at("S.npy"), &[2, 2], &[1.0, 0.0, 0.0, 1.0]).unwrap();
    let recall = format!("recall --similarities {}", data.at("S.npy").display());
    let mut given = uard();
    given.env("RAYON_NUM_THREADS", "100000");
    let outputs = [
        run(&format!("--threads 100000 {recall}")),
        given.args(recall.split(' ')).output().unwrap(),
    ];
    for output in outputs {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        succeeded(&output);
        assert_eq!(said.matches("100000 threads").count(), 1, "{said}");
    }
}

#[cfg(unix)]
#[test]
fn paths_that_are_not_utf8_can_be_trained_with() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
    let data = scenes(1);
    std::os::unix::fs::symlink(data.path(), at(b"lat\xe9")).unwrap();
    let short = ["--set", "training.epochs=1"];
    let output = train(&at(b"lat\xe9"), &at(b"r\xe9"), &short)
        .output()
        .unwrap();
    succeeded(&output);
    let page = fs::read_to_string(at(b"r\xe9/report.html")).unwrap();
    assert!(page.contains(r"lat\xe9"));
}

#[test]
fn a_run_directory_that_another_process_writes_is_refused() {
    use uard_files::DirectoryLock;
    let data = Data::new();
    let lock = DirectoryLock::acquire(&data.at("run")).unwrap();
    let holder = format!("process {} is writing there", std::process::id());
    data.refuses(&["run", &holder]);
    drop(lock);
    let output = train(data.directory.path(), &data.at("run"), &[]).output();
    succeeded(&output.unwrap());
    assert!(!data.at("run/.lock").exists());
}

#[test]
fn the_name_of_a_split_cannot_lead_to_another_directory() {
    for name in ["../evil", "/evil", ".hidden", "a/b", "a\\b"] {
        let output = uard().args(["evaluate", "--split", name]).output();
        refused(
            &output.unwrap(),
            &[
                "--split",
                "expected the name of a split, such as train or dev",
            ],
        );
        for command in ["extract", "import"] {
            let output = uard().args([command, "--split", name]).output();
            refused(
                &output.unwrap(),
                &["--split", "expected the name of a split"],
            );
        }
    }
}

#[test]
fn a_missing_directory_of_pictures_is_refused_before_training() {
    let data = Data::new();
    let mut command = train(
        data.directory.path(),
        &data.at("run"),
        &["--images", "nowhere"],
    );
    refused(
        &command.output().unwrap(),
        &["--images nowhere", "a directory that exists"],
    );
    assert!(!data.at("run").exists());
}

#[cfg(unix)]
mod outputs {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, symlink};
    use std::process::{Child, Command, Output, Stdio};
    use std::time::{Duration, Instant};

    fn score_into(data: &Data, out: &Path) -> Command {
        random_array(&data.at("R.npy"), &[4, 5, 8], 1);
        random_array(&data.at("W.npy"), &[8, 6, 8], 2);
        let mut command = uard();
        command.args(["score", "--threshold", "0.1", "--regions"]);
        command.arg(data.at("R.npy")).arg("--words");
        command.arg(data.at("W.npy")).arg("--out").arg(out);
        command
    }

    fn named_pipe(data: &Data) -> PathBuf {
        let pipe = data.at("pipe");
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        pipe
    }

    #[test]
    fn a_link_stays_and_its_target_is_written() {
        let data = Data::new();
        symlink("target.npy", data.at("link.npy")).unwrap();
        succeeded(&score_into(&data, &data.at("link.npy")).output().unwrap());
        assert!(
            fs::symlink_metadata(data.at("link.npy"))
                .unwrap()
                .is_symlink()
        );
        let bytes = fs::read(data.at("target.npy")).unwrap();
        assert_eq!(bytes.len(), 128 + 4 * 8 * 4);
    }

    #[test]
    fn a_pipe_gets_the_array_and_stays_a_pipe() {
        let data = Data::new();
        let pipe = named_pipe(&data);
        refused(
            &score_into(&data, &pipe).output().unwrap(),
            &["nobody reads from it"],
        );
        let reader = Command::new("cat")
            .arg(&pipe)
            .stdout(Stdio::piped())
            .spawn();
        succeeded(&score_into(&data, &pipe).output().unwrap());
        let Output { stdout, .. } = reader.unwrap().wait_with_output().unwrap();
        assert_eq!(stdout.len(), 128 + 4 * 8 * 4);
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    }

    /// Sends SIGTERM to a waiting process and returns its exit code.
    fn terminate(mut child: Child) -> Option<i32> {
        std::thread::sleep(Duration::from_millis(500));
        assert!(child.try_wait().unwrap().is_none(), "it does not wait");
        let kill = Command::new("kill").arg(child.id().to_string()).status();
        assert!(kill.unwrap().success());
        let sent = Instant::now();
        while sent.elapsed() < Duration::from_secs(20) {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().unwrap();
        panic!("it did not end at the signal");
    }

    #[test]
    fn waiting_for_a_pipe_ends_at_a_signal() {
        let data = Data::new();
        let pipe = named_pipe(&data);
        let mut recall = uard();
        recall.args(["recall", "--similarities"]).arg(&pipe);
        let child = recall.stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(terminate(child), Some(130));
    }
}
