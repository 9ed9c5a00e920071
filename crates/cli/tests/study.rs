//! Tests of `uard study`: it runs every setting with every seed, continues after a stop, and refuses
//! wrong files.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::uard;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use uard::{TINY, refused, scenes, succeeded, uard};

const SETTINGS: &str = r#"
[[settings]]
name = "zero"
group = "baselines"
set = ["threshold.smoothing=0"]

[[settings]]
name = "Learned!"
group = "baselines"

[[settings]]
name = "learned, cut at 0"
group = "cut"
of = "Learned!"
threshold = 0
"#;

/// The file and the directory of a study.
struct Study {
    directory: tempfile::TempDir,
}

impl Study {
    fn new(head: &str, settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let study = Self { directory };
        study.write(head, settings);
        study
    }

    fn tiny() -> Self {
        Self::new(
            "baseline = \"zero\"\nseeds = [0, 1]\ninside = [\"Learned!\"]",
            SETTINGS,
        )
    }

    fn write(&self, head: &str, settings: &str) {
        let set = TINY.map(|set| format!("\"{set}\"")).join(", ");
        let text = format!("config = \"scenes\"\nset = [{set}]\n{head}\n{settings}");
        fs::write(self.file(), text).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("tiny.toml")
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("study")
    }

    fn command(&self, data: &Path, more: &[&str]) -> Command {
        let mut command = uard();
        command.args(["study", "--device", "cpu", "--config"]);
        command.arg(self.file()).arg("--data").arg(data);
        command.arg("--run").arg(self.root()).args(more);
        command
    }

    fn run(&self, data: &Path, more: &[&str]) -> String {
        succeeded(&self.command(data, more).output().unwrap())
    }

    /// Asserts that the study is refused before data are read or files are written.
    fn refuses(&self, parts: &[&str]) {
        let output = self.command(Path::new("no/data"), &[]).output().unwrap();
        refused(&output, parts);
        refused(&output, &["tiny.toml"]);
        assert!(!self.root().exists());
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root().join(file)).unwrap()
    }

    fn record(&self) -> serde_json::Value {
        serde_json::from_str(&self.read("study.json")).unwrap()
    }
}

/// The record without seconds and without the command line.
fn timeless(mut value: serde_json::Value) -> serde_json::Value {
    fn clean(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.retain(|name, _| !name.contains("seconds") && name != "command");
                fields.values_mut().for_each(clean);
            }
            serde_json::Value::Array(values) => values.iter_mut().for_each(clean),
            _ => {}
        }
    }
    clean(&mut value);
    value
}

