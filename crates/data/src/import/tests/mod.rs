//! Tests of dumps: every format gives the same images, and each kind of damage is named.

mod folders;
#[cfg(feature = "hdf5")]
mod hdf5;
mod layouts;
mod tsv;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::store::{Column, Size};

const IMAGES: usize = 5;
const WIDTH: usize = 6;

/// Image n, with two to four regions.
fn image(n: usize) -> Entry {
    let regions = 2 + n % 3;
    let corners = |region: usize| [region as f32, 1.0, 50.0, (20 + n) as f32];
    Entry {
        id: format!("img_{n}"),
        size: Some(Size {
            height: 20 + n as u32,
            width: 50,
        }),
        boxes: Some((0..regions).map(corners).collect()),
        features: (0..regions * WIDTH)
            .map(|at| (n * 100 + at) as f32 / 4.0)
            .collect(),
        extras: BTreeMap::new(),
    }
}

/// The same image with the classes and attributes of LXMERT's dumps.
fn classified(n: usize) -> Entry {
    let regions = 2 + n % 3;
    let ids = |from: usize| Column::Integers((from..from + regions).map(|id| id as i64).collect());
    let confidences = Column::Reals(vec![0.5; regions]);
    let extras = [
        ("object_ids", ids(n)),
        ("object_confidences", confidences.clone()),
        ("attribute_ids", ids(n + 100)),
        ("attribute_confidences", confidences),
    ];
    Entry {
        extras: extras
            .map(|(name, column)| (name.to_owned(), column))
            .into(),
        ..image(n)
    }
}

fn destination(dir: &Path, layout: Layout) -> Destination<'_> {
    Destination {
        dir,
        split: "dev",
        element: Element::F32,
        layout,
    }
}

/// Imports into a new directory.
fn imported(format: Format, paths: &[PathBuf], layout: Layout) -> Result<TempDir> {
    let out = tempfile::tempdir().unwrap();
    let mut dump = open(format, paths, "dev")?;
    let to = destination(out.path(), layout);
    let mut last = (0, 1);
    let on_progress = &mut |done, total| last = (done, total);
    import(format, &mut *dump, &to, on_progress)?;
    assert_eq!(last.0, last.1, "all of the dump was read");
    Ok(out)
}

/// Reads back every image of a store.
fn entries(dir: &Path) -> Vec<Entry> {
    let store = FeatureStore::open(dir, "dev").unwrap();
    store.verify().unwrap();
    let entry = |(image, id): (usize, &str)| {
        let mut features = vec![0.0; store.count(image).unwrap() * store.width()];
        let bytes = store.feature_bytes(image).unwrap();
        store.element().convert(bytes, &mut features);
        let extras = store.manifest().extras().map(|name| {
            let column = store.extra(name, image).unwrap().unwrap();
            (name.to_owned(), column)
        });
        Entry {
            id: id.to_owned(),
            size: store.size(image).unwrap(),
            boxes: store.boxes(image).unwrap(),
            features,
            extras: extras.collect(),
        }
    };
    store.ids().enumerate().map(entry).collect()
}

#[track_caller]
fn assert_refused<T>(outcome: Result<T>, parts: &[&str]) {
    let message = outcome.err().unwrap().to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// The content of an npy file.
fn npy(write: impl FnOnce(&Path) -> Result<()>) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npy");
    write(&path).unwrap();
    fs::read(&path).unwrap()
}
