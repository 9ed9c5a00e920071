//! A test of a published BERT against the states of the published code. It needs a folder, given by
//! `UARD_MINILM`: a model in Hugging Face's form, with the two files that
//! `tests/goldens/transformers/bert/write.py` adds.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use std::path::PathBuf;

use candle_core::safetensors::load;
use candle_core::{Device, Tensor};
use uard_core::parameters::Parameters;
use uard_core::random::Draws;
use uard_data::captions::read_captions;
use uard_features::text::gru::{CaptionBatch, TextEncoderConfig};
use uard_features::text::{CaptionEncoder, TextModel};
use uard_testkit::worst_difference;

/// The tolerance for six layers of sums over up to 1,536 numbers in f32, whose errors are a few
/// 1e-7 each.
const PARITY: f64 = 1e-5;

fn model() -> Option<PathBuf> {
    let folder = std::env::var_os("UARD_MINILM").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: UARD_MINILM is not set");
    }
    folder
}

#[test]
fn states_of_real_captions_equal_the_published_ones() {
    let Some(folder) = model() else { return };
    let text = TextModel::open("bert".parse().unwrap(), &folder, usize::MAX).unwrap();
    let captions = read_captions(&folder.join("expected_captions.txt")).unwrap();
    let ids: Vec<Vec<u32>> = captions
        .iter()
        .map(|caption| text.encode(caption).unwrap())
        .collect();
    let batch = CaptionBatch::pad(&ids, text.pad(), &Device::Cpu).unwrap();
    let expected = load(folder.join("expected.safetensors"), &Device::Cpu).unwrap();
    let expected_ids: Vec<Vec<i64>> = expected["ids"].to_vec2().unwrap();
    let found_ids: Vec<Vec<u32>> = batch.ids().to_vec2().unwrap();
    let found_ids = found_ids.into_iter();
    let found_ids: Vec<Vec<i64>> = found_ids
        .map(|ids| ids.into_iter().map(i64::from).collect())
        .collect();
    assert_eq!(found_ids, expected_ids);

    let mut parameters = Parameters::new(&Device::Cpu);
    let sizes = TextEncoderConfig::default();
    let encoder = text.encoder(&mut parameters, sizes, &Draws::new(1));
    let CaptionEncoder::Transformer(bert) = encoder.unwrap() else {
        panic!("a BERT is a transformer");
    };
    let found: Tensor = bert.states(&batch, None).unwrap();
    let (difference, place) = worst_difference(&found, &expected["states"]);
    println!(
        "{} captions, largest difference {difference:e}",
        captions.len()
    );
    assert!(difference < PARITY, "number {place}: {difference:e}");
}
