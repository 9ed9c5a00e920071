//! What is asked of a hub, and what each of its refusals means.

use std::fs;
use std::path::{Component, Path};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::cache::is_commit;
use super::check::{Expected, check, remove};
use super::watch::watched;
use super::{Download, Hub, HubError};
use crate::source::HubName;
use crate::{Error, Result};

/// What errors call the list of a repository's files.
const LISTING: &str = "the list of its files";

/// What a repository has at a revision.
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<String>,
}

/// One repository of a hub.
pub(super) struct Client<'a> {
    hub: &'a Hub,
    name: &'a HubName,
    cache: Cache,
    api: Api,
}

impl<'a> Client<'a> {
    /// Opens no connection yet.
    ///
    /// # Errors
    /// The endpoint is no address, or the token cannot be read.
    pub(super) fn new(hub: &'a Hub, name: &'a HubName, cache: &Path) -> Result<Self> {
        let endpoint = hub.endpoint.as_str();
        if !["https://", "http://"].iter().any(|scheme| {
            endpoint
                .strip_prefix(scheme)
                .is_some_and(|host| !host.is_empty())
        }) {
            Err(HubError::Endpoint {
                found: endpoint.to_owned(),
            })?;
        }
        let cache = Cache::new(cache.to_owned());
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(endpoint.to_owned())
            .with_token(token(hub)?)
            .with_progress(false)
            .with_user_agent("uard", env!("CARGO_PKG_VERSION"))
            .build();
        let client = |api| Self {
            hub,
            name,
            cache,
            api,
        };
        match api {
            Ok(api) => Ok(client(api)),
            Err(cause) => Err(HubError::Unreachable {
                asked: hub.asked(name, LISTING),
                cause: cause.to_string(),
            })?,
        }
    }

    /// The commit of the revision, and the files of that commit.
    ///
    /// # Errors
    /// Those of [`HubError`].
    pub(super) fn listing(&self) -> Result<Listing> {
        let repository = self.repository(self.name.revision());
        let info = self.ask(LISTING, move || repository.info())?;
        if !is_commit(&info.sha) {
            Err(self.answer(LISTING, format!("commit `{}`", info.sha)))?;
        }
        Ok(Listing {
            commit: info.sha,
            files: info
                .siblings
                .into_iter()
                .map(|file| file.rfilename)
                .collect(),
        })
    }

    /// Brings a file of a commit to `link`, whole and checked, or fails without leaving it there.
    ///
    /// What an earlier attempt left behind is continued; if that gives another file than the hub
    /// has, the download starts over once.
    ///
    /// # Errors
    /// Those of [`HubError`]; the cache cannot be written.
    pub(super) fn download(&self, commit: &str, file: &str, link: &Path) -> Result<()> {
        let (api, url) = (self.api.clone(), self.repository(commit).url(file));
        let metadata = self.ask(file, move || api.metadata(&url))?;
        let (etag, bytes) = (metadata.etag(), metadata.size() as u64);
        if metadata.commit_hash() != commit {
            let found = metadata.commit_hash();
            Err(self.answer(file, format!("commit {found} instead of {commit}")))?;
        }
        if !is_inside(etag) {
            Err(self.answer(file, format!("etag `{etag}`")))?;
        }
        let cached = Repo::model(self.name.repository().to_owned());
        let blob = self.cache.repo(cached).blob_path(etag);
        // hf-hub stops at a file that is longer, and asks for nothing at the end of a whole one.
        let part = blob.with_extension("part");
        let begun = fs::metadata(&part).map_or(0, |part| part.len());
        if begun >= bytes {
            remove(&part)?;
        }
        // A link that leads nowhere is in its way.
        remove(link)?;
        let expected = Expected {
            etag: Some(etag.to_owned()),
            bytes: Some(bytes),
        };
        let attempt = || self.attempt(self.repository(commit), file, (link, &expected));
        match attempt() {
            Err(Error::Hub(HubError::Truncated { .. } | HubError::Changed { .. })) if begun > 0 => {
                attempt()
            }
            outcome => outcome,
        }
    }

