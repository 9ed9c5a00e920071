//! Tests of `uard search`, `uard explain` and `uard words` on scenes, with a model that was trained for
//! seconds.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::{serve, uard};

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use candle_core::Device;
use serde_json::Value;
use uard::{inside, refused, succeeded, uard};
use uard_core::Words;
use uard_data::dataset::{Split, Thing, Things};
use uard_model::{Checkpoint, ImageFeatures, LearnedWords, WORDS};
use uard_scenes::{ScenesConfig, write};

/// A run on scenes, and an index of its test pictures.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder };
        let scenes = ScenesConfig {
            train: 120,
            dev: 8,
            test: 24,
            seed: 5,
        };
        write(&scenes, &place.at("data"), &|_, _| {}).unwrap();
        let train = "train --config scenes --data data --run run --set training.epochs=3 \
                     --set training.batch=32 --set model.joint_width=64 --set threshold.minimum_samples=20";
        succeeded(&place.uard(train, &[]));
        let index = "index --data data --split test --model run --index index";
        succeeded(&place.uard(index, &[]));
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        inside(&self.folder, name)
    }

    fn uard(&self, arguments: &str, more: &[&str]) -> Output {
        let mut command = uard();
        command.current_dir(self.folder.path());
        command.args(arguments.split_whitespace()).args(more);
        command.output().unwrap()
    }

    fn search(&self, query: &str) -> Value {
        let arguments = "search --index index --format json --top 100";
        serde_json::from_str(&succeeded(&self.uard(arguments, &[query]))).unwrap()
    }

    fn learned(&self) -> LearnedWords {
        let identity = Checkpoint::open(&self.at("run"))
            .unwrap()
            .identity()
            .unwrap();
        LearnedWords::read(&self.at("run").join(WORDS), &identity).unwrap()
    }

    /// Two words that the model judges, which some photos show and others do not.
    fn judged_words(&self) -> [String; 2] {
        let words = self.learned();
        let judged = words.words().iter().filter(|word| word.borders.is_some());
        let split = judged.filter(|word| {
            let found = self.search(&word.text)["results"].as_array().unwrap().len();
            (1..24).contains(&found)
        });
        let mut split = split.map(|word| word.text.clone());
        [split.next().unwrap(), split.next().unwrap()]
    }
}

fn results(answer: &Value) -> &Vec<Value> {
    answer["results"].as_array().unwrap()
}

fn ids(answer: &Value) -> Vec<i64> {
    let results = results(answer).iter();
    results
        .map(|result| result["id"].as_i64().unwrap())
        .collect()
}

/// The evidence of a word in a result.
fn evidence<'a>(result: &'a Value, word: &str) -> &'a Value {
    let mut words = result["words"].as_array().unwrap().iter();
    words.find(|found| found["word"] == word).unwrap()
}

