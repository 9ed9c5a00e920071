//! Tests of the tokenizers: pieces, words and ids equal those of the published tokenizers.

use super::super::transformer::tests::{ALL, folder, golden_config};
use super::*;

const VOCABULARY: &str = "vocab.txt";
const SETTINGS: &str = "tokenizer_config.json";

/// The output of a published tokenizer for a caption.
#[derive(Debug, Deserialize)]
struct Expected {
    #[serde(default = "lower")]
    lower: bool,
    limit: usize,
    caption: String,
    ids: Vec<u32>,
    pieces: Vec<String>,
    words: Vec<Option<usize>>,
    bytes: Vec<(usize, usize)>,
}

fn lower() -> bool {
    true
}

/// A folder with some files of the golden one.
fn copied(family: &str, names: &[&str]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in names {
        std::fs::copy(folder(family).join(name), copy.path().join(name)).unwrap();
    }
    copy
}

/// A folder with BERT's golden vocabulary, and settings if there are any.
fn plain(settings: Option<&str>) -> tempfile::TempDir {
    let folder = copied("bert", &[VOCABULARY]);
    if let Some(settings) = settings {
        std::fs::write(folder.path().join(SETTINGS), settings).unwrap();
    }
    folder
}

fn open(family: &str, folder: &Path, longest: usize) -> Result<PieceTokenizer> {
    PieceTokenizer::open(folder, &golden_config(family), longest)
}

#[track_caller]
fn refused(family: &str, folder: &Path, longest: usize) -> String {
    open(family, folder, longest).unwrap_err().to_string()
}

#[track_caller]
fn assert_expected(family: &str, from: &Path, lower: bool) {
    let text = std::fs::read(folder(family).join("pieces.json")).unwrap();
    let all: Vec<Expected> = serde_json::from_slice(&text).unwrap();
    let all = all.into_iter().filter(|expected| expected.lower == lower);
    let mut compared = 0;
    for expected in all {
        let tokenizer = open(family, from, expected.limit).unwrap();
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
        compared += 1;
    }
    match family {
        "bert" => assert!(compared > 20, "{compared}"),
        _ => assert_eq!(compared, 18),
    }
}

#[test]
fn pieces_of_a_tokenizer_file_equal_those_of_the_published_tokenizer() {
    for family in ALL {
        assert_expected(family, &folder(family), true);
    }
}