#[test]
fn every_setting_runs_with_every_seed_and_is_compared_with_the_baseline() {
    let (data, study) = (scenes(3), Study::tiny());
    let table = study.run(data.path(), &[]);
    for part in [
        "baselines",
        "zero",
        "Learned!",
        "learned, cut at 0",
        "6 of 6 runs",
    ] {
        assert!(table.contains(part), "`{part}` is not in: {table}");
    }
    let record = study.record();
    let settings = record["settings"].as_array().unwrap();
    for setting in settings {
        assert_eq!(setting["runs"].as_array().unwrap().len(), 2);
        assert!(setting["means"]["rsum"]["std"].is_number());
    }
    assert!(settings[0]["difference"].is_null());
    for other in &settings[1..] {
        let difference = &other["difference"];
        assert_eq!(difference["seeds"], serde_json::json!([0, 1]));
        let mean = difference["rsum"]["over_seeds"]["mean"].as_f64().unwrap();
        let rsum = |setting: &serde_json::Value| setting["means"]["rsum"]["mean"].as_f64().unwrap();
        assert!((mean - (rsum(other) - rsum(&settings[0]))).abs() < 1e-9);
        let queries = &difference["of_queries"];
        assert!(queries["low"].as_f64().unwrap() <= queries["high"].as_f64().unwrap());
    }
    assert_eq!(settings[0]["means"]["threshold"]["mean"], 0.0);
    assert_eq!(settings[2]["means"]["threshold"]["mean"], 0.0);
    assert!(
        settings[2]["runs"][0]["epochs"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    for file in [
        "learned/seed-1/log.jsonl",
        "learned-cut-at-0/seed-1/result.json",
    ] {
        assert!(study.root().join(file).exists(), "{file}");
    }
}

#[test]
fn a_resumed_study_repeats_no_finished_run_and_ends_with_the_same_numbers() {
    let (data, whole, halved) = (scenes(3), Study::tiny(), Study::tiny());
    whole.run(data.path(), &[]);
    // The state after an interrupt: one run is trained but has no result, one has not begun.
    halved.run(data.path(), &[]);
    fs::remove_file(halved.root().join("zero/seed-1/result.json")).unwrap();
    fs::remove_dir_all(halved.root().join("learned/seed-1")).unwrap();
    fs::remove_file(halved.root().join("learned-cut-at-0/seed-1/result.json")).unwrap();
    let kept = halved.root().join("zero/seed-0/result.json");
    let before = fs::metadata(&kept).unwrap().modified().unwrap();
    refused(
        &halved.command(data.path(), &[]).output().unwrap(),
        &["already holds a run of this study", "--resume"],
    );
    let output = halved
        .command(data.path(), &["--resume", "--format", "json"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed: serde_json::Value = serde_json::from_str(&succeeded(&output)).unwrap();
    assert!(said.contains("run 4 of 6: zero, seed 1"), "{said}");
    assert!(!said.contains("run 1 of 6"), "{said}");
    assert_eq!(fs::metadata(&kept).unwrap().modified().unwrap(), before);
    assert_eq!(timeless(printed), timeless(whole.record()));
}

#[cfg(unix)]
#[test]
fn an_interrupted_study_exits_with_130_and_ends_with_the_same_numbers() {
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    let (data, whole, stopped) = (scenes(3), Study::tiny(), Study::tiny());
    whole.run(data.path(), &[]);
    let mut command = stopped.command(data.path(), &[]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = stopped.root().join("learned/seed-0/checkpoints/latest");
    let started = Instant::now();
    while !begun.exists() {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "waited too long"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    stopped.run(data.path(), &["--resume"]);
    assert_eq!(timeless(stopped.record()), timeless(whole.record()));
}

#[test]
fn results_of_another_configuration_or_other_data_are_refused_with_both_named() {
    let (data, study) = (scenes(3), Study::tiny());
    study.run(data.path(), &[]);
    let resume = |data: &Path| study.command(data, &["--resume"]).output().unwrap();
    refused(
        &resume(scenes(4).path()),
        &["result.json", "other data of train", "sha256"],
    );
    let head = "baseline = \"zero\"\nseeds = [0, 1]";
    let moved = "smoothing=0.5\"]\n\n[[settings]]\nname = \"Learned!\"";
    study.write(
        head,
        &SETTINGS.replace("smoothing=0\"]\n\n[[settings]]\nname = \"Learned!\"", moved),
    );
    refused(
        &resume(data.path()),
        &[
            "zero/seed-0/result.json",
            "`smoothing = 0.0`",
            "`smoothing = 0.5`",
        ],
    );
    study.write(
        head,
        &SETTINGS.replace("threshold = 0\n", "threshold = 0.5\n"),
    );
    refused(
        &resume(data.path()),
        &[
            "learned-cut-at-0/seed-0",
            "it has `threshold = 0`",
            "the study has `threshold = 0.5`",
        ],
    );
}

const HEAD: &str = "baseline = \"zero\"\nseeds = [0, 1]";

fn wrong(head: &str, settings: &str, parts: &[&str]) {
    Study::new(head, settings).refuses(parts);
}

/// The settings with one text replaced.
fn other(from: &str, to: &str) -> String {
    assert!(SETTINGS.contains(from), "{from}");
    SETTINGS.replace(from, to)
}

#[test]
fn wrong_keys_of_a_study_are_named() {
    wrong(
        "baseline = \"null\"\nseeds = [0]",
        SETTINGS,
        &["`baseline`", "`null`"],
    );
    wrong(
        "baseline = \"zero\"\nseeds = []",
        SETTINGS,
        &["`seeds` is empty"],
    );
    wrong(
        "baseline = \"zero\"\nseeds = [1, 1]",
        SETTINGS,
        &["`seeds`", "1 twice"],
    );
    let inside = |names: &str| format!("{HEAD}\ninside = [{names}]");
    wrong(&inside("\"x\""), SETTINGS, &["`inside`", "`x`"]);
    wrong(&inside("\"zero\""), SETTINGS, &["`inside`", "the baseline"]);
    let apart = other("name = \"zero\"", "name = \"zero\"\nseeds = [5]");
    wrong(
        &inside("\"Learned!\""),
        &apart,
        &["`inside`", "no seed in common"],
    );
    wrong(
        &format!("{HEAD}\nbase = 1"),
        SETTINGS,
        &["base", "baseline"],
    );
    wrong(
        HEAD,
        &other("group = \"cut\"", "grop = \"cut\""),
        &["grop", "group"],
    );
    let name = other("\"learned, cut at 0\"", "\"ZERO\"");
    wrong(HEAD, &name, &["settings[2]", "directory zero"]);
    let range = other("smoothing=0", "smoothing=2");
    wrong(HEAD, &range, &["settings[0]", "`set`", "smoothing"]);
    wrong(
        HEAD,
        &other("threshold.smoothing=0", "training.seed=3"),
        &["`seeds`"],
    );
}

#[test]
fn a_setting_that_trains_nothing_must_name_trained_models_and_a_threshold() {
    let of = other("of = \"Learned!\"", "of = \"x\"");
    wrong(HEAD, &of, &["settings[2]", "`of`", "`x`"]);
    let threshold = |text: &str| other("threshold = 0\n", text);
    wrong(
        HEAD,
        &threshold(""),
        &["settings[2]", "`threshold` is missing"],
    );
    wrong(
        HEAD,
        &threshold("threshold = 2\n"),
        &["settings[2]", "`threshold`"],
    );
    wrong(
        HEAD,
        &threshold("threshold = 0\nseeds = [2]\n"),
        &["`seeds`", "2"],
    );
    wrong(
        HEAD,
        &threshold("threshold = 0\nset = []\n"),
        &["settings[2]", "`set`", "`of`"],
    );
    let alone = other(
        "name = \"Learned!\"",
        "name = \"Learned!\"\nthreshold = 0.1",
    );
    wrong(HEAD, &alone, &["settings[1]", "without `of`"]);
    let again = format!(
        "{SETTINGS}\n[[settings]]\nname = \"more\"\nof = \"learned, cut at 0\"\nthreshold = 0.1"
    );
    wrong(HEAD, &again, &["settings[3]", "trains nothing itself"]);
    let scan = other("threshold.smoothing=0", "matcher.rule=scan");
    let scan = scan.replace("of = \"Learned!\"", "of = \"zero\"");
    wrong(HEAD, &scan, &["settings[2]", "takes no threshold"]);
}
