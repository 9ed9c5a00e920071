//! `Source` is where a trained network lies: a path, or a name on a hub of models.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Result;
use crate::{Hub, HubError, WantedFiles};

/// What a name on a hub begins with.
const SCHEME: &str = "hf:";

/// The revision of a name without one.
const MAIN: &str = "main";

/// A file or folder of a trained network, as configurations and commands name it.
///
/// `hf:OWNER/NAME`, `hf:OWNER/NAME/PATH` and either followed by `@REVISION` are
/// [names on a hub](HubName); everything else is a path. A path that begins with `hf:` is written
/// `./hf:…`.
///
/// ```
/// use uard_hub::source::Source;
///
/// let source: Source = "hf:timm/resnet18.a1_in1k/model.safetensors@refs/pr/3".parse().unwrap();
/// let Source::Hub(name) = &source else { panic!() };
/// assert_eq!(name.repository(), "timm/resnet18.a1_in1k");
/// assert_eq!(name.file(), Some("model.safetensors"));
/// assert_eq!(name.revision(), "refs/pr/3");
/// assert!(matches!("weights/resnet18".parse().unwrap(), Source::Path(_)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path on this machine.
    Path(PathBuf),
    /// A name on a hub.
    Hub(HubName),
}

impl Source {
    /// The first of `names` that exists in the folder or repository.
    ///
    /// If the source is a file itself, that file is returned, whatever its name.
    ///
    /// # Errors
    /// None of the names exists; those of [`HubError`].
    pub fn file(&self, hub: &Hub, names: &[&str]) -> Result<PathBuf> {
        match self {
            Self::Path(path) if path.is_dir() => {
                let found = names.iter().map(|name| path.join(name));
                Ok(found
                    .into_iter()
                    .find(|path| path.exists())
                    .ok_or_else(|| HubError::NotInFolder {
                        folder: path.clone(),
                        names: names.join(" or "),
                    })?)
            }
            Self::Path(path) => Ok(path.clone()),
            Self::Hub(name) => {
                let names = match name.file() {
                    Some(file) => &[file],
                    None => names,
                };
                let wanted = WantedFiles {
                    needed: &[names],
                    optional: &[],
                };
                Ok(hub.files(name, wanted)?.into_first())
            }
        }
    }

    /// A folder that holds the wanted files.
    ///
    /// A path is returned unchecked: the readers of the files report which are missing.
    ///
    /// # Errors
    /// The source names a single file on a hub; those of [`HubError`].
    pub fn folder(&self, hub: &Hub, wanted: WantedFiles<'_>) -> Result<PathBuf> {
        match self {
            Self::Path(path) => Ok(path.clone()),
            Self::Hub(name) if name.file().is_some() => {
                Err(HubError::SingleFile { name: name.clone() })?
            }
            Self::Hub(name) => Ok(hub.files(name, wanted)?.folder),
        }
    }
}

impl FromStr for Source {
    type Err = HubError;

    fn from_str(text: &str) -> std::result::Result<Self, HubError> {
        match text.strip_prefix(SCHEME) {
            Some(name) => HubName::parse(name).map(Self::Hub),
            None => Ok(Self::Path(text.into())),
        }
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(formatter, "{}", path.display()),
            Self::Hub(name) => write!(formatter, "{name}"),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Path(path) => path.serialize(serializer),
            Self::Hub(name) => serializer.collect_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A repository of a hub at one of its revisions, or one file of it.
///
/// The file comes before the revision, so that a revision may hold slashes, as branches do. Parts
/// consist of letters, digits, `-`, `_`, `.` and `+`, and none is `.` or `..`: they become parts of
/// paths in the cache and of addresses without being escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubName {
    repository: String,
    file: Option<String>,
    revision: String,
}

impl HubName {
    /// Reads what follows `hf:`.
    fn parse(text: &str) -> std::result::Result<Self, HubError> {
        let (place, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let parts: Vec<&str> = place.split('/').collect();
        let plain = parts
            .iter()
            .copied()
            .chain(revision.split('/'))
            .all(is_plain);
        match parts.as_slice() {
            [owner, name, file @ ..] if plain => Ok(Self {
                repository: format!("{owner}/{name}"),
                file: (!file.is_empty()).then(|| file.join("/")),
                revision: revision.to_owned(),
            }),
            _ => Err(HubError::Name {
                found: format!("{SCHEME}{text}"),
            }),
        }
    }

    /// `OWNER/NAME`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The path of the named file in the repository; `None` if the name is that of a repository.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// A branch, tag or commit; `main` unless the name has another.
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{SCHEME}{}", self.repository)?;
        if let Some(file) = &self.file {
            write!(formatter, "/{file}")?;
        }
        if self.revision != MAIN {
            write!(formatter, "@{}", self.revision)?;
        }
        Ok(())
    }
}

fn is_plain(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    !part.is_empty() && part.chars().all(allowed) && part != "." && part != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Settings {
        model: Source,
    }

    #[test]
    fn a_source_is_written_as_it_was_read() {
        for text in [
            "hf:a/b",
            "hf:a/b@v1.0",
            "hf:timm/resnet18.a1_in1k/onnx/model.onnx@refs/pr/3",
            "folder/of a model",
            "./hf:odd",
            "C:\\models",
        ] {
            let source: Source = text.parse().unwrap();
            assert_eq!(source.to_string(), text);
            let json = serde_json::to_string(&Settings { model: source }).unwrap();
            let back: Settings = serde_json::from_str(&json).unwrap();
            assert_eq!(back.model.to_string(), text);
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        for text in [
            "hf:",
            "hf:bert-base-uncased",
            "hf:a/",
            "hf:a/b/",
            "hf:a//b",
            "hf:a/b@",
            "hf:a/../b",
            "hf:a/b@../x",
            "hf:a/b?x",
            "hf:a/b c",
        ] {
            let message = text.parse::<Source>().unwrap_err().to_string();
            assert!(message.contains(text), "{message}");
            assert!(message.contains("hf:OWNER/NAME"), "{message}");
        }
    }

    #[test]
    fn a_folder_gives_the_first_name_that_exists() {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::Path(folder.path().to_owned());
        let names = ["model.safetensors", "pytorch_model.bin"];
        let message = source.file(&Hub::default(), &names).unwrap_err();
        assert!(message.to_string().contains("pytorch_model.bin"));
        for name in ["pytorch_model.bin", "model.safetensors"] {
            std::fs::write(folder.path().join(name), "").unwrap();
            let found = source.file(&Hub::default(), &names).unwrap();
            assert_eq!(found, folder.path().join(name));
            let itself = Source::Path(found.clone());
            assert_eq!(itself.file(&Hub::default(), &names).unwrap(), found);
        }
    }
}
