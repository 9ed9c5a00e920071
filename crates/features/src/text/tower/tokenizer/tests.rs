//! Are the pieces those of the published tokenizer, and does each know its word?

use serde::Deserialize;

use super::super::tests::folder;
use super::*;

/// What the published tokenizer gives for a caption.
#[derive(Debug, Deserialize)]
struct Expected {
    limit: usize,
    caption: String,
    ids: Vec<u32>,
    pieces: Vec<String>,
    words: Vec<Option<usize>>,
    bytes: Vec<(usize, usize)>,
}

fn open(folder: &Path, config: &TowerConfig, longest: usize) -> Result<TowerTokenizer> {
    TowerTokenizer::open(folder, config, longest)
}

fn config(family: TowerFamily) -> TowerConfig {
    TowerConfig::open(&folder(family)).unwrap()
}

/// A folder with some files of the golden one.
fn copied(family: TowerFamily, names: &[&str]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in names {
        std::fs::copy(folder(family).join(name), copy.path().join(name)).unwrap();
    }
    copy
}

#[track_caller]
fn assert_expected(from: &Path, family: TowerFamily) {
    let text = std::fs::read(folder(family).join("pieces.json")).unwrap();
    let all: Vec<Expected> = serde_json::from_slice(&text).unwrap();
    assert_eq!(all.len(), 18);
    for expected in all {
        let tokenizer = open(from, &config(family), expected.limit).unwrap();
        let found = tokenizer.encode(&expected.caption).unwrap();
        assert_eq!(found.ids, expected.ids, "{:?}", expected.caption);
        let origins = expected.words.iter().zip(&expected.bytes);
        let pieces = expected.pieces.iter().zip(origins);
        let pieces = pieces.map(|(text, (word, bytes))| Piece {
            text: text.clone(),
            origin: word.map(|word| Origin {
                word,
                bytes: bytes.0..bytes.1,
            }),
        });
        let pieces: Vec<Piece> = pieces.collect();
        assert_eq!(found.pieces, pieces, "{:?}", expected.caption);
    }
}

#[test]
fn pieces_of_a_tokenizer_file_equal_those_of_the_published_tokenizer() {
    for family in [TowerFamily::Clip, TowerFamily::Siglip] {
        assert_expected(&folder(family), family);
    }
}

#[test]
fn pieces_of_a_vocabulary_with_merges_equal_those_of_the_published_tokenizer() {
    let family = TowerFamily::Clip;
    let copy = copied(family, &[VOCABULARY, MERGES]);
    assert_expected(copy.path(), family);
    // And so do those of what it is written as.
    let written = open(copy.path(), &config(family), 20).unwrap();
    assert_eq!(written.path(), copy.path().join(VOCABULARY));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(TOKENIZER), written.to_json().unwrap()).unwrap();
    assert_expected(folder.path(), family);
}

#[test]
fn a_word_has_the_bytes_of_all_its_pieces() {
    let family = TowerFamily::Clip;
    let tokenizer = open(&folder(family), &config(family), 20).unwrap();
    let caption = "A  Café, dog's";
    let pieces = tokenizer.encode(caption).unwrap();
    let word = |word| pieces.word_bytes(word).map(|bytes| &caption[bytes]);
    assert_eq!(
        [0, 1, 2, 3, 4, 5].map(word),
        [
            Some("A"),
            Some("Café"),
            Some(","),
            Some("dog"),
            Some("'s"),
            None
        ]
    );
    assert_eq!(tokenizer.piece(pieces.ids[0]).as_deref(), Some(START));
    assert_eq!(pieces.pieces.last().unwrap().origin, None);
}

#[test]
fn what_is_cut_is_counted_and_the_special_pieces_stay() {
    for (family, around) in [(TowerFamily::Clip, 2), (TowerFamily::Siglip, 1)] {
        let tokenizer = open(&folder(family), &config(family), usize::MAX).unwrap();
        let empty = tokenizer.encode("").unwrap();
        assert_eq!((empty.ids.len(), empty.cut), (around, 0));
        let long = tokenizer.encode(&"x ".repeat(100)).unwrap();
        assert_eq!(long.ids.len(), config(family).max_position_embeddings);
        assert_eq!(long.ids.last(), empty.ids.last());
        assert!(long.cut >= 100 + around - long.ids.len(), "{}", long.cut);
    }
}

#[test]
fn files_that_are_missing_or_do_not_fit_are_refused_by_name() {
    let refused = |family, folder: &Path| {
        let opened = open(folder, &config(family), 20);
        opened.unwrap_err().to_string()
    };
    let nothing = copied(TowerFamily::Clip, &[]);
    let message = refused(TowerFamily::Clip, nothing.path());
    assert!(
        message.contains("neither tokenizer.json nor vocab.json"),
        "{message}"
    );
    let message = refused(TowerFamily::Siglip, nothing.path());
    assert!(message.contains("no tokenizer.json is there"), "{message}");
    std::fs::write(nothing.path().join(SENTENCE_PIECE), "").unwrap();
    let message = refused(TowerFamily::Siglip, nothing.path());
    assert!(message.contains("only spiece.model is there"), "{message}");
    assert!(message.contains("use_fast=True"), "{message}");

    let copy = copied(TowerFamily::Clip, &[VOCABULARY]);
    let message = refused(TowerFamily::Clip, copy.path());
    assert!(message.contains("merges.txt"), "{message}");
    std::fs::write(copy.path().join(MERGES), "#version: 0.2\nab\n").unwrap();
    let message = refused(TowerFamily::Clip, copy.path());
    assert!(
        message.contains("line 2: expected two pieces, found `ab`"),
        "{message}"
    );
    std::fs::write(copy.path().join(MERGES), "").unwrap();
    std::fs::write(copy.path().join(VOCABULARY), r#"{"a": 0}"#).unwrap();
    let message = refused(TowerFamily::Clip, copy.path());
    assert!(message.contains("lacks the special piece"), "{message}");
}

#[test]
fn limits_that_do_not_fit_are_refused() {
    let family = TowerFamily::Clip;
    let message = open(&folder(family), &config(family), 2);
    let message = message.unwrap_err().to_string();
    assert!(
        message.contains("behind 2 pieces, expected at least 3"),
        "{message}"
    );
    let small = TowerConfig {
        vocab_size: 50,
        ..config(family)
    };
    let message = open(&folder(family), &small, 20).unwrap_err().to_string();
    assert!(message.contains("vocab_size 50"), "{message}");
}
