//! Tests of importing captions: every format gives the same splits.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::dataset::Split;
use crate::npy::write_f32;

const TOKENS: &str =
    "b.jpg#0\tA dog .\nb.jpg#1\tTwo dogs .\na.jpg#0\tA cat .\na.jpg#1\tOne  cat .\n";

const KARPATHY: &str = r#"{"dataset": "two", "images": [
    {"filename": "b.jpg", "filepath": "val2014", "cocoid": 7, "split": "restval", "imgid": 0,
     "sentences": [{"raw": "A dog .", "tokens": ["a", "dog"]}, {"raw": "Two dogs .\n"}]},
    {"filename": "a.jpg", "filepath": "val2014", "cocoid": 9, "split": "train", "imgid": 1,
     "sentences": [{"raw": "A cat ."}, {"raw": "One\tcat ."}]},
    {"filename": "c.jpg", "filepath": "val2014", "cocoid": 11, "split": "val", "imgid": 2,
     "sentences": [{"tokens": ["an", "owl"]}]}]}"#;

const COCO: &str = r#"{"info": {}, "images": [
    {"id": 7, "file_name": "b.jpg", "height": 4}, {"id": 9, "file_name": "a.jpg"}],
    "annotations": [{"id": 0, "image_id": 7, "caption": "A dog ."},
    {"id": 1, "image_id": 9, "caption": "A cat .\n"}, {"id": 2, "image_id": 9, "caption": "One cat ."},
    {"id": 3, "image_id": 7, "caption": "Two dogs ."}]}"#;

/// A folder with caption files, and optionally an image list.
struct CaptionFixture {
    dir: TempDir,
    files: Vec<PathBuf>,
    list: Option<PathBuf>,
}

impl CaptionFixture {
    fn new(texts: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |(at, text): (usize, &&str)| {
            let path = dir.path().join(format!("captions.{at}"));
            fs::write(&path, text).unwrap();
            path
        };
        let files = texts.iter().enumerate().map(file).collect();
        let list = None;
        Self { dir, files, list }
    }

    fn with_list(mut self, text: &str) -> Self {
        let path = self.dir.path().join("images.txt");
        fs::write(&path, text).unwrap();
        self.list = Some(path);
        self
    }

    fn import(&self, out: &Path, split: Option<&str>) -> Result<Vec<WrittenCaptions>> {
        let source = CaptionSource {
            files: &self.files,
            format: None,
            image_list: self.list.as_deref(),
        };
        import_captions(&source, out, split)
    }

    fn refused(&self, split: Option<&str>, parts: &[&str]) {
        let out = self.dir.path().join("out");
        let message = self.import(&out, split).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }
}

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

/// Writes features of images of these ids, each with its index as its only number.
fn features(dir: &Path, split: &str, ids: &[&str]) {
    let values: Vec<f32> = (0..ids.len()).map(|id| id as f32).collect();
    write_f32(
        &dir.join(format!("{split}_ims.npy")),
        &[ids.len(), 1, 1],
        &values,
    )
    .unwrap();
    fs::write(dir.join(format!("{split}_ids.txt")), ids.join("\n")).unwrap();
}

#[test]
fn every_format_gives_the_same_captions() {
    let list = "b.jpg\na.jpg\n";
    let lines = ["A dog .\nA cat .\n", "Two dogs .\r\nOne cat .\r\n"];
    for (given, prefix) in [
        (CaptionFixture::new(&[TOKENS]), ""),
        (CaptionFixture::new(&[KARPATHY]), "val2014/"),
        (CaptionFixture::new(&[COCO]), ""),
        (CaptionFixture::new(&lines).with_list(list), ""),
        (
            CaptionFixture::new(&["\u{feff}A dog .\nTwo dogs .\nA cat .\nOne cat ."])
                .with_list("b.jpg\nb.jpg\na.jpg\na.jpg\n"),
            "",
        ),
    ] {
        let out = given.dir.path().join("out");
        let written = given.import(&out, Some("train")).unwrap();
        assert_eq!(
            (written.len(), written[0].images, written[0].captions),
            (1, 2, 4)
        );
        let captions = read(&out, "train_caps.txt").replace("  ", " ");
        assert_eq!(captions, "A dog .\nTwo dogs .\nA cat .\nOne cat .\n");
        assert_eq!(
            read(&out, "train_ids.txt"),
            format!("{prefix}b.jpg\n{prefix}a.jpg\n")
        );
        assert!(!out.join("train_map.txt").exists() && written[0].unmatched.is_none());
    }
}

#[test]
fn numbers_of_coco_are_written_for_each_caption() {
    let given = CaptionFixture::new(&[COCO]);
    let out = given.dir.path().join("out");
    given.import(&out, Some("dev")).unwrap();
    let numbers = "7\t0\n7\t3\n9\t1\n9\t2\n";
    assert_eq!(read(&out, "dev_caption_ids.txt"), numbers);
    let numbered = KARPATHY.replace("{\"tokens\"", "{\"sentid\": 44, \"tokens\"");
    let given = CaptionFixture::new(&[&numbered]);
    given.import(&out.join("karpathy"), None).unwrap();
    assert_eq!(read(&out, "karpathy/dev_caption_ids.txt"), "11\t44\n");
    // The sentences of its other split have no number.
    assert!(!out.join("karpathy/train_caption_ids.txt").exists());
}

