//! Update plans after files were changed, moved, copied and removed.

use std::fs;

use super::*;
use crate::{Scan, ScanProblem, UpdatePlan};

/// A folder of files and an index of them.
struct Photos {
    folder: TempDir,
    _index: TempDir,
    writer: Writer,
}

impl Photos {
    /// Creates a file of each name, which contains its name, and indexes all.
    fn new(names: &[&str]) -> Self {
        let (folder, index) = (folder(), folder());
        for name in names {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let mut photos = Self {
            writer: Index::create(index.path(), &model()).unwrap(),
            folder,
            _index: index,
        };
        let plan = photos.plan();
        photos.add(&plan.new);
        assert_eq!(photos.plan().unchanged, names.len());
        photos
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file. If there was one, the new one has a later modification time.
    fn write(&self, name: &str, text: &str) {
        let before = fs::metadata(self.at(name)).and_then(|found| found.modified());
        fs::write(self.at(name), text).unwrap();
        if let Ok(before) = before {
            let file = fs::File::options().write(true).open(self.at(name)).unwrap();
            file.set_modified(before + std::time::Duration::from_secs(5))
                .unwrap();
        }
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    fn scan(&self) -> Scan {
        Scan::folders(&[self.folder.path().to_owned()])
    }

    fn plan(&self) -> UpdatePlan {
        self.writer.index().plan(&self.scan()).unwrap()
    }

    fn add(&mut self, files: &[PhotoFile]) {
        if files.is_empty() {
            return;
        }
        let made: Vec<Made> = files
            .iter()
            .map(|file| {
                let mut made = Made::new(&file.path, &mut rng(file.bytes));
                made.photo.content = ContentHash::hash_file(&file.path).unwrap();
                made.photo.file = file.clone();
                made
            })
            .collect();
        add(&mut self.writer, &made).unwrap();
    }

    fn id(&self, name: &str) -> i64 {
        let found = self.writer.index().photo_at(&self.at(name)).unwrap();
        found.unwrap().id.0
    }

    /// Applies a plan, and expects that nothing is left to do.
    fn apply(&mut self, plan: &UpdatePlan) {
        self.writer.move_photos(&plan.moved).unwrap();
        self.add(&plan.new);
        self.add(&plan.changed);
        self.writer.remove(&plan.removed).unwrap();
        let files = self.scan().files.len();
        let expected = UpdatePlan {
            unchanged: files,
            ..UpdatePlan::default()
        };
        assert_eq!(self.plan(), expected);
        assert_eq!(self.writer.index().check(), []);
    }
}

/// The names of files, separated by spaces.
fn names(files: &[PhotoFile]) -> String {
    let names = files
        .iter()
        .map(|file| file.path.file_name().unwrap().to_str().unwrap());
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn new_changed_and_removed_files_are_planned_as_such() {
    let mut photos = Photos::new(&["a.jpg", "b.jpg", "c.jpg"]);
    photos.write("a.jpg", "something else");
    photos.write("d.jpg", "new");
    fs::remove_file(photos.at("b.jpg")).unwrap();
    let plan = photos.plan();
    assert_eq!([names(&plan.new), names(&plan.changed)], ["d.jpg", "a.jpg"]);
    assert_eq!(plan.removed, [photos.at("b.jpg")]);
    assert_eq!((plan.moved.len(), plan.unchanged), (0, 1));
    let before = photos.id("a.jpg");
    photos.apply(&plan);
    assert_eq!(photos.id("a.jpg"), before);
}

#[test]
fn a_moved_photo_keeps_its_number_if_another_file_takes_its_path() {
    let mut photos = Photos::new(&["a.jpg", "b.jpg"]);
    let id = photos.id("a.jpg");
    photos.rename("a.jpg", "z.jpg");
    photos.write("a.jpg", "another photo");
    let plan = photos.plan();
    assert_eq!(
        (plan.moved.len(), plan.changed.len(), plan.removed.len()),
        (1, 0, 0)
    );
    assert_eq!(names(&plan.new), "a.jpg");
    photos.apply(&plan);
    assert_eq!(photos.id("z.jpg"), id);
    assert_ne!(photos.id("a.jpg"), id);
}

#[test]
fn a_photo_moved_over_another_replaces_it() {
    let mut photos = Photos::new(&["a.jpg", "b.jpg"]);
    let id = photos.id("a.jpg");
    photos.rename("a.jpg", "b.jpg");
    let plan = photos.plan();
    assert_eq!((plan.moved.len(), plan.removed.len()), (1, 0));
    photos.apply(&plan);
    assert_eq!(photos.id("b.jpg"), id);
    assert_eq!(photos.writer.index().size().unwrap().photos, 1);
}

#[test]
fn photos_that_exchange_their_paths_are_moved() {
    let mut photos = Photos::new(&["1.jpg", "2.jpg", "3.jpg"]);
    let ids = ["1.jpg", "2.jpg", "3.jpg"].map(|name| photos.id(name));
    photos.rename("3.jpg", "x");
    photos.rename("2.jpg", "3.jpg");
    photos.rename("1.jpg", "2.jpg");
    photos.rename("x", "1.jpg");
    let plan = photos.plan();
    assert_eq!(plan.moved.len(), 3);
    photos.apply(&plan);
    let found = ["2.jpg", "3.jpg", "1.jpg"].map(|name| photos.id(name));
    assert_eq!(found, ids);
}

#[test]
fn a_new_time_with_the_same_content_needs_no_encoding() {
    let mut photos = Photos::new(&["a.jpg", "b.jpg"]);
    let id = photos.id("a.jpg");
    photos.write("a.jpg", "a.jpg");
    let plan = photos.plan();
    assert_eq!(
        (plan.moved.len(), plan.changed.len(), plan.unchanged),
        (1, 0, 1)
    );
    photos.apply(&plan);
    assert_eq!(photos.id("a.jpg"), id);
}

#[test]
fn a_copy_is_a_new_photo() {
    let mut photos = Photos::new(&["a.jpg"]);
    photos.write("b.jpg", "a.jpg");
    let plan = photos.plan();
    assert_eq!((&*names(&plan.new), plan.unchanged), ("b.jpg", 1));
    photos.apply(&plan);
}

#[test]
fn an_unreadable_file_is_left_alone_until_it_changes() {
    let mut photos = Photos::new(&["a.jpg", "b.jpg"]);
    let file = photos.scan().files.remove(0);
    let reason = "not a JPEG".to_owned();
    photos
        .writer
        .add_unreadable(&[UnreadablePhoto { file, reason }])
        .unwrap();
    let plan = photos.plan();
    assert_eq!(
        (&*names(&plan.still_unreadable), plan.unchanged),
        ("a.jpg", 1)
    );
    assert_eq!((plan.new.len(), plan.removed.len()), (0, 0));
    photos.write("a.jpg", "better");
    assert_eq!(names(&photos.plan().new), "a.jpg");
    fs::remove_file(photos.at("a.jpg")).unwrap();
    let plan = photos.plan();
    assert_eq!(plan.removed, [photos.at("a.jpg")]);
    photos.apply(&plan);
    assert_eq!(photos.writer.index().unreadable().unwrap(), []);
}

#[test]
fn photos_in_folders_that_were_not_read_are_not_removed() {
    let photos = Photos::new(&["a.jpg", "b.jpg"]);
    let other = folder();
    let scan = Scan::folders(&[other.path().to_owned()]);
    assert_eq!(
        photos.writer.index().plan(&scan).unwrap(),
        UpdatePlan::default()
    );
    // The indexed folder, which could not be read.
    let vanished = Scan {
        roots: vec![photos.folder.path().to_owned()],
        unread: vec![ScanProblem {
            path: photos.folder.path().to_owned(),
            reason: "it vanished".to_owned(),
        }],
        ..Scan::default()
    };
    assert_eq!(
        photos.writer.index().plan(&vanished).unwrap(),
        UpdatePlan::default()
    );
    // The indexed folder, which was read and is empty.
    let empty = Scan {
        unread: Vec::new(),
        ..vanished
    };
    assert_eq!(photos.writer.index().plan(&empty).unwrap().removed.len(), 2);
}

#[cfg(unix)]
#[test]
fn photos_behind_a_link_to_a_folder_that_is_gone_are_not_removed() {
    let mut photos = Photos::new(&["a.jpg"]);
    let disk = folder();
    fs::write(disk.path().join("b.jpg"), "b.jpg").unwrap();
    std::os::unix::fs::symlink(disk.path(), photos.at("disk")).unwrap();
    photos.apply(&photos.plan());
    drop(disk);
    let expected = UpdatePlan {
        unchanged: 1,
        ..UpdatePlan::default()
    };
    assert_eq!(photos.plan(), expected);
}

#[test]
fn unchanged_files_are_not_opened() {
    const PHOTOS: u64 = 5_000;
    let index = folder();
    let mut writer = Index::create(index.path(), &model()).unwrap();
    let mut rng = rng(4);
    let made: Vec<Made> = (0..PHOTOS)
        .map(|number| Made::new(Path::new(&format!("/nowhere/{number}.jpg")), &mut rng))
        .collect();
    add(&mut writer, &made).unwrap();
    let scan = Scan {
        roots: vec!["/nowhere".into()],
        files: made.into_iter().map(|made| made.photo.file).collect(),
        ..Scan::default()
    };
    let expected = UpdatePlan {
        unchanged: PHOTOS as usize,
        ..UpdatePlan::default()
    };
    assert_eq!(writer.index().plan(&scan).unwrap(), expected);
}
