//! Tests of text models: ids, words, and files that are written and read again.

use super::super::transformer::tests::folder;
use super::*;

fn published(kind: &str, family: &str) -> TextModel {
    let kind: TextKind = kind.parse().unwrap();
    TextModel::open(kind, &folder(family), 32).unwrap()
}

fn words(captions: &[&str], longest: usize) -> TextModel {
    let vocabulary = Vocabulary::build(captions.iter().copied(), 1);
    TextModel::from_vocabulary(vocabulary, None, longest)
}

fn all() -> [TextModel; 4] {
    [
        words(&["a dog can't swim"], 20),
        published("bert", "bert"),
        published("tower", "clip"),
        published("tower", "siglip"),
    ]
}

#[test]
fn a_long_caption_is_cut_and_keeps_its_end() {
    let text = words(&["a dog can swim"], 4);
    assert_eq!(text.encode("a dog").unwrap(), [1, 4, 5, 2]);
    assert_eq!(text.encode("a dog can swim").unwrap(), [1, 4, 5, 2]);
    assert_eq!(text.cut("a dog can swim").unwrap(), 2);
    let words = text.words("a dog can swim").unwrap();
    assert_eq!(words.len(), 2);
    assert_eq!(words[1].rows, 2..3);
}

#[test]
fn every_id_but_the_special_ones_belongs_to_one_word() {
    for (text, first) in all().into_iter().zip([1, 1, 1, 0]) {
        let caption = "A dog can't swim, playing";
        let ids = text.encode(caption).unwrap().len();
        let words = text.words(caption).unwrap();
        let rows: Vec<usize> = words.iter().flat_map(|word| word.rows.clone()).collect();
        assert_eq!(rows, (first..ids - 1).collect::<Vec<_>>());
        assert_eq!(words[0].text, "a");
    }
}

#[test]
fn written_files_give_the_same_model() {
    for text in all() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in text.files().unwrap() {
            assert!(TextModel::file_names().contains(&name));
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let again = TextModel::read(folder.path(), 32).unwrap();
        assert_eq!(again.hash().unwrap(), text.hash().unwrap());
        assert_eq!(again.files().unwrap(), text.files().unwrap());
        let caption = "a swimming dog";
        assert_eq!(
            again.encode(caption).unwrap(),
            text.encode(caption).unwrap()
        );
        assert_eq!((again.pad(), again.ids()), (text.pad(), text.ids()));
    }
}

#[test]
fn other_words_have_another_hash() {
    let [own, bert, ..] = all();
    assert_ne!(words(&["a cat"], 20).hash().unwrap(), own.hash().unwrap());
    assert_ne!(bert.hash().unwrap(), own.hash().unwrap());
}

#[test]
fn kinds_are_read_by_name_and_others_are_refused_with_all_names() {
    for name in ["gru", "bert", "tower"] {
        let kind: TextKind = serde_json::from_value(name.into()).unwrap();
        assert_eq!(serde_json::to_value(kind).unwrap(), name);
    }
    let message = serde_json::from_value::<TextKind>("lstm".into()).unwrap_err();
    let expected = "unknown variant `lstm`, expected one of `gru`, `bert`, `tower`";
    assert_eq!(message.to_string(), expected);
    assert_eq!(TextKind::default(), TextKind::GRU);
}
