//! The pieces are those of the published tokenizer, and each knows its word.

use super::super::tests::{golden_config, goldens};
use super::*;

/// What the published tokenizer gives for a caption.
#[derive(Debug, Deserialize)]
struct Expected {
    lower: bool,
    limit: usize,
    caption: String,
    ids: Vec<u32>,
    pieces: Vec<String>,
    words: Vec<Option<usize>>,
    bytes: Vec<(usize, usize)>,
}

fn expected() -> Vec<Expected> {
    let text = std::fs::read(goldens().join("pieces.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// A folder with the golden vocabulary and, perhaps, settings.
fn folder(settings: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(goldens().join(VOCABULARY), folder.path().join(VOCABULARY)).unwrap();
    if let Some(settings) = settings {
        std::fs::write(folder.path().join(SETTINGS), settings).unwrap();
    }
    folder
}

fn open(folder: &Path, longest: usize) -> Result<BertTokenizer> {
    BertTokenizer::open(folder, &golden_config(), longest)
}

#[track_caller]
fn assert_expected(folder: &Path, lower: bool) {
    let mut compared = 0;
    for expected in expected().iter().filter(|expected| expected.lower == lower) {
        let tokenizer = open(folder, expected.limit).unwrap();
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
        assert_eq!(
            found.pieces,
            pieces.collect::<Vec<_>>(),
            "{:?}",
            expected.caption
        );
        compared += 1;
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn pieces_of_a_vocabulary_equal_those_of_the_published_tokenizer() {
    assert_expected(folder(None).path(), true);
    assert_expected(
        folder(Some(r#"{"do_lower_case": true, "model_max_length": 2}"#)).path(),
        true,
    );
    assert_expected(folder(Some(r#"{"do_lower_case": false}"#)).path(), false);
}

#[test]
fn pieces_of_a_tokenizer_file_equal_those_of_the_published_tokenizer() {
    assert_expected(&goldens(), true);
}

#[test]
fn limits_and_padding_of_the_file_do_not_count() {
    let text = std::fs::read_to_string(goldens().join(TOKENIZER)).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["truncation"] = serde_json::json!(
        {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = serde_json::json!(
        {"strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": null,
         "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(TOKENIZER), json.to_string()).unwrap();
    assert_expected(folder.path(), true);
}

#[test]
fn what_is_cut_is_counted() {
    let folder = folder(None);
    let caption = "a dog runs in the snow";
    let whole = open(folder.path(), 100).unwrap().encode(caption).unwrap();
    assert_eq!(whole.cut, 0);
    let short = open(folder.path(), 5).unwrap().encode(caption).unwrap();
    assert_eq!((short.ids.len(), short.cut), (5, whole.ids.len() - 5));
    assert_eq!(short.pieces.last().unwrap().text, END);
}

#[test]
fn the_positions_of_the_model_are_the_last_limit() {
    let tokenizer = open(folder(None).path(), usize::MAX).unwrap();
    let pieces = tokenizer.encode(&"dog ".repeat(100)).unwrap();
    assert_eq!(pieces.ids.len(), golden_config().max_position_embeddings);
    assert_eq!(pieces.cut, 100 + 2 - pieces.ids.len());
}

#[test]
fn a_word_has_the_bytes_of_all_its_pieces() {
    let tokenizer = open(folder(None).path(), 24).unwrap();
    let caption = "an Unbelievable café!";
    let pieces = tokenizer.encode(caption).unwrap();
    let word = |word| pieces.word_bytes(word).map(|bytes| &caption[bytes]);
    assert_eq!(
        [0, 1, 2, 3, 4].map(word),
        [
            Some("an"),
            Some("Unbelievable"),
            Some("café"),
            Some("!"),
            None
        ]
    );
    assert_eq!(pieces.pieces[0].origin, None);
    assert_eq!(tokenizer.piece(pieces.ids[0]).as_deref(), Some(START));
}

#[test]
fn an_empty_caption_has_the_special_pieces_only() {
    let tokenizer = open(folder(None).path(), 24).unwrap();
    let pieces = tokenizer.encode("").unwrap();
    let texts: Vec<&str> = pieces
        .pieces
        .iter()
        .map(|piece| piece.text.as_str())
        .collect();
    assert_eq!(texts, [START, END]);
}

#[test]
fn files_that_do_not_fit_are_refused_by_name() {
    let refused = |name: &str, text: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
        open(folder.path(), 24).unwrap_err().to_string()
    };
    for (name, text, part) in [
        (TOKENIZER, "{}", "expected a tokenizer.json"),
        (
            VOCABULARY,
            "[PAD]\n[UNK]\n[CLS]\n",
            "lacks the special piece `[SEP]`",
        ),
        (SETTINGS, "{}", "neither tokenizer.json nor vocab.txt"),
    ] {
        let message = refused(name, text);
        let named = name == SETTINGS || message.contains(name);
        assert!(named && message.contains(part), "{message}");
    }
    let message = open(folder(Some("3")).path(), 24).unwrap_err().to_string();
    assert!(message.contains(SETTINGS), "{message}");
    let message = open(folder(None).path(), 2).unwrap_err().to_string();
    assert!(
        message.contains("behind 2 pieces, expected at least 3"),
        "{message}"
    );
    let small = BertConfig {
        vocab_size: 50,
        ..golden_config()
    };
    let message = BertTokenizer::open(&goldens(), &small, 24)
        .unwrap_err()
        .to_string();
    assert!(message.contains("vocab_size 50"), "{message}");
}

/// The golden `tokenizer.json` with one of its keys changed.
fn opened_with(key: &str, value: serde_json::Value) -> Result<BertTokenizer> {
    let text = std::fs::read(goldens().join(TOKENIZER)).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    json[key] = value;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(TOKENIZER), json.to_string()).unwrap();
    open(folder.path(), 32)
}

#[test]
fn files_that_the_library_panics_on_are_named_as_broken() {
    let template = serde_json::json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}],
        "pair": [], "special_tokens": {}});
    let charsmap = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"});
    for (key, value) in [("post_processor", template), ("normalizer", charsmap)] {
        let message = opened_with(key, value).unwrap_err().to_string();
        assert!(
            message.contains("tokenizer.json: no tokenizer"),
            "{message}"
        );
    }
}

#[test]
fn replacements_that_make_a_letter_a_flood_are_refused() {
    let replacing = |pattern: serde_json::Value, content: &str, times: usize| {
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
fn steps_that_cost_too_much_or_lead_out_of_the_vocabulary_are_refused() {
    let refused = |key: &str, value: serde_json::Value, part: &str| {
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
    // 2^32 - 1 numbers, of which none are there.
    let charsmap = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="});
    refused("normalizer", charsmap, "shorter than it says");
    let around = serde_json::json!({"type": "BertProcessing",
        "sep": ["a", u32::MAX], "cls": ["b", u32::MAX]});
    refused("post_processor", around, "the id 4294967295");
}

#[test]
fn pointer_to_a_large_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n";
    std::fs::write(folder.path().join(TOKENIZER), pointer).unwrap();
    let message = open(folder.path(), 32).unwrap_err().to_string();
    assert!(
        message.contains("tokenizer.json") && message.contains("git lfs pull"),
        "{message}"
    );
}