#[test]
fn pieces_of_a_plain_vocabulary_equal_those_of_the_published_tokenizer() {
    assert_expected("bert", plain(None).path(), true);
    let lower = r#"{"do_lower_case": true, "model_max_length": 2}"#;
    assert_expected("bert", plain(Some(lower)).path(), true);
    let cased = r#"{"do_lower_case": false}"#;
    assert_expected("bert", plain(Some(cased)).path(), false);

    let copy = copied("clip", &["vocab.json", "merges.txt"]);
    assert_expected("clip", copy.path(), true);
    // Written as tokenizer.json and read again, it gives the same pieces.
    let written = open("clip", copy.path(), 20).unwrap();
    assert_eq!(written.path, copy.path().join("vocab.json"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(TOKENIZER), written.to_json().unwrap()).unwrap();
    assert_expected("clip", folder.path(), true);
}

#[test]
fn truncation_and_padding_of_the_file_are_ignored() {
    let text = std::fs::read_to_string(folder("bert").join(TOKENIZER)).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    json["truncation"] = serde_json::json!(
        {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = serde_json::json!(
        {"strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": null,
         "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(TOKENIZER), json.to_string()).unwrap();
    assert_expected("bert", folder.path(), true);
}

#[test]
fn pieces_that_are_cut_off_are_counted() {
    let folder = plain(None);
    let caption = "a dog runs in the snow";
    let encoded = |longest| {
        let tokenizer = open("bert", folder.path(), longest).unwrap();
        tokenizer.encode(caption).unwrap()
    };
    let whole = encoded(100);
    assert_eq!(whole.cut, 0);
    let short = encoded(5);
    assert_eq!((short.ids.len(), short.cut), (5, whole.ids.len() - 5));
    assert_eq!(short.pieces.last().unwrap().text, "[SEP]");
}

#[test]
fn a_caption_is_cut_to_the_positions_of_the_model_and_special_pieces_stay() {
    for (family, around) in [("bert", 2), ("clip", 2), ("siglip", 1)] {
        let tokenizer = open(family, &folder(family), usize::MAX).unwrap();
        let empty = tokenizer.encode("").unwrap();
        assert_eq!((empty.ids.len(), empty.cut), (around, 0));
        let long = tokenizer.encode(&"x ".repeat(100)).unwrap();
        assert_eq!(
            long.ids.len(),
            golden_config(family).max_position_embeddings
        );
        assert_eq!(long.ids.last(), empty.ids.last());
        assert!(long.cut >= 100 + around - long.ids.len(), "{}", long.cut);
    }
    let tokenizer = open("bert", plain(None).path(), usize::MAX).unwrap();
    let pieces = tokenizer.encode(&"dog ".repeat(100)).unwrap();
    let positions = golden_config("bert").max_position_embeddings;
    assert_eq!(pieces.ids.len(), positions);
    assert_eq!(pieces.cut, 100 + 2 - pieces.ids.len());
}

#[test]
fn a_word_has_the_bytes_of_all_its_pieces() {
    for (family, caption, first, words) in [
        (
            "bert",
            "an Unbelievable café!",
            "[CLS]",
            &["an", "Unbelievable", "café", "!"][..],
        ),
        (
            "clip",
            "A  Café, dog's",
            "<|startoftext|>",
            &["A", "Café", ",", "dog", "'s"],
        ),
    ] {
        let tokenizer = open(family, &folder(family), 24).unwrap();
        let pieces = tokenizer.encode(caption).unwrap();
        let word = |word| pieces.word_bytes(word).map(|bytes| &caption[bytes]);
        for (at, expected) in words.iter().enumerate() {
            assert_eq!(word(at), Some(*expected));
        }
        assert_eq!(word(words.len()), None);
        assert_eq!(pieces.pieces[0].text, first);
        assert_eq!(pieces.pieces[0].origin, None);
        assert_eq!(pieces.pieces.last().unwrap().origin, None);
    }
}

#[test]
fn an_empty_caption_has_the_special_pieces_only() {
    let tokenizer = open("bert", plain(None).path(), 24).unwrap();
    let pieces = tokenizer.encode("").unwrap();
    let texts: Vec<&str> = pieces
        .pieces
        .iter()
        .map(|piece| piece.text.as_str())
        .collect();
    assert_eq!(texts, ["[CLS]", "[SEP]"]);
}

#[test]
fn missing_and_invalid_files_are_refused_by_name() {
    let written = |name: &str, text: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
        folder
    };
    let four = "[PAD]\n[UNK]\n[CLS]\n";
    for (family, folder, parts) in [
        (
            "bert",
            written(TOKENIZER, "{}"),
            [TOKENIZER, "expected a tokenizer.json"],
        ),
        (
            "bert",
            written(VOCABULARY, four),
            [VOCABULARY, "lacks the special piece `[SEP]`"],
        ),
        (
            "bert",
            written(SETTINGS, "{}"),
            ["neither tokenizer.json nor vocab.txt", "download"],
        ),
        ("bert", plain(Some("3")), [SETTINGS, "expected"]),
        (
            "clip",
            copied("clip", &[]),
            ["neither tokenizer.json nor vocab.json", "merges.txt"],
        ),
        (
            "siglip",
            copied("siglip", &[]),
            ["no tokenizer.json is there", "download"],
        ),
        (
            "siglip",
            written("spiece.model", ""),
            ["only spiece.model is there", "use_fast=True"],
        ),
        (
            "clip",
            copied("clip", &["vocab.json"]),
            ["merges.txt", "No such file"],
        ),
    ] {
        let message = refused(family, folder.path(), 24);
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }
    let copy = copied("clip", &["vocab.json"]);
    for (vocabulary, merges, part) in [
        (
            None,
            "#version: 0.2\nab\n",
            "line 2: expected two pieces, found `ab`",
        ),
        (Some(r#"{"a": 0}"#), "", "lacks the special piece"),
    ] {
        std::fs::write(copy.path().join("merges.txt"), merges).unwrap();
        if let Some(vocabulary) = vocabulary {
            std::fs::write(copy.path().join("vocab.json"), vocabulary).unwrap();
        }
        let message = refused("clip", copy.path(), 20);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn too_short_a_limit_and_too_few_ids_are_refused() {
    for family in ["bert", "clip"] {
        let message = refused(family, &folder(family), 2);
        assert!(
            message.contains("cut to 2 pieces, expected at least 3"),
            "{message}"
        );
        let small = TransformerConfig {
            vocab_size: 50,
            ..golden_config(family)
        };
        let opened = PieceTokenizer::open(&folder(family), &small, 24);
        let message = opened.unwrap_err().to_string();
        assert!(message.contains("vocab_size 50"), "{message}");
    }
}

/// The golden `tokenizer.json` with one of its keys changed.
fn opened_with(key: &str, value: Value) -> Result<PieceTokenizer> {
    let text = std::fs::read(folder("bert").join(TOKENIZER)).unwrap();
    let mut json: Value = serde_json::from_slice(&text).unwrap();
    json[key] = value;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(TOKENIZER), json.to_string()).unwrap();
    open("bert", folder.path(), 32)
}

#[test]
fn files_on_which_the_library_panics_are_refused_by_name() {
    let template = serde_json::json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}],
        "pair": [], "special_tokens": {}});
    let charsmap = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"});
    for (key, value) in [("post_processor", template), ("normalizer", charsmap)] {
        let message = opened_with(key, value).unwrap_err().to_string();
        assert!(
            message.contains("tokenizer.json: not a usable tokenizer"),
            "{message}"
        );
    }
}

#[test]
fn replacements_that_make_too_many_letters_of_one_are_refused() {
    let replacing = |pattern: Value, content: &str, times: usize| {
        let one = serde_json::json!({"type": "Replace", "pattern": pattern, "content": content});
        let all = serde_json::json!({"type": "Sequence", "normalizers": vec![one; times]});
        opened_with("normalizer", all)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let letter = serde_json::json!({"String": "a"});
    let nothing = serde_json::json!({"Regex": "x*"});
    let refusal = replacing(letter.clone(), &"a".repeat(200), 4).unwrap_err();
    assert!(refusal.contains("1600000000 letters of one"), "{refusal}");
    replacing(nothing, "b", 20).unwrap_err();
    replacing(serde_json::json!({"String": "``"}), "\"", 40).unwrap();
    replacing(letter, "ab", 3).unwrap();
}

#[test]
fn steps_that_cost_too_much_and_ids_outside_of_the_vocabulary_are_refused() {
    let refused = |key: &str, value: Value, part: &str| {
        let message = opened_with(key, value).unwrap_err().to_string();
        assert!(message.contains("tokenizer.json"), "{message}");
        assert!(message.contains(part), "`{part}` is not in: {message}");
    };
    let prepend = serde_json::json!({"type": "Prepend", "prepend": "a".repeat(1000)});
    let all = serde_json::json!({"type": "Sequence", "normalizers": [prepend, prepend]});
    refused("normalizer", all, "letters of one");
    let steps = vec![serde_json::json!({"type": "Whitespace"}); 200];
    let all = serde_json::json!({"type": "Sequence", "pretokenizers": steps});
    refused("pre_tokenizer", all, "more than 100 parts");
    // The table should have 2^32 - 1 bytes, and has none.
    let charsmap = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="});
    refused("normalizer", charsmap, "shorter than its header says");
    let around = serde_json::json!({"type": "BertProcessing",
        "sep": ["a", u32::MAX], "cls": ["b", u32::MAX]});
    refused("post_processor", around, "the id 4294967295");
}

#[test]
fn a_git_lfs_pointer_is_recognised() {
    let folder = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n";
    std::fs::write(folder.path().join(TOKENIZER), pointer).unwrap();
    let message = open("bert", folder.path(), 32).unwrap_err().to_string();
    assert!(
        message.contains("tokenizer.json") && message.contains("git lfs pull"),
        "{message}"
    );
}
