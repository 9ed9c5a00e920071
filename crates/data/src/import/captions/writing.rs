//! Writes the captions of a split in the order of its features, which are matched by the names of images.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::{Caption, CaptionSource, Captioned};
use crate::captions::CaptionFiles;
use crate::dataset::stem;
use crate::import::{ImportError, ids};
use crate::store::{RegionStore, features_path};
use crate::{Error, Result};

/// The result of importing the captions of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenCaptions {
    /// `train`, `dev`, `test`, …
    pub split: String,
    /// The number of images with captions.
    pub images: usize,
    /// The number of captions.
    pub captions: usize,
    /// Whether the directory has features of the split.
    pub has_features: bool,
    /// The number of images whose captions were left out, because no features have their name.
    pub without_features: usize,
    /// The number of features, or entries of an image list, without captions.
    pub without_captions: usize,
    /// The number of images of which an empty caption was left out.
    pub with_empty_captions: usize,
    /// The file that lists the images and features of the three numbers above, with the reasons;
    /// `None` if all are zero.
    pub unmatched: Option<PathBuf>,
}

/// The images of a list, in its order, including those without captions, which are reported.
pub(super) fn listed(path: &Path, list: &[String], images: &[Captioned]) -> Result<Vec<Captioned>> {
    let names = Names::new(images);
    let mut taken: Vec<Option<usize>> = vec![None; images.len()];
    let mut chosen = Vec::new();
    for (line, name) in list.iter().enumerate() {
        match names.find(name) {
            // A list for captions without names has a line for each caption, so a name may repeat.
            Some(image) if taken[image].is_some_and(|first| list[first] == *name) => {}
            Some(image) => {
                if let Some(first) = taken[image].replace(line) {
                    return Err(Error::RepeatedImage {
                        path: path.to_owned(),
                        id: name.clone(),
                        images: [first, line],
                    });
                }
                chosen.push(images[image].clone());
            }
            None => chosen.push(Captioned {
                names: vec![name.clone()],
                ..Captioned::default()
            }),
        }
    }
    for image in &mut chosen {
        image.split = None;
    }
    Ok(chosen)
}

/// The images of each split to be written.
pub(super) fn splits(
    source: &CaptionSource<'_>,
    images: Vec<Captioned>,
    split: Option<&str>,
) -> Result<BTreeMap<String, Vec<Captioned>>> {
    let mut splits: BTreeMap<String, Vec<Captioned>> = BTreeMap::new();
    for image in images {
        let name = match image.split.as_deref() {
            Some("restval") => "train",
            Some("val") => "dev",
            Some(name) => name,
            None => split.unwrap_or("train"),
        };
        splits.entry(name.to_owned()).or_default().push(image);
    }
    let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    if let Some(name) = splits.keys().find(|name| !name.chars().all(is_plain)) {
        return Err(Error::Import(ImportError::SplitName {
            found: name.clone(),
        }));
    }
    if let Some(wanted) = split {
        let found: Vec<String> = splits.keys().cloned().collect();
        splits.retain(|name, _| name == wanted);
        if splits.is_empty() {
            return Err(Error::Import(ImportError::NoSuchSplit {
                path: source.files.first().cloned().unwrap_or_default(),
                split: wanted.to_owned(),
                found: found.join(", "),
            }));
        }
    }
    Ok(splits)
}

/// Refuses a split that already has captions.
pub(super) fn expect_free(dir: &Path, split: &str) -> Result<()> {
    let files = CaptionFiles::in_directory(dir, split);
    match [files.captions, files.map]
        .into_iter()
        .find(|path| path.exists())
    {
        Some(path) => Err(Error::Import(ImportError::Taken { path })),
        None => Ok(()),
    }
}

/// Writes the files of a split.
pub(super) fn write(dir: &Path, split: &str, images: &[Captioned]) -> Result<WrittenCaptions> {
    let features = features_path(dir, split);
    let stored = match &features {
        Some(path) => Some(feature_ids(dir, split, path)?),
        None => None,
    };
    let order = match (&stored, &features) {
        (Some(ids), Some(path)) => order_by_features(ids, images, path)?,
        _ => Order::by_captions(images),
    };
    let files = CaptionFiles::in_directory(dir, split);
    let path = |ending: &str| dir.join(format!("{split}_{ending}"));
    if stored.is_none() {
        let ids = order.images.iter().flatten().map(|image| image.id());
        write_lines(&path("ids.txt"), ids)?;
    }
    if !order.is_even() {
        let map = order.images.iter().enumerate();
        let map = map.flat_map(|(index, image)| vec![index.to_string(); captions(*image).len()]);
        write_lines(&files.map, map)?;
    }
    let all = order.images.iter().flat_map(|image| captions(*image));
    write_lines(&files.captions, all.map(|caption| &caption.text))?;
    if let Some(numbers) = order.numbers() {
        write_lines(&path("caption_ids.txt"), numbers.iter())?;
    }
    let unmatched = path("unmatched.tsv");
    if !order.unmatched.is_empty() {
        let lines = order.unmatched.iter();
        write_lines(&unmatched, lines.map(|(id, why)| format!("{id}\t{why}")))?;
    }
    let count = |reason: &str| {
        order
            .unmatched
            .iter()
            .filter(|(_, why)| *why == reason)
            .count()
    };
    Ok(WrittenCaptions {
        split: split.to_owned(),
        images: order
            .images
            .iter()
            .filter(|image| !captions(**image).is_empty())
            .count(),
        captions: order
            .images
            .iter()
            .map(|image| captions(*image).len())
            .sum(),
        has_features: stored.is_some(),
        without_features: count(NO_FEATURES),
        without_captions: count(NO_CAPTIONS),
        with_empty_captions: count(EMPTY_CAPTION),
        unmatched: (!order.unmatched.is_empty()).then_some(unmatched),
    })
}

