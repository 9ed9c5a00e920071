//! Captions as they are published, on their way into the splits of a data directory.

mod formats;
mod writing;

use std::path::{Path, PathBuf};

use super::error::ImportError;
use crate::captions::read_lines;
use crate::{Error, Result};
pub use writing::WrittenCaptions;

/// What files of captions look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptionFormat {
    /// `dataset_flickr30k.json`, `dataset_coco.json` of Karpathy: images with their split and
    /// sentences.
    Karpathy,
    /// `captions_train2014.json`: images, and annotations with the id of their image.
    Coco,
    /// `Flickr8k.token.txt`, `results_20130124.token`: `NAME.jpg#k<TAB>caption` a line.
    Tokens,
    /// Multi30k: captions alone, one a line, beside a list of images.
    Lines,
}

/// Captions, and what they are about.
#[derive(Debug, Clone, Copy)]
pub struct CaptionSource<'a> {
    /// The files; several are one list.
    pub files: &'a [PathBuf],
    /// How they are written; told by their content where it is not said.
    pub format: Option<CaptionFormat>,
    /// The images to take, a name a line, in the order that they shall have. Captions alone are
    /// about the images of the same lines.
    pub image_list: Option<&'a Path>,
}

/// An image with its captions.
#[derive(Debug, Clone, Default, PartialEq)]
struct Captioned {
    /// What it is called; the first is its id, the others are what features may call it.
    names: Vec<String>,
    /// The split that its file puts it into.
    split: Option<String>,
    captions: Vec<String>,
    /// Captions that were empty, and left out.
    empty: usize,
}

impl Captioned {
    fn id(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// Takes a caption in one line.
    fn add(&mut self, caption: &str) {
        let spaced = |c: char| if c.is_control() { ' ' } else { c };
        let caption: String = caption.chars().map(spaced).collect();
        match caption.trim() {
            "" => self.empty += 1,
            caption => self.captions.push(caption.to_owned()),
        }
    }
}

/// Brings captions into a data directory: `{split}_caps.txt`, and beside it
///
/// - where the split has features there: `{split}_map.txt`, unless every image has as many captions,
///   in the order of the features, which are found by their ids;
/// - where it has none: `{split}_ids.txt` and, where it is needed, the map, in the order of the
///   captions, as a folder of photographs has them;
/// - `{split}_unmatched.tsv`, where images have no features, or features no captions.
///
/// Files of Karpathy have splits: `restval` joins `train`, `val` is `dev`. With `split`, that one
/// alone is written. Other files are one split, `train` unless it is named, and so is what an image
/// list takes of any file.
///
/// # Errors
/// A file of another form; an image list that names images twice, or does not fit bare captions; a
/// split that is not in the file, or has captions already; features without ids, or of which none
/// has captions.
pub fn import_captions(
    source: &CaptionSource<'_>,
    dir: &Path,
    split: Option<&str>,
) -> Result<Vec<WrittenCaptions>> {
    let list = source.image_list.map(read_list).transpose()?;
    let mut images = formats::read(source, list.as_deref())?;
    if let (Some(path), Some(list)) = (source.image_list, &list) {
        images = writing::listed(path, list, &images)?;
    }
    let splits = writing::splits(source, images, split)?;
    std::fs::create_dir_all(dir).map_err(Error::io(dir, "create"))?;
    for name in splits.keys() {
        writing::expect_free(dir, name)?;
    }
    let written = splits
        .iter()
        .map(|(name, images)| writing::write(dir, name, images));
    written.collect()
}

fn read_list(path: &Path) -> Result<Vec<String>> {
    let lines = read_lines(path)?;
    let names = lines.iter().map(|line| line.trim());
    let names = names.filter(|name| !name.is_empty()).map(str::to_owned);
    let names: Vec<String> = names.collect();
    match names.is_empty() {
        true => Err(Error::Import(ImportError::Nothing {
            path: path.to_owned(),
            expected: "the name of an image a line",
        })),
        false => Ok(names),
    }
}

#[cfg(test)]
mod tests;