#[test]
fn splits_of_the_file_are_written_unless_one_is_named() {
    let given = CaptionFixture::new(&[KARPATHY]);
    let out = given.dir.path().join("all");
    let written = given.import(&out, None).unwrap();
    let names: Vec<&str> = written.iter().map(|written| &written.split[..]).collect();
    assert_eq!(names, ["dev", "train"]);
    assert_eq!(read(&out, "dev_caps.txt"), "an owl\n");
    given.refused(Some("test"), &["no split test", "only dev, train"]);
    CaptionFixture::new(&[&KARPATHY.replace("\"val\"", "\"../x\"")]).refused(None, &["`../x`"]);
}

#[test]
fn captions_take_the_order_of_features_and_unmatched_images_are_listed() {
    let given = CaptionFixture::new(&[TOKENS, "c.jpg#0\tAn owl .\nd.jpg#0\t \nd.jpg#1\tA fox .\n"]);
    let out = given.dir.path();
    features(out, "dev", &["photos/a.png", "e", "b.jpg", "d"]);
    let written = &given.import(out, Some("dev")).unwrap()[0];
    assert!(written.has_features);
    assert_eq!((written.images, written.captions), (3, 5));
    assert_eq!((written.without_features, written.without_captions), (1, 1));
    let listed = "e\tno captions\nc.jpg\tno features\nd.jpg\tan empty caption was left out\n";
    assert_eq!(read(out, "dev_unmatched.tsv"), listed);
    let split = Split::open(out, "dev").unwrap();
    assert_eq!(split.image_of_caption, [0, 0, 2, 2, 3]);
    assert_eq!(split.captions[2], "A dog .");
    assert_eq!(split.ids[0], "photos/a.png");
}

#[test]
fn features_with_cocos_numbers_as_ids_are_matched() {
    for text in [KARPATHY, COCO] {
        let given = CaptionFixture::new(&[text]);
        features(given.dir.path(), "train", &["9", "7"]);
        given.import(given.dir.path(), Some("train")).unwrap();
        let split = Split::open(given.dir.path(), "train").unwrap();
        assert_eq!(split.captions[0], "A cat .");
        assert_eq!(split.image_of_caption, [0, 0, 1, 1]);
    }
}

#[test]
fn image_list_chooses_and_orders() {
    let given = CaptionFixture::new(&[TOKENS]).with_list("a.jpg\n\nz.jpg\n");
    let out = given.dir.path();
    let written = &given.import(out, Some("test")).unwrap()[0];
    assert_eq!((written.images, written.without_captions), (1, 1));
    assert_eq!(read(out, "test_ids.txt"), "a.jpg\n");
    assert_eq!(read(out, "test_unmatched.tsv"), "z.jpg\tno captions\n");
}

#[test]
fn wrong_files_are_refused_with_advice() {
    CaptionFixture::new(&["A dog .\n"]).refused(None, &["captions.0", "--image-list"]);
    CaptionFixture::new(&["A dog .\n"])
        .with_list("a\nb\n")
        .refused(None, &["2 captions", "found 1"]);
    let twice = CaptionFixture::new(&[TOKENS]).with_list("a.jpg\nb.jpg\nphotos/a.png\n");
    twice.refused(None, &["is the id of images 0 and 2"]);
    CaptionFixture::new(&["a.jpg#0\tA dog .\nA cat .\n"]).refused(None, &["line 2", "NAME.jpg#k"]);
    CaptionFixture::new(&["{\"images\": 3}"]).refused(None, &["captions.0", "Karpathy's"]);
    let unknown = COCO.replace("\"image_id\": 9", "\"image_id\": 8");
    CaptionFixture::new(&[&unknown]).refused(None, &["image 8", "not among `images`"]);
    CaptionFixture::new(&["<html>"]).refused(None, &["captions.0", "a web page"]);
    let given = CaptionFixture::new(&[TOKENS]);
    let out = given.dir.path().join("out");
    fs::create_dir(&out).unwrap();
    features(&out, "train", &["x", "y"]);
    given.refused(None, &["train_ims.npy", "`x`", "`b.jpg`"]);
    fs::remove_file(out.join("train_ids.txt")).unwrap();
    given.refused(None, &["no ids", "train_ids.txt"]);
    fs::remove_file(out.join("train_ims.npy")).unwrap();
    given.import(&out, None).unwrap();
    given.refused(None, &["train_caps.txt is there already"]);
}

#[test]
fn flickr8k_is_imported_from_its_token_file() {
    let Some(shared) = std::env::var_os("UARD_SHARED") else {
        println!("skipped: UARD_SHARED is not set");
        return;
    };
    let shared = Path::new(&shared).join("flickr8k");
    let (mut tokens, mut lists) = (String::new(), Vec::new());
    for split in ["dev", "train"] {
        let [ids, captions] =
            ["ids", "caps"].map(|what| read(&shared, &format!("{split}_{what}.txt")));
        let names: Vec<&str> = ids.lines().collect();
        for (at, caption) in captions.lines().enumerate() {
            let id = names[at / 5];
            tokens += &format!("{id}#{}\t{caption}\n", at % 5);
        }
        lists.push((split, ids, captions));
    }
    for (split, ids, captions) in lists {
        let given = CaptionFixture::new(&[&tokens]).with_list(&ids);
        let out = given.dir.path();
        let written = &given.import(out, Some(split)).unwrap()[0];
        assert_eq!(written.unmatched, None);
        let trimmed: String = captions
            .lines()
            .map(|line| format!("{}\n", line.trim()))
            .collect();
        assert_eq!(read(out, &format!("{split}_caps.txt")), trimmed);
        assert_eq!(read(out, &format!("{split}_ids.txt")).trim(), ids.trim());
    }
}