#[test]
fn an_answer_groups_photos_excludes_and_names_what_nothing_shows() {
    let place = Place::new();
    let [a, b] = place.judged_words();
    let both = place.search(&format!("{a} and the {b}"));
    assert_eq!(both["searched"], 24);
    for result in results(&both) {
        let shown = |word: &str| evidence(result, word)["shown"] == true;
        assert!(shown(&a) || shown(&b), "{result}");
        let missing = result["missing"].as_array().unwrap();
        assert_eq!(result["group"] == "everything", missing.is_empty());
        for word in [&a, &b] {
            let evidence = evidence(result, word);
            let is_missing = evidence["shown"] == false && evidence["sure"] == true;
            assert_eq!(missing.contains(&Value::from(word.as_str())), is_missing);
        }
        assert_eq!(evidence(result, "the")["counts"], false);
        let word = evidence(result, &a);
        let is_above = word["relevance"].as_f64() > word["border"].as_f64();
        assert_eq!(word["shown"], is_above);
        let corners = word["box"].as_array().unwrap();
        assert!(corners[0].as_f64() < corners[2].as_f64(), "{word}");
    }
    let groups: Vec<&Value> = results(&both)
        .iter()
        .map(|result| &result["group"])
        .collect();
    assert!(groups.is_sorted_by_key(|group| *group != "everything"));
    let everything = groups.iter().filter(|group| **group == "everything");
    assert_eq!(both["everything"], everything.count());
    assert_eq!(both["found"], groups.len());
    assert_eq!(place.search("the")["everything"], 0);

    let only_a = ids(&place.search(&format!("+{a}")));
    let only_b = ids(&place.search(&format!("+{b}")));
    let without = ids(&place.search(&format!("{a} -{b}")));
    assert!(
        without
            .iter()
            .all(|id| only_a.contains(id) && !only_b.contains(id))
    );
    // One region is to show both.
    let phrase = place.search(&format!("+\"{a} {b}\""));
    for result in results(&phrase) {
        assert!(evidence(result, &a)["shown"] == true && evidence(result, &b)["shown"] == true);
        assert_eq!(
            evidence(result, &a)["region"],
            evidence(result, &b)["region"]
        );
    }

    evaluates(&place);
    compares(&place, [&a, &b]);
    let unknown = place.search("skateboard");
    assert_eq!(unknown["nothing_shows"], serde_json::json!(["skateboard"]));
    assert_eq!(unknown["unknown"], serde_json::json!(["skateboard"]));
    assert!(results(&unknown).is_empty());
    let excluded = place.search(&format!("{a} -skateboard"));
    assert_eq!(excluded["unknown"], serde_json::json!(["skateboard"]));
    assert_eq!(excluded["nothing_shows"], serde_json::json!([]));
    let none = place.search(&format!("{a} date:2024"));
    assert_eq!(
        (&none["searched"], results(&none).len()),
        (&Value::from(0), 0)
    );

    let printed = succeeded(&place.uard("search --index index", &[&format!("{a} skateboard")]));
    assert!(printed.contains("shows a part:"), "{printed}");
    assert!(
        printed.contains("has not learned “skateboard”"),
        "{printed}"
    );
    assert!(printed.contains("images"), "{printed}");

    explains(&place, &a);
    serves(&place, [&a, &b]);
    refuses(&place);
}

/// Compares what a search prints for single words and words of a phrase with plain sums over the regions.
fn compares(place: &Place, words: [&str; 2]) {
    let learned = place.learned();
    let split = Split::open(&place.at("data"), "test").unwrap();
    let model = Checkpoint::open(&place.at("run")).unwrap();
    let model = model.model(&Device::Cpu).unwrap();
    let images: Vec<usize> = (0..split.images()).collect();
    let features = ImageFeatures::read(&split.regions, &images).unwrap();
    let regions = model.images(features).unwrap();
    let rows = regions.rows().to_vec3::<f32>().unwrap();
    for word in words {
        let vector = one_row(&learned.vectors(&[word]).unwrap());
        let classifier = learned.classifiers(&[word]).unwrap().unwrap();
        let weights = one_row(&classifier.weights);
        let highest = |image: usize| {
            let cosines = rows[image].iter().take(regions.counts()[image]);
            cosines
                .map(|region| dot(region, &vector))
                .fold(f64::NEG_INFINITY, f64::max)
        };
        let given = |image: usize| {
            let sum = (0..weights.len()).map(|at| rows[image].iter().map(|row| row[at]).sum());
            let sum: Vec<f32> = sum.collect();
            let cosine = dot(&sum, &weights) / dot(&sum, &sum).sqrt();
            f64::from(classifier.lengths[0]) * cosine + f64::from(classifier.constants[0])
        };
        let alone = place.search(word);
        let phrase = place.search(&format!("\"{} {}\"", words[0], words[1]));
        let mut compared = 0;
        for (answer, is_alone) in [(&alone, true), (&phrase, false)] {
            for result in results(answer) {
                let path = Path::new(result["path"].as_str().unwrap());
                let id = path.file_stem().unwrap().to_str().unwrap();
                let image = split.ids.iter().position(|known| known == id).unwrap();
                let added = if is_alone { given(image) } else { 0.0 };
                let expected = highest(image) + added;
                let found = evidence(result, word)["relevance"].as_f64().unwrap();
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{word} {id}: {found} {expected}"
                );
                compared += usize::from(is_alone);
            }
        }
        assert!(compared > 0);
        // The classifier must say something, or this test compares nothing.
        assert!(classifier.lengths[0] > 0.0);
    }
}

fn one_row(words: &Words) -> Vec<f32> {
    words.rows().flatten_all().unwrap().to_vec1().unwrap()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b);
    products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// The service answers as the command does.
