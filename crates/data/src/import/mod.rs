//! Region features and captions that others published, on their way into a data directory.
//!
//! A [`Dump`] is read image by image, whatever its format, and written to a feature store, which
//! checks every image and can be continued. The padded array of SCAN, where it is asked for, is
//! made from the finished store: only then N and R are known.

mod captions;
mod cocobu;
mod error;
mod folder;
#[cfg(feature = "hdf5")]
mod hdf5;
mod npz;
mod scan;
mod tsv;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use uard_files::FileError;

use crate::captions::read_lines;
use crate::store::{
    Element, Entry, FeatureStore, Manifest, Provenance, Source, StoreWriter, features_path,
    write_padded,
};
use crate::{Error, Result};
pub use captions::{CaptionFormat, CaptionSource, WrittenCaptions, import_captions};
pub use error::{ImportError, Place, Problem};

/// What a published dump looks like on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Bottom-up attention by peteanderson80: a line an image, of 6 columns.
    ButdTsv,
    /// The same with classes, as LXMERT has it: 10 columns, height before width.
    LxmertTsv,
    /// MILVLG: an npz file an image, with `x`, `bbox`, `num_bbox`, `image_h`, `image_w`.
    Npz,
    /// One file with `image_features` and `image_bb`.
    Hdf5,
    /// `cocobu_att/{id}.npz` and, where they are there, `cocobu_box/{id}.npy`.
    Cocobu,
    /// SCAN's directory: `{split}_ims.npy` and what stands beside it.
    Scan,
}

impl Format {
    /// Its name on the command line and in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::ButdTsv => "butd-tsv",
            Self::LxmertTsv => "lxmert-tsv",
            Self::Npz => "npz",
            Self::Hdf5 => "hdf5",
            Self::Cocobu => "cocobu",
            Self::Scan => "scan",
        }
    }
}

/// Region features of images, one after the other; little more than one is in memory.
pub trait Dump {
    /// The next image, or `None` at the end.
    ///
    /// # Errors
    /// The image cannot be read; the error says where it stands and why.
    fn next_image(&mut self) -> Result<Option<Found>>;

    /// The files, for the manifest.
    fn sources(&self) -> Vec<Source>;

    /// How much of how much is read, in bytes or images.
    fn progress(&self) -> (u64, u64);
}

/// An image of a dump.
#[derive(Debug)]
pub struct Found {
    /// Where it stands.
    pub place: Place,
    /// How many regions the dump says it has.
    pub regions: usize,
    /// What is known of it.
    pub entry: Entry,
}

/// Opens a dump: files for TSV and HDF5, files or folders for npz, one folder for the others.
/// Several are read one after the other, as one list of images.
///
/// `split` is the split of a SCAN directory; the other formats have none.
///
/// # Errors
/// A file or folder that is not there; another number of them; HDF5 in a program without it.
pub fn open(format: Format, paths: &[PathBuf], split: &str) -> Result<Box<dyn Dump>> {
    Ok(match format {
        Format::ButdTsv => Box::new(tsv::TsvDump::open(&tsv::BUTD, paths)?),
        Format::LxmertTsv => Box::new(tsv::TsvDump::open(&tsv::LXMERT, paths)?),
        Format::Npz => Box::new(npz::NpzDump::open(paths)?),
        #[cfg(feature = "hdf5")]
        Format::Hdf5 => Box::new(hdf5::Hdf5Dump::open(paths)?),
        #[cfg(not(feature = "hdf5"))]
        Format::Hdf5 => return Err(Error::Import(ImportError::Hdf5NotBuilt)),
        Format::Cocobu => {
            let dir = only("cocobu", "one directory", paths)?;
            Box::new(cocobu::CocobuDump::open(dir)?)
        }
        Format::Scan => {
            let dir = only("scan", "one directory", paths)?;
            Box::new(scan::ScanDump::open(dir, split)?)
        }
    })
}

fn only<'a>(
    format: &'static str,
    expected: &'static str,
    paths: &'a [PathBuf],
) -> Result<&'a Path> {
    match paths {
        [path] => Ok(path),
        _ => Err(Error::Import(ImportError::Inputs {
            format,
            expected,
            found: paths.len(),
        })),
    }
}

/// How imported features lie on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A feature store.
    Store,
    /// SCAN's padded array, with counts, ids and boxes beside it.
    Scan,
}

/// Where imported features go, and in what form.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// The data directory; made where it is not there.
    pub dir: &'a Path,
    /// `train`, `dev`, `test`, …
    pub split: &'a str,
    /// The type of the features.
    pub element: Element,
    /// Store or array.
    pub layout: Layout,
}