const NO_FEATURES: &str = "no features";
const NO_CAPTIONS: &str = "no captions";
const EMPTY_CAPTION: &str = "an empty caption was left out";

/// Images in the order in which their captions are written.
struct Order<'a> {
    /// The images; `None` for features without captions.
    images: Vec<Option<&'a Captioned>>,
    /// Unmatched ids with the reason.
    unmatched: Vec<(&'a str, &'static str)>,
}

impl<'a> Order<'a> {
    /// The order of the caption files.
    fn by_captions(images: &'a [Captioned]) -> Self {
        let (with, without): (Vec<_>, Vec<_>) =
            images.iter().partition(|image| !image.captions.is_empty());
        let mut unmatched: Vec<_> = without
            .iter()
            .map(|image| (image.id(), NO_CAPTIONS))
            .collect();
        unmatched.extend(empty_captions(images));
        Self {
            images: with.into_iter().map(Some).collect(),
            unmatched,
        }
    }

    /// COCO's numbers of image and caption for each caption; `None` unless all have them.
    fn numbers(&self) -> Option<Vec<String>> {
        let images = self.images.iter().flatten();
        let pairs = images.flat_map(|image| {
            let captions = image.captions.iter();
            captions.map(|caption| (image.number.as_ref(), caption.number.as_ref()))
        });
        let lines = pairs.map(|(image, caption)| Some(format!("{}\t{}", image?, caption?)));
        lines.collect()
    }

    /// Whether all images have the same number of captions, so that no map is needed.
    fn is_even(&self) -> bool {
        let mut counts = self.images.iter().map(|image| captions(*image).len());
        let first = counts.next();
        first != Some(0) && counts.all(|count| Some(count) == first)
    }
}

/// The images in the order of the features.
fn order_by_features<'a>(
    ids: &'a [String],
    images: &'a [Captioned],
    features: &Path,
) -> Result<Order<'a>> {
    let names = Names::new(images);
    let mut taken: Vec<Option<usize>> = vec![None; images.len()];
    let mut unmatched = Vec::new();
    let mut found = Vec::with_capacity(ids.len());
    for (row, id) in ids.iter().enumerate() {
        let image = names.find(id);
        if let Some(first) = image.and_then(|image| taken[image].replace(row)) {
            return Err(Error::RepeatedImage {
                path: features.to_owned(),
                id: id.clone(),
                images: [first, row],
            });
        }
        let image = image
            .map(|image| &images[image])
            .filter(|image| !image.captions.is_empty());
        if image.is_none() {
            unmatched.push((id.as_str(), NO_CAPTIONS));
        }
        found.push(image);
    }
    if found.iter().all(Option::is_none) {
        return Err(Error::Import(ImportError::NothingMatches {
            path: features.to_owned(),
            feature: ids.first().cloned().unwrap_or_default(),
            image: images.first().map_or("", Captioned::id).to_owned(),
        }));
    }
    let missing = images
        .iter()
        .zip(taken)
        .filter(|(_, taken)| taken.is_none());
    unmatched.extend(missing.map(|(image, _)| (image.id(), NO_FEATURES)));
    unmatched.extend(empty_captions(images));
    Ok(Order {
        images: found,
        unmatched,
    })
}

fn empty_captions(images: &[Captioned]) -> impl Iterator<Item = (&str, &'static str)> {
    let with_empty = images.iter().filter(|image| image.empty > 0);
    with_empty.map(|image| (image.id(), EMPTY_CAPTION))
}

fn captions(image: Option<&Captioned>) -> &[Caption] {
    image.map_or(&[], |image| &image.captions)
}

/// The index of the image of each name; `None` for an ambiguous name.
struct Names<'a>(HashMap<&'a str, Option<usize>>);

impl<'a> Names<'a> {
    /// A name of two images is ambiguous, unless it is the id of one of them.
    fn new(images: &'a [Captioned]) -> Self {
        let mut names = HashMap::new();
        for (index, image) in images.iter().enumerate() {
            for name in &image.names {
                let entry = names.entry(name.as_str()).or_insert(Some(index));
                *entry = entry.filter(|&other| other == index);
            }
        }
        for (index, image) in images.iter().enumerate() {
            names.insert(image.id(), Some(index));
        }
        Self(names)
    }

    /// The image of a name in features or a list, with or without its folder and extension.
    fn find(&self, name: &str) -> Option<usize> {
        let file = name.rsplit('/').next().unwrap_or(name);
        let mut forms = [name, file, stem(name)].into_iter();
        forms.find_map(|form| self.0.get(form).copied().flatten())
    }
}

/// The id of each row of features.
fn feature_ids(dir: &Path, split: &str, path: &Path) -> Result<Vec<String>> {
    let regions = RegionStore::open(dir, split)?;
    if let Some(store) = regions.feature_store() {
        return Ok(store.ids().map(str::to_owned).collect());
    }
    let beside = dir.join(format!("{split}_ids.txt"));
    if !beside.exists() {
        return Err(Error::Import(ImportError::NoFeatureIds {
            path: path.to_owned(),
            ids: beside,
        }));
    }
    ids(&beside, regions.rows())
}

fn write_lines<L: AsRef<str>>(path: &Path, lines: impl Iterator<Item = L>) -> Result<()> {
    let mut text = String::new();
    for line in lines {
        text.push_str(line.as_ref());
        text.push('\n');
    }
    uard_files::write(path, text).map_err(Error::io(path, "write"))
}
