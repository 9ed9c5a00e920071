//! Benches of a photo search: a query in an index of made-up photos, encoding of the query and the evidence
//! of the first twenty included; and the opening of the index with its first query.
//!
//! 1,000 and 10,000 photos of 64 regions, width 512, stored in bf16; `UARD_BENCH_PHOTOS=100000` adds a
//! number. The 50th and the 99th percentile of 200 queries are printed too.
#![allow(
    clippy::print_stderr,
    clippy::expect_used,
    reason = "a command that a person reads"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use uard_attention::Precision;
use uard_core::Regions;
use uard_core::random::{Draws, normal};
use uard_features::text::TextModel;
use uard_features::text::vocabulary::Vocabulary;
use uard_model::{
    Checkpoint, CheckpointDirectory, FORMAT_VERSION, Model, ModelConfig, STATE, WORDS,
};
use uard_relevance::{LearnedThreshold, LearnerConfig, Logistic};
use uard_search::{
    ContentHash, Index, MODEL, ModelIdentity, NewPhoto, PhotoFile, PhotoMetadata, Preview,
    SearchRequest, Searcher,
};

const WIDTH: usize = 512;
const REGIONS: usize = 64;

/// How many photos are written at once.
const BATCH: usize = 250;

/// The words that photos are judged by, each by a vector of its own.
const JUDGED: [&str; 4] = ["dog", "into", "jumps", "water"];

const QUERY: &str = "a dog jumps into water";

const TOP: usize = 20;

/// How many queries the percentiles are taken from.
const QUERIES: usize = 200;

fn search(criterion: &mut Criterion) {
    let asked = std::env::var("UARD_BENCH_PHOTOS").ok();
    let asked = asked.map(|number| number.parse().expect("a number of photos"));
    let mut group = criterion.benchmark_group("photo search");
    group.sample_size(20);
    for photos in [1_000, 10_000].into_iter().chain(asked) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_index(folder.path(), photos);
        group.bench_function(format!("{photos} photos, first query"), |bencher| {
            bencher.iter(|| answer(&mut Searcher::open(folder.path()).expect("the index")));
        });
        let mut searcher = Searcher::open(folder.path()).expect("the index");
        group.bench_function(format!("{photos} photos"), |bencher| {
            bencher.iter(|| answer(&mut searcher));
        });
        let mut times: Vec<Duration> = (0..QUERIES).map(|_| answer(&mut searcher)).collect();
        times.sort_unstable();
        let at = |share: usize| times[QUERIES * share / 100 - 1].as_secs_f64() * 1e3;
        eprintln!(
            "{photos} photos, {QUERIES} queries: p50 {:.1} ms, p99 {:.1} ms",
            at(50),
            at(99)
        );
    }
    group.finish();
}

fn answer(searcher: &mut Searcher) -> Duration {
    let begun = Instant::now();
    let answer = searcher
        .answer(&SearchRequest::new(QUERY, TOP))
        .expect("an answer");
    assert_eq!(answer.results.len(), TOP, "photos are found");
    begun.elapsed()
}

/// Writes an index of photos whose regions have random directions. One photo in fifty shows a dog.
fn write_index(folder: &Path, photos: usize) {
    let draws = Draws::new(0);
    let model = write_model(folder, &draws);
    let mut writer = Index::create(folder, &model).expect("a new index");
    for first in (0..photos).step_by(BATCH) {
        let numbers: Vec<usize> = (first..photos.min(first + BATCH)).collect();
        let mut rows = Vec::with_capacity(numbers.len() * REGIONS * WIDTH);
        for &number in &numbers {
            let mut stream = draws.stream("photo", &[number as u64]);
            rows.extend(normal(&mut stream, 1.0, REGIONS * WIDTH));
            if number % 50 == 0 {
                let region = rows.len() - WIDTH;
                rows[region..].copy_from_slice(&word_vector(0));
            }
        }
        let shape = (numbers.len(), REGIONS, WIDTH);
        let rows = Tensor::from_vec(rows, shape, &Device::Cpu).expect("a tensor");
        let regions = Regions::normalized(&rows, vec![REGIONS; numbers.len()]).expect("regions");
        let photos: Vec<NewPhoto> = numbers.into_iter().map(photo).collect();
        writer.add(&photos, &regions).expect("written photos");
    }
}