fn serves(place: &Place, words: [&str; 2]) {
    let [a, b] = words;
    let queries = [
        format!("{a} and the {b}"),
        a.to_owned(),
        format!("{b} -{a}"),
        "skateboard".to_owned(),
    ];
    let searched = queries.map(|query| place.search(&query));
    serve::answers_as_a_search(place.folder.path(), &searched, words);
}

fn explains(place: &Place, word: &str) {
    let answer = place.search(word);
    let photo = results(&answer)[0]["path"].as_str().unwrap();
    let arguments = "explain --index index --out boxes.png --format json";
    let output = place.uard(arguments, &[photo, word]);
    let explained: Value = serde_json::from_str(&succeeded(&output)).unwrap();
    assert_eq!(
        evidence(&explained, word),
        evidence(&results(&answer)[0], word)
    );
    let drawn = fs::read(place.at("boxes.png")).unwrap();
    assert!(drawn.starts_with(b"\x89PNG"));
}

fn evaluates(place: &Place) {
    let arguments = "evaluate-search --index index --data data --split test --format json";
    let found: Value = serde_json::from_str(&succeeded(&place.uard(arguments, &[]))).unwrap();
    assert_eq!(found["photos"], 24);
    assert_eq!(found["things_known"], true);
    // The decisions are those of a search for each word.
    let things = fs::read(place.at("data/test_things.json")).unwrap();
    let things: Things = serde_json::from_slice(&things).unwrap();
    let shows =
        |image: &Vec<Thing>, word: &String| image.iter().any(|thing| thing.words.contains(word));
    let (mut judged, mut right, mut listed) = (0, 0, 0);
    for word in place
        .learned()
        .words()
        .iter()
        .filter(|word| word.borders.is_some())
    {
        let showing = things
            .images
            .iter()
            .filter(|image| shows(image, &word.text));
        if !(1..24).contains(&showing.count()) {
            continue;
        }
        judged += 1;
        for result in results(&place.search(&format!("+{}", word.text))) {
            listed += 1;
            let path = PathBuf::from(result["path"].as_str().unwrap());
            let id = path.file_stem().unwrap().to_str().unwrap();
            let image: usize = id.strip_prefix("test_").unwrap().parse().unwrap();
            right += usize::from(shows(&things.images[image], &word.text));
        }
    }
    assert!(listed > 0);
    assert_eq!(found["judged_words"], judged);
    let words = &found["words"];
    assert_eq!(words["true_positives"], right);
    assert_eq!(words["false_positives"], listed - right);
    let negatives = ["false_negatives", "true_negatives"].map(|name| words[name].as_u64());
    let negatives: u64 = negatives.iter().flatten().sum();
    assert_eq!(negatives as usize, 24 * judged - listed);
    assert_eq!(found["order"]["captions"], 120);
    let table = "evaluate-search --index index --data data --split test";
    assert!(succeeded(&place.uard(table, &[])).contains("does any photo show a phrase"));
    let other = "evaluate-search --index index --data data --split dev";
    refused(&place.uard(other, &[]), &["no photo of split dev"]);
}

fn refuses(place: &Place) {
    let search = |query| place.uard("search --index index", &[query]);
    refused(&search("dog OR cat"), &["`OR` is not supported"]);
    refused(&search(" "), &["the query is empty"]);
    let missing = place.uard("search --index nothing", &["dog"]);
    refused(&missing, &["no index"]);
    let other = place.at("data/images/nothing.png");
    let explain = place.uard("explain --index index", &[other.to_str().unwrap(), "dog"]);
    refused(&explain, &["nothing.png"]);

    // An index that was made before words were learned.
    let words = place.at("index/model").join(WORDS);
    fs::remove_file(&words).unwrap();
    refused(&search("dog"), &["uard words"]);
    fs::remove_file(place.at("run").join(WORDS)).unwrap();
    let learned = fs::read(words_of(place)).unwrap();
    let again = "index --data data --split test --model run --index index";
    succeeded(&place.uard(again, &[]));
    assert_eq!(fs::read(&words).unwrap(), learned);
}

/// The words that `uard words` learns, which are those of the training.
fn words_of(place: &Place) -> PathBuf {
    succeeded(&place.uard("words --checkpoint run --data data", &[]));
    Path::new(&place.at("run")).join(WORDS)
}
