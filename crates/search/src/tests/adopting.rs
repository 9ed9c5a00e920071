//! Photos of other indexes are taken over as they are there.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::{AdoptionCounts, segment};

/// An index of these photos and files that cannot be read.
fn index_of(made: &[Made], unreadable: &[UnreadablePhoto]) -> TempDir {
    let folder = folder();
    let mut writer = Index::create(folder.path(), &model()).unwrap();
    for few in made.chunks(2) {
        add(&mut writer, few).unwrap();
    }
    writer.add_unreadable(unreadable).unwrap();
    folder
}

fn adopt(writer: &mut Writer, others: &[&TempDir]) -> Result<AdoptionCounts> {
    let folders: Vec<PathBuf> = others.iter().map(|it| it.path().to_owned()).collect();
    writer.adopt(&folders, &mut |_| (), &AtomicBool::new(false))
}

/// What an index holds, by path instead of by number.
fn content(index: &mut Index) -> (BTreeMap<PathBuf, (NewPhoto, Vec<u8>)>, usize) {
    let State { photos, unreadable } = State::read(index);
    let photos = photos.into_values();
    let photos = photos.map(|photo| (photo.0.file.path.clone(), photo));
    (photos.collect(), unreadable.len())
}

#[test]
fn an_index_that_adopts_others_equals_one_of_all_photos() {
    let photos = made(&["/p/a", "/p/b", "/p/c", "/p/d", "/p/e"]);
    let mut changed = Made::new(Path::new("/p/a"), &mut rng(9));
    changed.photo.file.modified = i64::MAX;
    let unreadable = UnreadablePhoto {
        file: made_file(Path::new("/p/broken"), &mut rng(10)),
        reason: "it is empty".to_owned(),
    };
    let first = index_of(&photos[..3], &[]);
    let other = index_of(&photos[3..], std::slice::from_ref(&unreadable));
    let newer = index_of(&[changed.clone(), photos[3].clone()], &[]);
    let target = folder();
    let mut writer = Index::create(target.path(), &model()).unwrap();
    let adopted = adopt(&mut writer, &[&first, &other]).unwrap();
    let counts = AdoptionCounts {
        new: 5,
        unreadable: 1,
        ..AdoptionCounts::default()
    };
    assert_eq!(adopted, counts);
    let of_all = index_of(&photos, std::slice::from_ref(&unreadable));
    let expected = content(&mut Index::open(of_all.path()).unwrap());
    assert_eq!(content(writer.index_mut()), expected);
    // What the first indexes had in five segments.
    assert!(writer.index().size().unwrap().segments <= 2);
    let again = adopt(&mut writer, &[&first, &newer, &other]).unwrap();
    let counts = AdoptionCounts {
        changed: 1,
        unchanged: 6,
        ..AdoptionCounts::default()
    };
    assert_eq!(again, counts);
    let found = content(writer.index_mut()).0;
    assert_eq!(found[Path::new("/p/a")].0, changed.photo);
    assert_eq!(found.len(), 5);
    assert!(writer.index().check().is_empty());
}

#[test]
fn an_adoption_that_is_stopped_is_continued() {
    let photos = made(&["/p/a", "/p/b", "/p/c"]);
    let indexes = photos.chunks(1).map(|photo| index_of(photo, &[]));
    let indexes: Vec<TempDir> = indexes.collect();
    let folders: Vec<PathBuf> = indexes.iter().map(|it| it.path().to_owned()).collect();
    let target = folder();
    let mut writer = Index::create(target.path(), &model()).unwrap();
    let stop = AtomicBool::new(false);
    let mut on_index = |_| stop.store(true, Ordering::Relaxed);
    let stopped = writer.adopt(&folders, &mut on_index, &stop).unwrap();
    assert_eq!((stopped.new, stopped.remaining), (1, 2));
    assert_eq!(writer.index().size().unwrap().photos, 1);
    let all: Vec<&TempDir> = indexes.iter().collect();
    let continued = adopt(&mut writer, &all).unwrap();
    assert_eq!((continued.new, continued.unchanged), (2, 1));
    assert_eq!(writer.index().paths().unwrap().len(), 3);
}