fn photo(number: usize) -> NewPhoto {
    let path = PathBuf::from(format!("/photos/{number}.jpg"));
    NewPhoto {
        content: ContentHash::hash(path.as_os_str().as_encoded_bytes()),
        file: PhotoFile {
            path,
            bytes: 4,
            modified: 0,
            inode: 0,
        },
        metadata: PhotoMetadata {
            width: 640,
            height: 480,
            ..PhotoMetadata::default()
        },
        preview: Preview {
            thumbnail: vec![0; 10_000],
            boxes: vec![[0.0, 0.0, 80.0, 60.0]; REGIONS],
        },
    }
}

/// A unit vector for each of the judged words.
fn word_vector(word: usize) -> Vec<f32> {
    (0..WIDTH).map(|at| f32::from(at == word)).collect()
}

/// The weights and the constant of the classifier of a judged word.
fn classifier(word: usize) -> Vec<f32> {
    (0..=WIDTH)
        .map(|at| f32::from(at == word + 100) / 10.0)
        .collect()
}

/// Writes an untrained model of the usual size and its words.
fn write_model(folder: &Path, draws: &Draws) -> ModelIdentity {
    let config =
        format!("model.joint_width = {WIDTH}\ntext = {{ word_width = 300, longest = 20 }}\n");
    let settings = ModelConfig::from_toml(&config, "bench").expect("settings");
    let text = TextModel::from_vocabulary(Vocabulary::build([QUERY], 1), None, 20);
    let hash = text.hash().expect("a hash");
    let model = Model::new(&settings, WIDTH, text, draws, &Device::Cpu).expect("a model");
    let threshold = LearnedThreshold::first(&LearnerConfig::default());
    let state = json!({
        "format_version": FORMAT_VERSION,
        "step": 1,
        "config": config,
        "vocabulary_hash": hash,
        "data_hash": "of no data",
        "features": { "regions": REGIONS, "width": WIDTH },
        "threshold": threshold,
    });
    let mut files = model.files().expect("files");
    files.push((STATE, state.to_string().into_bytes()));
    let run = folder.join("run");
    let name = CheckpointDirectory::name(1);
    let written = CheckpointDirectory::of_run(&run).write(&name, &files);
    let checkpoint = Checkpoint::open(&written.expect("a checkpoint")).expect("the checkpoint");
    let copy = folder.join(MODEL);
    checkpoint.copy_to(&copy).expect("a copy");
    let identity = checkpoint.identity().expect("a hash");
    write_words(&copy.join(WORDS), &identity);
    ModelIdentity {
        hash: identity,
        threshold: 0.3,
        encoder: "none".to_owned(),
        width: WIDTH,
        precision: Precision::Bf16,
    }
}

/// Writes words as `uard words` does: safetensors with the words in the metadata.
fn write_words(path: &Path, model: &str) {
    let borders = json!({ "missing": -0.5, "shown": 0.5, "sure": 0.6 });
    let chance = Logistic::fit(&[0.5, 0.6], &[-0.1, 0.2]).expect("a curve");
    let words = JUDGED.map(|text| {
        json!({
            "text": text,
            "borders": borders,
            "region_borders": borders,
            "chance": chance,
            "images": 100,
        })
    });
    let words = json!({ "model": model, "words": words }).to_string();
    let rows = |row: fn(usize) -> Vec<f32>| -> Vec<u8> {
        let numbers = (0..JUDGED.len()).flat_map(row);
        numbers.flat_map(f32::to_le_bytes).collect()
    };
    let (vectors, classifiers) = (rows(word_vector), rows(classifier));
    let tensor = |width: usize, offsets: [usize; 2]| json!({ "dtype": "F32", "shape": [JUDGED.len(), width], "data_offsets": offsets });
    let bytes = [vectors, classifiers].concat();
    let begin = JUDGED.len() * WIDTH * 4;
    let header = json!({
        "__metadata__": { "words": words },
        "vectors": tensor(WIDTH, [0, begin]),
        "classifiers": tensor(WIDTH + 1, [begin, bytes.len()]),
    });
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(path, [&length, header.as_bytes(), &bytes].concat()).expect("a file");
}

criterion_group!(benches, search);
criterion_main!(benches);
