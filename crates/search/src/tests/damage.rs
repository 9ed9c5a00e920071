//! Damaged files are reported or have no effect, and never cause a panic.

use std::fs;

use super::*;
use crate::segment::{self, Segment};

fn index_of(made: &[Made]) -> (TempDir, Vec<PhotoId>) {
    let folder = folder();
    let mut writer = Index::create(folder.path(), &model()).unwrap();
    let ids = add(&mut writer, made).unwrap();
    (folder, ids)
}

#[test]
fn each_wrong_byte_of_a_segment_is_reported_or_has_no_effect() {
    let (folder, _) = index_of(&made(&["/photos/a.jpg", "/photos/b.jpg", "/photos/c.jpg"]));
    let path = segment::path(folder.path(), 1);
    let whole = fs::read(&path).unwrap();
    let mut harmless = 0;
    for at in 0..whole.len() {
        let mut broken = whole.clone();
        broken[at] ^= 1 << (at % 8);
        fs::write(&path, &broken).unwrap();
        let opened = Segment::open(&path, &model(), 3);
        match opened.and_then(|found| Ok(found.regions.verify().map(|()| found)?)) {
            Ok(found) => {
                assert_eq!(bytes(&found.regions), whole, "byte {at}");
                harmless += 1;
            }
            Err(error) => assert!(error.to_string().contains("segment-1.packed"), "{error}"),
        }
    }
    // The zeros at the end of the table's last line are not part of any checksum.
    assert!(harmless < 64, "{harmless}");
}

#[test]
fn a_damaged_segment_is_reported_with_its_photos_and_a_remedy() {
    let names = ["/photos/a.jpg", "/photos/b.jpg"];
    let (folder, _) = index_of(&made(&names));
    let path = segment::path(folder.path(), 1);
    let mut index = Index::open(folder.path()).unwrap();
    assert_eq!(index.check(), []);
    let whole = fs::read(&path).unwrap();
    let mut broken = whole.clone();
    *broken.last_mut().unwrap() ^= 1;
    fs::write(&path, broken).unwrap();
    let [damage] = &index.check()[..] else {
        panic!("one damage");
    };
    assert!(
        damage.to_string().contains("checksum of the norms"),
        "{damage}"
    );
    assert!(damage.to_string().contains("index them again"), "{damage}");
    assert_eq!(damage.photos, names.map(PathBuf::from));
    // A merged copy would have the right checksum.
    let mut writer = Writer::open(folder.path()).unwrap();
    writer.remove(&[names[0].into()]).unwrap();
    assert!(writer.compact().is_err());

    fs::remove_file(&path).unwrap();
    let [damage] = &index.check()[..] else {
        panic!("one damage");
    };
    assert!(damage.to_string().contains("segment-1.packed"), "{damage}");
    let error = index.select(&Filter::default()).unwrap_err().to_string();
    assert!(error.contains("segment-1.packed"), "{error}");
    // The remedy that `check` names works.
    writer.remove(&names.map(PathBuf::from)).unwrap();
    writer.compact().unwrap();
    assert_eq!(index.check(), []);
    let ids = add(&mut writer, &made(&names)).unwrap();
    assert_eq!(ids, [PhotoId(3), PhotoId(4)]);
}

#[test]
fn damaged_thumbnails_boxes_and_rows_are_reported() {
    let changes = [
        "UPDATE previews SET thumbnail = x'00ff' WHERE photo = 2",
        "UPDATE previews SET boxes = x'' WHERE photo = 2",
        "DELETE FROM previews WHERE photo = 2",
        "UPDATE photos SET position = 7 WHERE id = 2",
        // The mean of a photo.
        "UPDATE photos SET position = 3 WHERE id = 2",
        "UPDATE segments SET images = 9",
    ];
    for change in changes {
        let mut photos = made(&["/photos/a.jpg", "/photos/b.jpg"]);
        // One region, so that its boxes fit a mean.
        photos[1].numbers.truncate(WIDTH);
        photos[1].photo.preview.boxes.truncate(1);
        let (folder, _) = index_of(&photos);
        let writer = Writer::open(folder.path()).unwrap();
        assert_eq!(writer.index().database.execute(change, []).unwrap(), 1);
        let found = writer.index().check();
        assert_eq!(found.len(), 1, "{change}: {found:?}");
        if change.contains("photos SET position") {
            let error = Index::open(folder.path())
                .unwrap()
                .select(&Filter::default());
            assert!(error.unwrap_err().to_string().contains("names photo"));
        }
    }
}

#[test]
fn photos_in_a_segment_that_is_not_listed_are_an_error() {
    let (folder, _) = index_of(&made(&["/photos/a.jpg", "/photos/b.jpg"]));
    let database = rusqlite::Connection::open(folder.path().join("index.sqlite")).unwrap();
    let sql = "PRAGMA foreign_keys = OFF; DELETE FROM segments";
    database.execute_batch(sql).unwrap();
    let mut index = Index::open(folder.path()).unwrap();
    assert_eq!(index.check().len(), 1);
    let error = index.select(&Filter::default()).unwrap_err().to_string();
    assert!(
        error.contains("segment 1, which it does not list"),
        "{error}"
    );
}

#[test]
fn a_damaged_database_is_reported_without_a_panic() {
    let (folder, _) = index_of(&made(&["/photos/a.jpg", "/photos/b.jpg"]));
    let path = folder.path().join("index.sqlite");
    let whole = fs::read(&path).unwrap();
    let mut rng = rng(1);
    let mut found = 0;
    for _ in 0..300 {
        let mut broken = whole.clone();
        for _ in 0..rng.random_range(1..20) {
            let at = rng.random_range(0..broken.len());
            broken[at] = rng.random();
        }
        if rng.random_bool(0.1) {
            broken.truncate(rng.random_range(0..whole.len()));
        }
        fs::write(&path, broken).unwrap();
        let Ok(mut index) = Index::open(folder.path()) else {
            found += 1;
            continue;
        };
        found += usize::from(!index.check().is_empty());
        let _ = index.select(&Filter::default());
        let _ = index.size();
        let _ = index.unreadable();
        for id in 1..3 {
            let _ = index.photo(PhotoId(id));
            let _ = index.preview(PhotoId(id));
        }
    }
    assert!(found > 100, "{found}");
}

#[test]
fn other_databases_and_later_versions_are_refused() {
    let folder = folder();
    let path = folder.path().join("index.sqlite");
    let refused = || Index::open(folder.path()).unwrap_err().to_string();
    assert!(refused().contains("no index of photos is here"));
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    fs::write(&path, "no database").unwrap();
    assert!(
        refused().contains("file is not a database"),
        "{}",
        refused()
    );
    fs::remove_file(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE a (b)").unwrap();
    assert!(refused().contains("another program"), "{}", refused());
    let created = Index::create(folder.path(), &model()).unwrap_err();
    assert!(created.to_string().contains("another program"), "{created}");
    drop(other);
    fs::remove_file(&path).unwrap();
    drop(Index::create(folder.path(), &model()).unwrap());
    assert!(matches!(
        Index::create(folder.path(), &model()),
        Err(crate::Error::IndexExists { .. })
    ));
    let later = rusqlite::Connection::open(&path).unwrap();
    later.pragma_update(None, "user_version", 99).unwrap();
    assert!(refused().contains("expected version 1 of the index, found 99"));
    assert!(Writer::open(folder.path()).is_err());
}
