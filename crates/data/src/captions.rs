//! Reads the captions of a split, and the image of each caption.

use std::path::{Path, PathBuf};

use crate::store::features_path;
use uard_files::FileError;

use crate::{Error, Result};

/// Reads a captions file: UTF-8, one caption a line.
///
/// Lines end with LF or CRLF; the last may end without. A byte order mark is skipped. Captions are not
/// changed; [`tokenize`](crate::tokens::tokenize) lower-cases them.
///
/// # Errors
/// A missing file; bytes that are not UTF-8; an empty or blank line; no line at all; captions that
/// are printed bytes, `b'…'`, or have the names of images before them. The error names the line.
pub fn read_captions(path: &Path) -> Result<Vec<String>> {
    let captions = read_lines(path)?;
    for (index, caption) in captions.iter().enumerate() {
        let (path, line) = (path.to_owned(), index + 1);
        if caption.trim().is_empty() {
            return Err(Error::EmptyCaption { path, line });
        }
        let found = || caption.chars().take(24).collect();
        if is_printed_bytes(caption.trim()) {
            let found = found();
            return Err(Error::BytesCaption { path, line, found });
        }
        if token_line(caption).is_some() {
            let found = found();
            return Err(Error::TokenCaption { path, line, found });
        }
    }
    if captions.is_empty() {
        return Err(Error::NoCaptions {
            path: path.to_owned(),
        });
    }
    Ok(captions)
}

/// The image and the caption of a line `NAME.jpg#k<TAB>caption`, as Flickr8k and Flickr30k are
/// published.
pub(crate) fn token_line(line: &str) -> Option<(&str, &str)> {
    let (name, caption) = line.split_once('\t')?;
    let (image, number) = name.rsplit_once('#')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = !image.is_empty() && !image.contains(char::is_whitespace);
    (is_number && is_name).then_some((image, caption))
}

