//! Tests of the vocabulary on the captions of Flickr8k. They need the folder given by `UARD_SHARED`.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use std::path::PathBuf;

use uard_data::captions::read_captions;
use uard_data::tokens::tokenize;
use uard_features::text::vocabulary::Vocabulary;

/// The words that occur at least four times in the training captions, and the four special ones: the
/// size of the vocabulary in docs/reproduction.md.
const RECORDED_WORDS: usize = 2933;

fn flickr8k() -> Option<PathBuf> {
    let shared = std::env::var_os("UARD_SHARED");
    if shared.is_none() {
        println!("skipped: UARD_SHARED is not set");
    }
    shared.map(|folder| PathBuf::from(folder).join("flickr8k"))
}

#[test]
fn real_captions_give_the_vocabulary_of_the_recorded_runs() {
    let Some(folder) = flickr8k() else { return };
    let captions = read_captions(&folder.join("train_caps.txt")).unwrap();
    assert_eq!(captions.len(), 30_000);
    let vocabulary = Vocabulary::build(captions.iter().map(String::as_str), 4);
    assert_eq!(vocabulary.len(), RECORDED_WORDS);
    let dev = read_captions(&folder.join("dev_caps.txt")).unwrap();
    let unknown = vocabulary.id("<unk>");
    let words: Vec<u32> = dev
        .iter()
        .flat_map(|caption| vocabulary.encode(caption))
        .collect();
    let unknown = words.iter().filter(|&&word| word == unknown).count();
    // Only rare words are unknown: fewer than one in twenty.
    assert!(
        unknown > 0 && unknown * 20 < words.len(),
        "{unknown} of {}",
        words.len()
    );
}

#[test]
fn no_real_caption_is_left_without_words() {
    let Some(folder) = flickr8k() else { return };
    for caption in read_captions(&folder.join("train_caps.txt")).unwrap() {
        let tokens = tokenize(&caption);
        assert!(!tokens.is_empty(), "{caption}");
        assert!(
            tokens
                .iter()
                .all(|token| !token.contains(char::is_whitespace)),
            "{tokens:?}"
        );
    }
}