#[test]
fn the_newest_state_of_a_file_stays_whatever_the_order() {
    let state = |modified: i64, seed: u64| {
        let mut made = Made::new(Path::new("/p/a"), &mut rng(seed));
        made.photo.file.modified = modified;
        made
    };
    let note = |modified: i64| UnreadablePhoto {
        file: state(modified, 7).photo.file,
        reason: "it is empty".to_owned(),
    };
    let (old, new) = (state(1, 1), state(3, 2));
    let photos = [&old, &new].map(|made| index_of(std::slice::from_ref(made), &[]));
    let notes = [2, 4].map(|modified| index_of(&[], &[note(modified)]));
    let [old_photo, new_photo] = &photos;
    let [old_note, new_note] = &notes;
    for (indexes, is_photo) in [
        ([old_photo, new_photo, old_note], true),
        ([old_note, new_photo, old_photo], true),
        ([new_photo, old_note, old_photo], true),
        ([old_photo, new_note, new_photo], false),
        ([new_note, old_photo, new_photo], false),
        ([new_photo, old_photo, new_note], false),
    ] {
        let target = folder();
        let mut writer = Index::create(target.path(), &model()).unwrap();
        adopt(&mut writer, &indexes).unwrap();
        let first = State::read(writer.index_mut());
        let again = adopt(&mut writer, &indexes).unwrap();
        assert_eq!((again.new, again.changed, again.unreadable), (0, 0, 0));
        assert_eq!(State::read(writer.index_mut()), first);
        let photos: Vec<&NewPhoto> = first.photos.values().map(|photo| &photo.0).collect();
        match is_photo {
            true => assert_eq!(photos, [&new.photo]),
            false => assert!(photos.is_empty() && first.unreadable.len() == 1),
        }
    }
}

#[test]
fn large_indexes_become_several_segments() {
    let photos = made(&["/p/a", "/p/b", "/p/c", "/p/d", "/p/e"]);
    let other = index_of(&photos, &[]);
    let target = folder();
    let mut writer = Index::create(target.path(), &model()).unwrap();
    let (folders, stop) = ([other.path().to_owned()], AtomicBool::new(false));
    let adopted = writer.adopt_in_batches(1, &folders, &mut |_| (), &stop);
    assert_eq!(adopted.unwrap().new, 5);
    assert_eq!(writer.index().size().unwrap().segments, 5);
    let expected = content(&mut Index::open(other.path()).unwrap());
    assert_eq!(content(writer.index_mut()), expected);
}

#[test]
fn other_and_damaged_indexes_are_refused_by_name() {
    let target = folder();
    let mut writer = Index::create(target.path(), &model()).unwrap();
    let mut refused = |other: &TempDir| adopt(&mut writer, &[other]).unwrap_err().to_string();
    for (model, named) in [
        (
            ModelIdentity {
                hash: "another".to_owned(),
                ..model()
            },
            "the model",
        ),
        (
            ModelIdentity {
                encoder: "another".to_owned(),
                ..model()
            },
            "the encoder",
        ),
        (
            ModelIdentity {
                precision: Precision::F32,
                ..model()
            },
            "the precision",
        ),
    ] {
        let other = folder();
        drop(Index::create(other.path(), &model).unwrap());
        let message = refused(&other);
        assert!(message.contains(named), "{message}");
        assert!(
            message.starts_with(&other.path().display().to_string()),
            "{message}"
        );
    }
    let damaged = index_of(&made(&["/p/a"]), &[]);
    let path = segment::path(damaged.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let message = refused(&damaged);
    assert!(message.contains("damaged"), "{message}");
    assert!(refused(&folder()).contains("no index of photos is here"));
    assert_eq!(writer.index().size().unwrap().photos, 0);
    let whole = index_of(&made(&["/p/b"]), &[]);
    adopt(&mut writer, &[&whole, &damaged]).unwrap_err();
    assert_eq!(writer.index().size().unwrap().photos, 1);
}
