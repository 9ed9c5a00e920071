//! Weights that are too large for one file: an index of tensors, and the files that hold them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path};

use serde::Deserialize;
use uard_files::read_json;

use super::{Weights, unreadable};
use crate::{Error, Result};

/// How the names of such files end.
const INDEX: &str = ".index.json";

/// `model.safetensors.index.json`, as Hugging Face writes it.
#[derive(Deserialize)]
struct Index {
    /// The file of each tensor.
    weight_map: HashMap<String, String>,
}

/// The files of an index.
pub(super) struct Shards {
    files: Vec<Weights>,
    /// The place in `files` of each tensor.
    places: HashMap<String, usize>,
}

impl Shards {
    /// Opens every file that the index names, all of them beside it.
    ///
    /// # Errors
    /// The text is no index; it names a file elsewhere, itself, or one that is not there; those of
    /// [`Weights::open`].
    pub(super) fn open(path: &Path) -> Result<Self> {
        let index = Index::read(path)?;
        let names = index.names(path)?;
        let files = names.iter().map(|name| {
            let shard = Weights::open(&path.with_file_name(name))?;
            match shard.source {
                super::Source::Shards(_) => Err(foreign(path, name)),
                _ => Ok(shard),
            }
        });
        let files = files.collect::<Result<_>>()?;
        let place = |name: &String| names.iter().position(|other| other == name);
        let places = index.weight_map.into_iter();
        let places = places.filter_map(|(tensor, name)| Some((tensor, place(&name)?)));
        Ok(Self {
            files,
            places: places.collect(),
        })
    }

    /// The file of a tensor.
    pub(super) fn of(&self, tensor: &str) -> Option<&Weights> {
        self.places.get(tensor).map(|&place| &self.files[place])
    }
}

impl Index {
    fn read(path: &Path) -> Result<Self> {
        let expected = "the index of weights in several files, with a weight_map";
        Ok(read_json(path, expected)?)
    }

    /// The files, each once, by name.
    fn names(&self, path: &Path) -> Result<Vec<String>> {
        let names: BTreeSet<&String> = self.weight_map.values().collect();
        let plain = |name: &str| {
            let mut parts = Path::new(name).components();
            matches!(
                (parts.next(), parts.next()),
                (Some(Component::Normal(_)), None)
            )
        };
        match names
            .iter()
            .find(|name| !plain(name) || name.ends_with(INDEX))
        {
            Some(name) => Err(foreign(path, name)),
            None => Ok(names.into_iter().cloned().collect()),
        }
    }
}

/// Whether a file of weights is an index, by its name.
pub(super) fn is_index(path: &Path) -> bool {
    path.as_os_str()
        .as_encoded_bytes()
        .ends_with(INDEX.as_bytes())
}

/// The files that an index names; of a file that is none by its name, no files.
///
/// # Errors
/// It cannot be read; it names a file elsewhere.
pub(crate) fn shard_names(path: &Path) -> Result<Vec<String>> {
    if !is_index(path) {
        return Ok(Vec::new());
    }
    Index::read(path)?.names(path)
}

fn foreign(path: &Path, name: &str) -> Error {
    let cause = format!("it names `{name}`, expected a file of weights beside it");
    unreadable(path, &cause)
}
