//! Imports published region features and captions into a data directory.
//!
//! A [`Dump`] of any format is read image by image and written to a feature store, which checks
//! every image and can be continued. The padded array of [`Layout::Scan`] is written from the
//! finished store, because the numbers of images and regions are not known before.

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
pub use error::{ImageLocation, ImportError, Problem};

/// The formats of published feature dumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Format {
    /// Bottom-up attention: image_id, image_w, image_h, num_boxes, boxes, features.
    ButdTsv,
    /// LXMERT: img_id, img_h, img_w, classes and attributes, num_boxes, boxes, features.
    LxmertTsv,
    /// MILVLG: a file for each image, with x (or feat, features) and optionally bbox, num_bbox,
    /// image_h, image_w.
    Npz,
    /// One file with image_features and optionally image_bb.
    Hdf5,
    /// cocobu_att/{id}.npz and optionally cocobu_box/{id}.npy.
    Cocobu,
    /// {split}_ims.npy, optionally with counts, ids and boxes.
    Scan,
}

impl Format {
    /// The format's name on the command line and in manifests.
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

/// A source of images with region features, of which one at a time is held in memory.
pub trait Dump {
    /// The next image, or `None` at the end.
    ///
    /// # Errors
    /// The image cannot be read; the error names its location and the reason.
    fn next_image(&mut self) -> Result<Option<DumpImage>>;

    /// The files of the dump, for the manifest.
    fn sources(&self) -> Vec<Source>;

    /// The amount that was read and the total, in bytes or images.
    fn progress(&self) -> (u64, u64);
}

/// An image of a dump.
#[derive(Debug)]
pub struct DumpImage {
    /// The image's location in the dump, for errors.
    pub location: ImageLocation,
    /// The image's number of regions.
    pub regions: usize,
    /// The image's id, features, boxes and extras.
    pub entry: Entry,
}

/// A dump whose images are read by their indices.
struct Indexed<F> {
    sources: Vec<Source>,
    images: usize,
    next: usize,
    read: F,
}

impl<F: Fn(usize) -> Result<DumpImage>> Dump for Indexed<F> {
    fn next_image(&mut self) -> Result<Option<DumpImage>> {
        let image = self.next;
        if image == self.images {
            return Ok(None);
        }
        self.next += 1;
        (self.read)(image).map(Some)
    }

    fn sources(&self) -> Vec<Source> {
        self.sources.clone()
    }

    fn progress(&self) -> (u64, u64) {
        (self.next as u64, self.images as u64)
    }
}

/// Opens a dump: files for TSV and HDF5, files or folders for npz, one folder for the others.
/// Several are read one after the other, as one list of images.
///
/// `split` is the split of a SCAN directory; the other formats have none.
///
/// # Errors
/// A missing file or folder; a wrong number of them; HDF5 in a build without it.
pub fn open(format: Format, paths: &[PathBuf], split: &str) -> Result<Box<dyn Dump>> {
    Ok(match format {
        Format::ButdTsv => Box::new(tsv::TsvDump::open(&tsv::BUTD, paths)?),
        Format::LxmertTsv => Box::new(tsv::TsvDump::open(&tsv::LXMERT, paths)?),
        Format::Npz => npz::open(paths)?,
        #[cfg(feature = "hdf5")]
        Format::Hdf5 => hdf5::Hdf5Dump::open(paths)?.into_dump(),
        #[cfg(not(feature = "hdf5"))]
        Format::Hdf5 => return Err(Error::Import(ImportError::Hdf5NotBuilt)),
        Format::Cocobu => cocobu::open(only("cocobu", "one directory", paths)?)?,
        Format::Scan => scan::open(only("scan", "one directory", paths)?, split)?,
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

/// The files that features are written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Layout {
    /// {split}_store/
    #[default]
    Store,
    /// {split}_ims.npy, {split}_ids.txt, {split}_boxes.npy, {split}_counts.npy
    Scan,
}

/// The destination of imported features, and their layout and number type.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// The data directory; created if it does not exist.
    pub dir: &'a Path,
    /// `train`, `dev`, `test`, …
    pub split: &'a str,
    /// The number type of the features.
    pub element: Element,
    /// Feature store or padded array.
    pub layout: Layout,
}

/// The result of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Images with features.
    pub images: usize,
    /// Whether the dump has the boxes of regions.
    pub has_boxes: bool,
}

/// Imports a dump into a data directory, or continues an import that was stopped.
///
/// Calls `on_progress` after each image with the amount that was read and the total. A padded array needs
/// twice the disk space of the features, because they are first written to a store in a hidden folder.
///
/// # Errors
/// Those of the dump; [`ImportError::Refused`] for an image that cannot be stored, with its location; a
/// destination that already has features of the split; another dump than that of an unfinished import;
/// files that cannot be written.
pub fn import(
    format: Format,
    dump: &mut dyn Dump,
    to: &Destination,
    on_progress: &mut dyn FnMut(u64, u64),
) -> Result<Imported> {
    let unfinished = to.dir.join(".unfinished-import");
    let taken = features_path(to.dir, to.split);
    let (store_dir, taken) = match to.layout {
        // A store that was begun is continued. An array is refused: it would be read instead of the store.
        Layout::Store => (to.dir, taken.filter(|path| path.is_file())),
        Layout::Scan => (unfinished.as_path(), taken),
    };
    let ids = to.dir.join(format!("{}_ids.txt", to.split));
    // Ids that were written with captions must not be overwritten; an import that was stopped may have
    // written its own.
    let has_ids = to.layout == Layout::Scan && ids.exists() && !unfinished.exists();
    if let Some(path) = taken.or(has_ids.then_some(ids)) {
        return Err(Error::Import(ImportError::Taken { path }));
    }
    let destination = Destination {
        dir: store_dir,
        ..*to
    };
    let imported = into_store(format, dump, &destination, on_progress)?;
    if to.layout == Layout::Scan {
        let store = FeatureStore::open(store_dir, to.split)?;
        write_padded(&store, to.dir, to.split)?;
        drop(store);
        fs::remove_dir_all(store_dir).map_err(Error::io(store_dir, "remove"))?;
    }
    Ok(imported)
}

/// Writes the images of a dump to the feature store of `to.split` in `to.dir`.
fn into_store(
    format: Format,
    dump: &mut dyn Dump,
    to: &Destination,
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
    let (mut writer, _) = StoreWriter::create_or_continue(to.dir, to.split, &manifest)?;
    let mut next = Some(first);
    while let Some(DumpImage {
        location, entry, ..
    }) = next
    {
        if !writer.already_has(&entry.id)? {
            writer.add(entry).map_err(|error| match error {
                Error::Store(source) => Error::Import(ImportError::Refused {
                    location,
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

/// The file name of a path, for the manifest. Folders are left out, because a dump may be moved.
fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// The number of bytes from which the kind of a file is recognised.
const FIRST_BYTES: u64 = 512;

/// The error of a file that does not begin with `beginning` and is recognised as a file of another kind.
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

/// Reads the ids of images from the lines of a file; without the file the index of each image.
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