/// What was imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Images with features.
    pub images: usize,
    /// Whether the place of each region came along.
    pub has_boxes: bool,
}

/// Brings a dump into a data directory, or goes on with it where it was stopped.
///
/// `on_progress` hears after each image how much of how much was read. An array needs the room of
/// the features twice while it is made: they go into a store first, in a hidden folder.
///
/// # Errors
/// Those of the dump; [`ImportError::Refused`] for an image that no store takes, with its place;
/// a destination that has such features; another dump than the one an unfinished import was begun
/// with; the system refuses.
pub fn import(
    (format, dump): (Format, &mut dyn Dump),
    to: &Destination,
    on_progress: &mut dyn FnMut(u64, u64),
) -> Result<Imported> {
    let unfinished = to.dir.join(".unfinished-import");
    let taken = features_path(to.dir, to.split);
    let (store_dir, taken) = match to.layout {
        // A store that was begun is continued; an array would hide it.
        Layout::Store => (to.dir, taken.filter(|path| path.is_file())),
        Layout::Scan => (unfinished.as_path(), taken),
    };
    let ids = to.dir.join(format!("{}_ids.txt", to.split));
    // Those of captions that came first; an import that was stopped has its own.
    let has_ids = to.layout == Layout::Scan && ids.exists() && !unfinished.exists();
    if let Some(path) = taken.or(has_ids.then_some(ids)) {
        return Err(Error::Import(ImportError::Taken { path }));
    }
    let imported = into_store((format, dump), to, store_dir, on_progress)?;
    if to.layout == Layout::Scan {
        let store = FeatureStore::open(store_dir, to.split)?;
        write_padded(&store, to.dir, to.split)?;
        drop(store);
        fs::remove_dir_all(store_dir).map_err(Error::io(store_dir, "remove"))?;
    }
    Ok(imported)
}

fn into_store(
    (format, dump): (Format, &mut dyn Dump),
    to: &Destination,
    dir: &Path,
    on_progress: &mut dyn FnMut(u64, u64),
) -> Result<Imported> {
    let sources = dump.sources();
    let Some(first) = dump.next_image()? else {
        let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        return Err(Error::Import(ImportError::Nothing {
            path: names.join(", ").into(),
            expected: "at least one image",
        }));
    };
    let provenance = Provenance::Imported {
        format: format.name().to_owned(),
        sources,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let width = first.entry.features.len() / first.regions.max(1);
    let mut manifest = Manifest::new(width, to.element, first.regions, provenance);
    manifest.columns = first.entry.columns();
    let has_boxes = first.entry.boxes.is_some();
    let (mut writer, _) = StoreWriter::create_or_continue(dir, to.split, &manifest)?;
    let mut next = Some(first);
    while let Some(Found { place, entry, .. }) = next {
        if !writer.already_has(&entry.id)? {
            writer.add(entry).map_err(|error| match error {
                Error::Store(source) => Error::Import(ImportError::Refused {
                    place,
                    source: Box::new(source),
                }),
                other => other,
            })?;
        }
        next = dump.next_image()?;
        let (done, total) = dump.progress();
        on_progress(done, total);
    }
    let images = writer.finish()?.images;
    Ok(Imported { images, has_boxes })
}

/// The file name of a path, for the manifest: a store may move, and so may its dump.
fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// As much tells what a file is.
const FIRST_BYTES: u64 = 512;

/// The error of a file that does not begin as files of its kind do, where its first bytes say what it
/// is.
fn other_file(path: &Path, expected: &'static str, beginning: &[u8]) -> Result<Option<Error>> {
    let file = uard_files::open(path).map_err(Error::io(path, "open"))?;
    let mut first = Vec::new();
    let read = file.take(FIRST_BYTES).read_to_end(&mut first);
    read.map_err(Error::io(path, "read"))?;
    if first.starts_with(beginning) {
        return Ok(None);
    }
    Ok(FileError::other_file(path, expected, &first).map(Error::from))
}

/// A line for each image, or the index of each where there is no file.
fn ids(path: &Path, images: usize) -> Result<Vec<String>> {
    if !path.exists() {
        return Ok((0..images).map(|image| image.to_string()).collect());
    }
    let lines = read_lines(path)?;
    if lines.len() != images {
        return Err(Error::EntryCount {
            path: path.to_owned(),
            expected: format!("{images} ids, one a line for each stored image"),
            found: lines.len(),
        });
    }
    Ok(lines.iter().map(|line| line.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests;
