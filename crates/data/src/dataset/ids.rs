//! Reads the ids of a split's images. Checks them against the image of each caption, against each other
//! (no two images share one), and against the ids in the feature store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::captions::read_lines;
use crate::store::RegionStore;
use crate::{Error, Result};

/// Reads one id for each image from a file with a line for each image, each stored row, or each caption.
///
/// # Errors
/// Another number of lines; captions of one image with different ids, unless no id occurs twice, because
/// such ids name captions; two images of one id.
pub(super) fn read_ids(
    path: &Path,
    regions: &RegionStore,
    image_of_caption: &[usize],
) -> Result<Vec<String>> {
    let lines = read_lines(path)?;
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    let (images, rows, captions) = (regions.images(), regions.rows(), image_of_caption.len());
    let ids: Vec<&str> = if lines.len() == images {
        lines
    } else if lines.len() == rows {
        (0..images)
            .map(|image| lines[regions.row_of(image)])
            .collect()
    } else if lines.len() == captions {
        ids_from_captions(path, &lines, image_of_caption, images)?
    } else {
        return Err(Error::EntryCount {
            path: path.to_owned(),
            expected: format!(
                "{images} ids, one a line for each image, or {captions}, one for each caption"
            ),
            found: lines.len(),
        });
    };
    check_different(path, &ids)?;
    Ok(ids.into_iter().map(str::to_owned).collect())
}

/// Refuses ids that differ from those of the feature store. Folders and file extensions are not compared.
pub(super) fn expect_stored(path: &Path, ids: &[String], stored: &[String]) -> Result<()> {
    let pairs = ids.iter().zip(stored).enumerate();
    for (image, (found, expected)) in pairs {
        if stem(found) != stem(expected) {
            return Err(Error::IdOfStore {
                path: path.to_owned(),
                image,
                expected: expected.clone(),
                found: found.clone(),
            });
        }
    }
    Ok(())
}

/// The name of an image without its folder and file extension.
pub(crate) fn stem(id: &str) -> &str {
    let name = id.rsplit(['/', '\\']).next().unwrap_or(id);
    match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && is_picture(ending) => stem,
        _ => name,
    }
}

fn is_picture(ending: &str) -> bool {
    let known = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "npy", "npz"];
    known.iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// The id of each image from the ids of its captions.
fn ids_from_captions<'a>(
    path: &Path,
    lines: &[&'a str],
    image_of_caption: &[usize],
    images: usize,
) -> Result<Vec<&'a str>> {
    let mut first: Vec<Option<usize>> = vec![None; images];
    for (caption, &image) in image_of_caption.iter().enumerate() {
        first[image].get_or_insert(caption);
    }
    let mut all: Vec<&str> = lines.to_vec();
    all.sort_unstable();
    let all_differ = all.windows(2).all(|pair| pair[0] != pair[1]);
    let contradiction = image_of_caption
        .iter()
        .enumerate()
        .find(|&(caption, &image)| {
            first[image].is_some_and(|first| lines[first] != lines[caption])
        });
    match contradiction {
        Some((caption, &image)) if !all_differ => Err(Error::IdsContradict {
            path: path.to_owned(),
            image,
            lines: [first[image].unwrap_or_default() + 1, caption + 1],
            ids: Box::new([
                first[image].map_or("", |first| lines[first]).to_owned(),
                lines[caption].to_owned(),
            ]),
            map: map_beside(path),
        }),
        // An image without captions has no line, and gets an empty id.
        _ => Ok(first
            .into_iter()
            .map(|first| first.map_or("", |first| lines[first]))
            .collect()),
    }
}

/// `{split}_map.txt` beside `{split}_ids.txt`.
fn map_beside(ids: &Path) -> PathBuf {
    let name = ids.file_name().unwrap_or_default().to_string_lossy();
    ids.with_file_name(name.replace("_ids.txt", "_map.txt"))
}

fn check_different(path: &Path, ids: &[&str]) -> Result<()> {
    let mut images = HashMap::with_capacity(ids.len());
    for (image, &id) in ids.iter().enumerate().filter(|(_, id)| !id.is_empty()) {
        if let Some(first) = images.insert(id, image) {
            return Err(Error::RepeatedImage {
                path: path.to_owned(),
                id: id.to_owned(),
                images: [first, image],
            });
        }
    }
    Ok(())
}