    fn attempt(
        &self,
        repository: ApiRepo,
        file: &str,
        (link, expected): (&Path, &Expected),
    ) -> Result<()> {
        let (mut done, total) = (0, expected.bytes.unwrap_or_default());
        let on_bytes = |bytes| {
            done += bytes;
            if let Some(on_progress) = &self.hub.on_progress {
                on_progress(Download { file, done, total });
            }
        };
        let name = file.to_owned();
        let outcome = watched(self.hub.patience, on_bytes, move |tell| {
            repository
                .download_with_progress(&name, Told(tell))
                .map(drop)
        });
        match outcome {
            Some(outcome) => outcome.map_err(|cause| self.refused(file, cause))?,
            None => Err(HubError::Interrupted {
                asked: self.hub.asked(self.name, file),
                cause: self.silence(),
            })?,
        }
        check(link, expected)
    }

    /// Asks for what is small and comes at once.
    fn ask<T: Send + 'static>(
        &self,
        file: &str,
        question: impl FnOnce() -> std::result::Result<T, ApiError> + Send + 'static,
    ) -> Result<T> {
        match watched(self.hub.patience, |_| {}, move |_| question()) {
            Some(answer) => Ok(answer.map_err(|cause| self.refused(file, cause))?),
            None => Err(HubError::Unreachable {
                asked: self.hub.asked(self.name, file),
                cause: self.silence(),
            })?,
        }
    }

    fn silence(&self) -> String {
        format!("hardly a byte came in {:?}", self.hub.patience)
    }

    fn repository(&self, revision: &str) -> ApiRepo {
        self.api.repo(Repo::with_revision(
            self.name.repository().to_owned(),
            RepoType::Model,
            revision.to_owned(),
        ))
    }

    fn answer(&self, file: &str, cause: String) -> HubError {
        let asked = self.hub.asked(self.name, file);
        HubError::Answer { asked, cause }
    }

    fn refused(&self, file: &str, cause: ApiError) -> HubError {
        let asked = self.hub.asked(self.name, file);
        match cause {
            ApiError::RequestError(cause) => self.failed_request(file, &cause),
            ApiError::IoError(cause) => HubError::Interrupted {
                asked,
                cause: cause.to_string(),
            },
            ApiError::LockAcquisition(_) => HubError::Busy { asked },
            cause => self.answer(file, cause.to_string()),
        }
    }

    fn failed_request(&self, file: &str, cause: &ureq::Error) -> HubError {
        let asked = self.hub.asked(self.name, file);
        match cause {
            ureq::Error::StatusCode(401) => HubError::Unauthorized { asked },
            ureq::Error::StatusCode(403) => HubError::Forbidden { asked },
            ureq::Error::StatusCode(404) if file == LISTING => HubError::NoRevision { asked },
            ureq::Error::StatusCode(_) | ureq::Error::Json(_) => {
                self.answer(file, cause.to_string())
            }
            _ => HubError::Unreachable {
                asked,
                cause: cause.to_string(),
            },
        }
    }
}

/// The token that was given, or else that of the file; none where there is no such file.
fn token(hub: &Hub) -> Result<Option<String>> {
    let text = match (&hub.token, &hub.token_file) {
        (Some(token), _) => token.clone(),
        (None, Some(file)) if file.exists() => {
            uard_files::read_text(file).map_err(Error::io(file, "read"))?
        }
        _ => String::new(),
    };
    let token = text.trim();
    Ok((!token.is_empty()).then(|| token.to_owned()))
}

/// Whether an etag stays inside the folder that it is joined to.
fn is_inside(etag: &str) -> bool {
    let mut parts = Path::new(etag).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Passes on what hf-hub tells, what an earlier attempt had brought included.
struct Told<'a>(&'a dyn Fn(u64));

impl Progress for Told<'_> {
    fn init(&mut self, _size: usize, _file: &str) {}

    fn update(&mut self, size: usize) {
        (self.0)(size as u64);
    }

    fn finish(&mut self) {}
}
