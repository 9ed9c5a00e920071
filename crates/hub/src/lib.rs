//! Published networks: their paths or names ([`source`]), their download into a cache ([`Hub`]), and
//! their tensors by name ([`weights`]).
//!
//! This is the one crate of `uard` that opens connections outward. The crate `hf-hub` sends the
//! requests and names the folders of the cache, which are those of the Python library. This crate
//! adds what `hf-hub` lacks: one commit for all files of a folder, checks of sizes and hashes, an
//! offline mode, a time-out, and errors that say what to do.

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

pub use error::{Error, HubError, HubRequest, Result};
pub use source::{HubName, Source};
pub use weights::Weights;

/// The hub unless `HF_ENDPOINT` names another one.
const ENDPOINT: &str = "https://huggingface.co";

/// The default time-out; even slow hubs begin to answer within seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Files of a repository that are used together.
#[derive(Debug, Clone, Copy)]
pub struct WantedFiles<'a> {
    /// Each entry lists the possible names of one needed file; the first name that exists is used.
    pub needed: &'a [&'a [&'a str]],
    /// Files that are used if the repository has them.
    pub optional: &'a [&'a str],
}

/// Files in one folder of the cache: the needed ones in their order, then the optional ones.
#[derive(Debug)]
pub(crate) struct CachedFiles {
    pub(crate) folder: PathBuf,
    pub(crate) names: Vec<String>,
}

impl CachedFiles {
    pub(crate) fn into_first(self) -> PathBuf {
        match self.names.first() {
            Some(name) => self.folder.join(name),
            None => self.folder,
        }
    }
}

/// The progress of one file's download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Download<'a> {
    /// The file, by its path in the repository.
    pub file: &'a str,
    /// Bytes that were received.
    pub done: u64,
    /// Bytes of the whole file.
    pub total: u64,
}

/// Whether connections may be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Files that the cache lacks are downloaded.
    #[default]
    Online,
    /// Only files of the cache are used.
    Offline,
}

/// Called with the progress of each download.
pub type OnProgress = Box<dyn Fn(Download<'_>) + Send + Sync>;

/// A hub, and the folder of this machine where its files are kept.
///
/// [`Hub::default`] has the public hub and no cache, which is enough for sources that are paths.
pub struct Hub {
    /// The folder that holds `models--OWNER--NAME`; shared with other programs.
    pub cache: Option<PathBuf>,
    /// `https://…`, without a slash at its end.
    pub endpoint: String,
    /// The token that opens private and gated repositories.
    pub token: Option<String>,
    /// A file that holds the token, as `hf auth login` writes it; read if `token` is `None`.
    pub token_file: Option<PathBuf>,
    /// Whether connections may be opened.
    pub mode: Mode,
    /// Called with the progress of each download.
    pub on_progress: Option<OnProgress>,
    /// A hub that sends less than 1 KiB in this time counts as not reachable.
    pub timeout: Duration,
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
            timeout: TIMEOUT,
        }
    }
}

/// Leaves out the token.
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
    /// Reads the variables of the Python library; `variable` gives the value of each by name.
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
            timeout: TIMEOUT,
        }
    }

    /// A request for a file, as errors describe it.
    fn request(&self, name: &HubName, file: impl Into<String>) -> Box<HubRequest> {
        Box::new(HubRequest {
            name: name.clone(),
            file: file.into(),
            endpoint: self.endpoint.clone(),
        })
    }

    /// The wanted files of a repository, all of one commit, each checked against its hash.
    ///
    /// If the cache holds them all, no request is sent to the hub. So a branch stays at the commit
    /// that was downloaded first.
    ///
    /// # Errors
    /// Those of [`HubError`].
    pub(crate) fn files(&self, name: &HubName, wanted: WantedFiles<'_>) -> Result<CachedFiles> {
        resolve::files(self, name, wanted)
    }
}

#[cfg(test)]
mod tests;
