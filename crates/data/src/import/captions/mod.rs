//! Imports published captions into the splits of a data directory.

mod formats;
mod writing;

use std::path::{Path, PathBuf};

use super::error::ImportError;
use crate::captions::read_lines;
use crate::{Error, Result};
pub use writing::WrittenCaptions;

/// The formats of published captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum CaptionFormat {
    /// dataset_*.json: images, each with its split and sentences.
    Karpathy,
    /// captions_*.json: images, and annotations with their captions.
    Coco,
    /// Lines of NAME.jpg#k, a tab and the caption.
    Tokens,
    /// One caption a line, for the image of the same line of --image-list.
    Lines,
}

/// The caption files of an import, and the list of their images.
#[derive(Debug, Clone, Copy)]
pub struct CaptionSource<'a> {
    /// The files, which are read as one list.
    pub files: &'a [PathBuf],
    /// The format; if `None`, it is recognised from the content of each file.
    pub format: Option<CaptionFormat>,
    /// The images to take, one name a line, in this order. In the format [`CaptionFormat::Lines`], line n
    /// of each caption file belongs to the image of line n.
    pub image_list: Option<&'a Path>,
}

/// An image with its captions.
#[derive(Debug, Clone, Default, PartialEq)]
struct Captioned {
    /// The image's names: the first is its id, the others may be its ids among the features.
    names: Vec<String>,
    /// The image's split, if the file names one.
    split: Option<String>,
    /// The image's number in COCO.
    number: Option<String>,
    captions: Vec<Caption>,
    /// The number of empty captions, which are left out.
    empty: usize,
}

/// A caption, and its number in COCO.
#[derive(Debug, Clone, PartialEq)]
struct Caption {
    text: String,
    number: Option<String>,
}

impl Captioned {
    fn id(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// Adds a caption, with spaces in place of control characters such as line ends.
    fn add(&mut self, caption: &str, number: Option<String>) {
        let spaced = |c: char| if c.is_control() { ' ' } else { c };
        let caption: String = caption.chars().map(spaced).collect();
        match caption.trim() {
            "" => self.empty += 1,
            caption => self.captions.push(Caption {
                text: caption.to_owned(),
                number,
            }),
        }
    }
}

/// Imports captions into a data directory. Writes `{split}_caps.txt`, and
///
/// - if the directory has features of the split: the captions in the order of the features, which are
///   matched by id, and `{split}_map.txt` unless all images have the same number of captions;
/// - if it has none: `{split}_ids.txt`, the captions in the order of their file, and the map if needed;
/// - `{split}_caption_ids.txt`, if the file has COCO's numbers: those of image and caption on each line;
/// - `{split}_unmatched.tsv`, if images have no features, or features no captions.
///
/// Files of Karpathy name splits: `restval` is added to `train`, `val` becomes `dev`. With `split`,
/// only that split is written. Other files, and the images of an image list, are one split:
/// `split`, or `train`.
///
/// # Errors
/// A file of another format; an image list that names images twice, or does not fit the captions; a split
/// that is not in the file, or already has captions; features without ids, or of which none has captions.
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