/// The lines of a UTF-8 file without their line ends.
///
/// # Errors
/// A missing file; bytes that are not UTF-8, with their line.
pub fn read_lines(path: &Path) -> Result<Vec<String>> {
    let bytes = uard_files::read(path).map_err(Error::io(path, "read"))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| FileError::NotUtf8 {
        path: path.to_owned(),
        line: 1 + count_newlines(&bytes[..error.valid_up_to()]),
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Ok(text.lines().map(str::to_owned).collect())
}

fn count_newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

fn is_printed_bytes(caption: &str) -> bool {
    let inner = caption.strip_prefix('b');
    inner.is_some_and(|inner| {
        ['\'', '"']
            .iter()
            .any(|&quote| inner.len() > 1 && inner.starts_with(quote) && inner.ends_with(quote))
    })
}

/// The paths of a split's captions, features and map.
#[derive(Debug, Clone)]
pub struct CaptionFiles {
    /// `{split}_caps.txt`
    pub captions: PathBuf,
    /// `{split}_ims.npy`, or `{split}_store/` if only that exists
    pub images: PathBuf,
    /// `{split}_map.txt`, which may not exist
    pub map: PathBuf,
}

impl CaptionFiles {
    /// The files of a split of a data directory.
    pub fn in_directory(dir: &Path, split: &str) -> Self {
        Self {
            captions: dir.join(format!("{split}_caps.txt")),
            images: features_path(dir, split)
                .unwrap_or_else(|| dir.join(format!("{split}_ims.npy"))),
            map: dir.join(format!("{split}_map.txt")),
        }
    }
}

/// The image of each caption if every image has k captions, in the order of the images.
///
/// ```text
/// image(c) = floor(c / k),  k = captions / images
/// ```
///
/// # Errors
/// `captions` is no multiple of `images`.
pub fn captions_in_order(
    captions: usize,
    images: usize,
    files: &CaptionFiles,
) -> Result<Vec<usize>> {
    if images == 0 || captions == 0 || !captions.is_multiple_of(images) {
        return Err(Error::CaptionCount {
            captions_path: files.captions.clone(),
            captions,
            images_path: files.images.clone(),
            images,
            map_path: files.map.clone(),
        });
    }
    let per_image = captions / images;
    Ok((0..captions).map(|caption| caption / per_image).collect())
}

/// Reads the image of each caption from a map: an image index from 0 on each line.
///
/// An image may have any number of captions, also none, in any order.
///
/// # Errors
/// A line that is no index below `images`; another number of lines than captions.
pub fn read_map(path: &Path, captions: usize, images: usize) -> Result<Vec<usize>> {
    let lines = read_lines(path)?;
    if lines.len() != captions {
        return Err(Error::EntryCount {
            path: path.to_owned(),
            expected: format!("{captions} lines, an image index for each caption"),
            found: lines.len(),
        });
    }
    let indices = lines.iter().enumerate().map(|(index, line)| {
        let image = line.trim().parse().ok();
        image
            .filter(|&image: &usize| image < images)
            .ok_or_else(|| Error::MapLine {
                path: path.to_owned(),
                line: index + 1,
                images,
                found: line.clone(),
            })
    });
    indices.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dev_caps.txt");
        std::fs::write(&path, bytes).unwrap();
        read_captions(&path)
    }

    fn refusal(bytes: &[u8]) -> String {
        read(bytes).unwrap_err().to_string()
    }

    #[track_caller]
    fn assert_says(message: &str, parts: &[&str]) {
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }

    #[test]
    fn line_ends_and_byte_order_mark_do_not_change_captions() {
        let expected = ["Two red kites .", "A grey owl ."];
        for text in [
            "Two red kites .\nA grey owl .",
            "Two red kites .\nA grey owl .\n",
            "Two red kites .\r\nA grey owl .\r\n",
            "\u{feff}Two red kites .\nA grey owl .\n",
        ] {
            assert_eq!(read(text.as_bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn empty_caption_is_refused_with_its_line() {
        for text in ["one\n\nthree\n", "one\n \t\nthree", "one\r\n\r\n"] {
            assert_says(
                &refusal(text.as_bytes()),
                &["dev_caps.txt line 2: empty caption"],
            );
        }
        assert_says(&refusal(b""), &["dev_caps.txt: no captions"]);
    }

    #[test]
    fn printed_bytes_are_refused_with_the_reason() {
        for line in ["b'a dog runs .'", "b\"a dog's ball\"", "b'' "] {
            let message = refusal(format!("a cat\n{line}\n").as_bytes());
            assert_says(
                &message,
                &[
                    "dev_caps.txt line 2: ",
                    "Python 3",
                    "halves accuracy",
                    "decode('utf-8')",
                ],
            );
        }
    }

    #[test]
    fn words_that_begin_with_b_are_captions() {
        assert_eq!(read(b"b 'quoted' letter\nb'\nbig dog\n").unwrap().len(), 3);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused_with_their_line() {
        let message = refusal(b"one\ntwo\ncaf\xe9\n");
        assert_says(&message, &["dev_caps.txt line 3: not UTF-8"]);
    }

    #[test]
    fn captions_in_order_accept_any_number_of_captions_an_image() {
        let files = CaptionFiles::in_directory(Path::new("data"), "dev");
        for per_image in 1..8 {
            let images = captions_in_order(3 * per_image, 3, &files).unwrap();
            for image in 0..3 {
                assert_eq!(images.iter().filter(|&&i| i == image).count(), per_image);
            }
            assert!(images.is_sorted());
        }
    }

    #[test]
    fn a_number_of_captions_that_is_no_multiple_names_both_files_and_the_map() {
        let files = CaptionFiles::in_directory(Path::new("data"), "dev");
        for (captions, images) in [(4998, 1000), (3, 4)] {
            let message = captions_in_order(captions, images, &files)
                .unwrap_err()
                .to_string();
            assert_says(
                &message,
                &[
                    &format!("dev_caps.txt has {captions} captions"),
                    &format!("dev_ims.npy has {images} images"),
                    "dev_map.txt",
                ],
            );
        }
    }

    #[test]
    fn map_gives_each_caption_its_image() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dev_map.txt");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_map(&path, 3, 4).map_err(|error| error.to_string())
        };
        assert_eq!(read("3\r\n0\r\n3\r\n").unwrap(), [3, 0, 3]);
        assert_says(
            &read("0\n4\n1").unwrap_err(),
            &["dev_map.txt line 2: expected an image index from 0 to 3, found `4`"],
        );
        assert_says(&read("0\n1\nx").unwrap_err(), &["line 3", "found `x`"]);
        assert_says(
            &read("0\n1").unwrap_err(),
            &["dev_map.txt: expected 3 lines", "found 2"],
        );
    }
}
