//! Trained networks that others published: where they lie ([`source`]), their way from a hub to this
//! machine ([`Hub`]), and their numbers by name ([`weights`]).
//!
//! This is the one place of the workspace that opens connections outward. The transport and the folders of the cache are those of the crate `hf-hub`,
//! shared with the Python library; around it stand what it leaves out: one commit for all files of
//! a folder, sizes and hashes, the mode without a network, and errors that say what to do.

mod cache;
mod check;
mod client;
mod error;
mod resolve;
mod watch;

pub mod source;
pub mod weights;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use error::{Asked, Error, HubError, Result};
pub use source::{HubName, Source};
pub use weights::Weights;

/// Where names are looked up unless `HF_ENDPOINT` says otherwise.
const ENDPOINT: &str = "https://huggingface.co";

/// Slow hubs begin to answer within seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Files of a repository that are used together.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Of each entry the first name that is there.
    pub needed: &'a [&'a [&'a str]],
    /// Taken along where the repository has them.
    pub optional: &'a [&'a str],
}

/// Files that lie side by side, the needed ones first and in their order.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) folder: PathBuf,
    pub(crate) names: Vec<String>,
}

impl Files {
    pub(crate) fn into_first(self) -> PathBuf {
        match self.names.first() {
            Some(name) => self.folder.join(name),
            None => self.folder,
        }
    }
}

/// How far a file has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Download<'a> {
    /// The file, by its path in the repository.
    pub file: &'a str,
    /// Bytes that are here.
    pub done: u64,
    /// Bytes of the whole file.
    pub total: u64,
}

/// Whether connections may be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// What the cache lacks is downloaded.
    #[default]
    Online,
    /// The cache is all there is.
    Offline,
}

/// Is told how far a download has come.
pub type OnProgress = Box<dyn Fn(Download<'_>) + Send + Sync>;

/// A hub, and the folder of this machine where its files are kept.
///
/// [`Hub::default`] knows the public hub and no cache, which is enough for sources that are paths.
pub struct Hub {
    /// The folder of `models--OWNER--NAME`; shared with other programs.
    pub cache: Option<PathBuf>,
    /// `https://…`, without a slash at its end.
    pub endpoint: String,
    /// Opens private and gated repositories.
    pub token: Option<String>,
    /// A file that holds the token where none is given, as `hf auth login` writes it.
    pub token_file: Option<PathBuf>,
    /// Whether connections may be opened.
    pub mode: Mode,
    /// Is told how far a download has come.
    pub on_progress: Option<OnProgress>,
    /// How long a hub may be silent, or hardly say anything, before it counts as not reachable.
    pub patience: Duration,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            cache: None,
            endpoint: ENDPOINT.to_owned(),
            token: None,
            token_file: None,
            mode: Mode::Online,
            on_progress: None,
            patience: PATIENCE,
        }
    }
}

/// The token stays out of what is printed.
impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Hub")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// What the variables of the Python library say, looked up by `variable`.
    ///
    /// `HF_HOME` (else `huggingface` in `XDG_CACHE_HOME`, else in `.cache` of the home directory),
    /// `HF_HUB_CACHE` (else `hub` in the former), `HF_ENDPOINT`, `HF_TOKEN` (else the file
    /// `HF_TOKEN_PATH`, else `token` in `HF_HOME`), `HF_HUB_OFFLINE` (`1`, `on`, `yes` or `true`).
    /// One that is empty counts as not set.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().into_owned());
        let path = |name: &str| set(name).map(PathBuf::from);
        let caches = path("XDG_CACHE_HOME").or_else(|| {
            let home = path("HOME").or_else(|| path("USERPROFILE"));
            home.map(|home| home.join(".cache"))
        });
        let home = path("HF_HOME").or_else(|| caches.map(|caches| caches.join("huggingface")));
        let in_home = |name: &str| home.as_ref().map(|home| home.join(name));
        let offline = text("HF_HUB_OFFLINE").is_some_and(|value| {
            ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
        });
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        Self {
            cache: path("HF_HUB_CACHE").or_else(|| in_home("hub")),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: text("HF_TOKEN"),
            token_file: path("HF_TOKEN_PATH").or_else(|| in_home("token")),
            mode: if offline { Mode::Offline } else { Mode::Online },
            on_progress: None,
            patience: PATIENCE,
        }
    }

    /// For errors.
    fn asked(&self, name: &HubName, file: impl Into<String>) -> Box<Asked> {
        Box::new(Asked {
            name: name.clone(),
            file: file.into(),
            endpoint: self.endpoint.clone(),
        })
    }

    /// The wanted files of a repository, all of one commit, each checked against its hash.
    ///
    /// What the cache holds is used without asking the hub, so a branch stays at the commit that
    /// was downloaded first.
    ///
    /// # Errors
    /// Those of [`HubError`].
    pub(crate) fn files(&self, name: &HubName, wanted: Wanted<'_>) -> Result<Files> {
        resolve::files(self, name, wanted)
    }
}

#[cfg(test)]
mod tests;
