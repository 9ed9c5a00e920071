//! `Shards` are weights in several files, with an index that gives the file of each tensor.

use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path};

use serde::Deserialize;
use uard_files::read_json;

use super::{Weights, unreadable};
use crate::{Error, Result};

/// How the name of an index ends.
const INDEX: &str = ".index.json";

/// `model.safetensors.index.json`, as Hugging Face writes it.
#[derive(Deserialize)]
struct Index {
    /// The file of each tensor.
    weight_map: HashMap<String, String>,
}

/// The files that an index lists.
pub(super) struct Shards {
    files: Vec<Weights>,
    /// The index in `files` of each tensor.
    file_of_tensor: HashMap<String, usize>,
}

impl Shards {
    /// Opens every file that the index lists. They lie in the same folder as the index.
    ///
    /// # Errors
    /// The text is no index; it lists an index, a file of another folder, or one that does not exist;
    /// those of [`Weights::open`].
    pub(super) fn open(path: &Path) -> Result<Self> {
        let index = Index::read(path)?;
        let names = index.names(path)?;
        let files = names.iter().map(|name| {
            let shard = Weights::open(&path.with_file_name(name))?;
            match shard.storage {
                super::Storage::Shards(_) => Err(misplaced(path, name)),
                _ => Ok(shard),
            }
        });
        let files = files.collect::<Result<_>>()?;
        let position = |name: &String| names.iter().position(|other| other == name);
        let tensors = index.weight_map.into_iter();
        let tensors = tensors.filter_map(|(tensor, name)| Some((tensor, position(&name)?)));
        Ok(Self {
            files,
            file_of_tensor: tensors.collect(),
        })
    }

    /// The file that holds a tensor, by the index.
    pub(super) fn shard_with(&self, tensor: &str) -> Option<&Weights> {
        let file = self.file_of_tensor.get(tensor)?;
        self.files.get(*file)
    }
}

impl Index {
    fn read(path: &Path) -> Result<Self> {
        let expected = "the index of weights in several files, with a weight_map";
        Ok(read_json(path, expected)?)
    }

    /// The names of the files, each once, sorted.
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
            Some(name) => Err(misplaced(path, name)),
            None => Ok(names.into_iter().cloned().collect()),
        }
    }
}

/// Whether the name of a file of weights is that of an index.
pub(super) fn is_index(path: &Path) -> bool {
    path.as_os_str()
        .as_encoded_bytes()
        .ends_with(INDEX.as_bytes())
}

/// The files that an index lists; none if the name of the file is not that of an index.
///
/// # Errors
/// The index cannot be read; it lists a file of another folder.
pub(crate) fn shard_names(path: &Path) -> Result<Vec<String>> {
    if !is_index(path) {
        return Ok(Vec::new());
    }
    Index::read(path)?.names(path)
}

fn misplaced(path: &Path, name: &str) -> Error {
    let cause = format!("it names `{name}`, expected a file of weights beside it");
    unreadable(path, &cause)
}
