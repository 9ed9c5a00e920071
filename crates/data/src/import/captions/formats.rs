//! Reads the published formats of caption files into a list of images with their captions.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::{CaptionFormat, CaptionSource, Captioned};
use crate::captions::{read_lines, token_line};
use crate::dataset::stem;
use uard_files::{FileError, read_json};

use crate::import::ImportError;
use crate::{Error, Result};

/// Images by id, in the order of their first occurrence.
#[derive(Default)]
struct Images {
    images: Vec<Captioned>,
    indices: HashMap<String, usize>,
}

impl Images {
    /// The image of an id; a new one is added with these other names.
    fn entry(&mut self, id: &str, others: &[Option<String>]) -> &mut Captioned {
        let index = *self.indices.entry(id.to_owned()).or_insert_with(|| {
            let file = id.rsplit('/').next().unwrap_or(id);
            let own = [id, file, stem(id)].map(str::to_owned);
            self.images.push(Captioned {
                names: own
                    .into_iter()
                    .chain(others.iter().flatten().cloned())
                    .collect(),
                ..Captioned::default()
            });
            self.images.len() - 1
        });
        &mut self.images[index]
    }
}

/// All images of all files.
///
/// # Errors
/// A file of another format; captions without image names, and without a list that fits them.
pub(super) fn read(source: &CaptionSource<'_>, list: Option<&[String]>) -> Result<Vec<Captioned>> {
    let mut images = Images::default();
    for path in source.files {
        let format = match source.format {
            Some(format) => format,
            None => detect(path)?,
        };
        match format {
            CaptionFormat::Karpathy => karpathy(path, &mut images)?,
            CaptionFormat::Coco => coco(path, &mut images)?,
            CaptionFormat::Tokens => tokens(path, &mut images)?,
            CaptionFormat::Lines => lines(path, list, &mut images)?,
        }
    }
    Ok(images.images)
}

/// Recognises the format of a file from its content.
fn detect(path: &Path) -> Result<CaptionFormat> {
    let bytes = uard_files::read(path).map_err(Error::io(path, "read"))?;
    if let Some(other) = FileError::other_file(path, EXPECTED, &bytes) {
        return Err(other.into());
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    if text.trim_ascii_start().starts_with(b"{") {
        let Keys { annotations } = read_json(path, EXPECTED)?;
        return Ok(match annotations {
            Some(_) => CaptionFormat::Coco,
            None => CaptionFormat::Karpathy,
        });
    }
    let first = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    Ok(match token_line(&first) {
        Some(_) => CaptionFormat::Tokens,
        None => CaptionFormat::Lines,
    })
}

const EXPECTED: &str = "captions: Karpathy's dataset_*.json, COCO's captions_*.json, lines \
    NAME.jpg#k<TAB>caption, or captions alone, one a line";

/// The key by which COCO's files are recognised.
#[derive(Deserialize)]
struct Keys {
    annotations: Option<serde::de::IgnoredAny>,
}

/// An id, which is a number or a text.
#[derive(Deserialize, Clone, PartialEq, Eq, Hash)]
#[serde(untagged)]
enum Id {
    Number(u64),
    Text(String),
}

impl Id {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

#[derive(Deserialize)]
struct Karpathy {
    images: Vec<KarpathyImage>,
}

#[derive(Deserialize)]
struct KarpathyImage {
    filename: String,
    /// The folder of the photo, if photos are in several folders.
    filepath: Option<String>,
    split: Option<String>,
    cocoid: Option<Id>,
    sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    raw: Option<String>,
    sentid: Option<Id>,
    #[serde(default)]
    tokens: Vec<String>,
}

fn karpathy(path: &Path, images: &mut Images) -> Result<()> {
    let expected =
        "Karpathy's {\"images\": [{\"filename\", \"split\", \"sentences\": [{\"raw\"}]}]}";
    let file: Karpathy = read_json(path, expected)?;
    for image in file.images {
        let id = match image.filepath.filter(|folder| !folder.is_empty()) {
            Some(folder) => format!("{folder}/{}", image.filename),
            None => image.filename,
        };
        let number = image.cocoid.map(|id| id.text());
        let entry = images.entry(&id, std::slice::from_ref(&number));
        entry.split = image.split;
        entry.number = number;
        for sentence in image.sentences {
            let number = sentence.sentid.map(|id| id.text());
            let text = sentence.raw.unwrap_or_else(|| sentence.tokens.join(" "));
            entry.add(&text, number);
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Coco {
    images: Vec<CocoImage>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct CocoImage {
    id: Id,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    id: Option<Id>,
    image_id: Id,
    caption: String,
}

fn coco(path: &Path, images: &mut Images) -> Result<()> {
    let expected = "COCO's {\"images\": [{\"id\", \"file_name\"}], \"annotations\": [{\"image_id\", \"caption\"}]}, as captions_*.json have it";
    let file: Coco = read_json(path, expected)?;
    let mut names = HashMap::new();
    for image in file.images {
        let number = Some(image.id.text());
        let entry = images.entry(&image.file_name, std::slice::from_ref(&number));
        entry.number = number;
        names.insert(image.id, image.file_name);
    }
    for annotation in file.annotations {
        let Some(name) = names.get(&annotation.image_id) else {
            return Err(Error::Import(ImportError::UnknownImage {
                path: path.to_owned(),
                id: annotation.image_id.text(),
            }));
        };
        let number = annotation.id.map(|id| id.text());
        images.entry(name, &[]).add(&annotation.caption, number);
    }
    Ok(())
}

fn tokens(path: &Path, images: &mut Images) -> Result<()> {
    for (index, line) in read_lines(path)?.iter().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let Some((image, caption)) = token_line(line) else {
            return Err(Error::Import(ImportError::NoTokenLine {
                path: path.to_owned(),
                line: index + 1,
                found: line.chars().take(40).collect(),
            }));
        };
        images.entry(image, &[]).add(caption, None);
    }
    Ok(())
}

fn lines(path: &Path, list: Option<&[String]>, images: &mut Images) -> Result<()> {
    let Some(list) = list else {
        return Err(Error::Import(ImportError::NoImageList {
            path: path.to_owned(),
        }));
    };
    let captions = read_lines(path)?;
    if captions.len() != list.len() {
        return Err(Error::EntryCount {
            path: path.to_owned(),
            expected: format!(
                "{} captions, one for each line of the image list",
                list.len()
            ),
            found: captions.len(),
        });
    }
    for (image, caption) in list.iter().zip(&captions) {
        images.entry(image, &[]).add(caption, None);
    }
    Ok(())
}
