//! Requests to a hub, and the error for each way in which one fails.

use std::fs;
use std::path::{Component, Path};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::cache::is_commit;
use super::check::{ExpectedFile, check, remove};
use super::watch::run_with_timeout;
use super::{Download, Hub, HubError, HubRequest};
use crate::source::HubName;
use crate::{Error, Result};

/// How errors name the list of a repository's files.
const LISTING: &str = "the list of its files";

/// The commit of a revision, and the paths of its files.
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<String>,
}

/// Sends requests for one repository of a hub.
pub(super) struct Client<'a> {
    hub: &'a Hub,
    name: &'a HubName,
    cache: Cache,
    api: Api,
}

impl<'a> Client<'a> {
    /// Creates a client; it opens no connection yet.
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
                request: hub.request(name, LISTING),
                cause: cause.to_string(),
            })?,
        }
    }

    /// A request for a file of this repository, as errors describe it.
    pub(super) fn request(&self, file: impl Into<String>) -> Box<HubRequest> {
        self.hub.request(self.name, file)
    }

    /// The revision of the repository that was named.
    pub(super) fn revision(&self) -> &str {
        self.name.revision()
    }

    /// The commit of the revision, and the files of that commit.
    ///
    /// # Errors
    /// Those of [`HubError`].
    pub(super) fn listing(&self) -> Result<Listing> {
        let repository = self.repository(self.revision());
        let info = self.query(LISTING, move || repository.info())?;
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

    /// Downloads a file of a commit, checks it and links to it at `link`. If it fails, there is no
    /// file at `link`.
    ///
    /// An interrupted download is continued. If the result differs from the hub's file, the
    /// download starts over once.
    ///
    /// # Errors
    /// Those of [`HubError`]; the cache cannot be written.
    pub(super) fn download(&self, commit: &str, file: &str, link: &Path) -> Result<()> {
        let (api, url) = (self.api.clone(), self.repository(commit).url(file));
        let metadata = self.query(file, move || api.metadata(&url))?;
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
        // hf-hub fails if the part is longer than the file, and requests an empty range if the part
        // is whole.
        let part = blob.with_extension("part");
        let begun = fs::metadata(&part).map_or(0, |part| part.len());
        if begun >= bytes {
            remove(&part)?;
        }
        // hf-hub cannot make the link if there is one whose target is missing.
        remove(link)?;
        let expected = ExpectedFile {
            etag: Some(etag.to_owned()),
            bytes: Some(bytes),
        };
        let attempt = || {
            self.fetch(self.repository(commit), file, bytes)?;
            check(link, &expected)
        };
        match attempt() {
            Err(Error::Hub(HubError::Truncated { .. } | HubError::Changed { .. })) if begun > 0 => {
                attempt()
            }
            outcome => outcome,
        }
    }

    /// Downloads a file of `total` bytes into the cache of hf-hub, which links to it.
    fn fetch(&self, repository: ApiRepo, file: &str, total: u64) -> Result<()> {
        let mut done = 0;
        let on_bytes = |bytes| {
            done += bytes;
            if let Some(on_progress) = &self.hub.on_progress {
                on_progress(Download { file, done, total });
            }
        };
        let name = file.to_owned();
        let outcome = run_with_timeout(self.hub.timeout, on_bytes, move |report| {
            repository
                .download_with_progress(&name, ByteProgress(report))
                .map(drop)
        });
        match outcome {
            Some(outcome) => Ok(outcome.map_err(|cause| self.refused(file, cause))?),
            None => Err(HubError::Interrupted {
                request: self.request(file),
                cause: self.timed_out(),
            })?,
        }
    }

    /// Sends a request whose response is small and comes at once.
    fn query<T: Send + 'static>(
        &self,
        file: &str,
        send: impl FnOnce() -> std::result::Result<T, ApiError> + Send + 'static,
    ) -> Result<T> {
        match run_with_timeout(self.hub.timeout, |_| {}, move |_| send()) {
            Some(response) => Ok(response.map_err(|cause| self.refused(file, cause))?),
            None => Err(HubError::Unreachable {
                request: self.request(file),
                cause: self.timed_out(),
            })?,
        }
    }

    fn timed_out(&self) -> String {
        format!("less than 1 KiB came in {:?}", self.hub.timeout)
    }

    fn repository(&self, revision: &str) -> ApiRepo {
        self.api.repo(Repo::with_revision(
            self.name.repository().to_owned(),
            RepoType::Model,
            revision.to_owned(),
        ))
    }

    fn answer(&self, file: &str, cause: String) -> HubError {
        let request = self.request(file);
        HubError::Answer { request, cause }
    }

    fn refused(&self, file: &str, cause: ApiError) -> HubError {
        let request = self.request(file);
        match cause {
            ApiError::RequestError(cause) => self.failed_request(file, &cause),
            ApiError::IoError(cause) => HubError::Interrupted {
                request,
                cause: cause.to_string(),
            },
            ApiError::LockAcquisition(_) => HubError::Busy { request },
            cause => self.answer(file, cause.to_string()),
        }
    }

    fn failed_request(&self, file: &str, cause: &ureq::Error) -> HubError {
        let request = self.request(file);
        match cause {
            ureq::Error::StatusCode(401) => HubError::Unauthorized { request },
            ureq::Error::StatusCode(403) => HubError::Forbidden { request },
            ureq::Error::StatusCode(404) if file == LISTING => HubError::NoRevision { request },
            ureq::Error::StatusCode(_) | ureq::Error::Json(_) => {
                self.answer(file, cause.to_string())
            }
            _ => HubError::Unreachable {
                request,
                cause: cause.to_string(),
            },
        }
    }
}

/// The given token, or else that of the token file; `None` if there is neither.
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

/// Whether the path of a folder joined with an etag stays inside that folder.
fn is_inside(etag: &str) -> bool {
    let mut parts = Path::new(etag).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Passes the numbers of bytes that hf-hub reports to a closure. The first number includes the bytes
/// of an interrupted download.
struct ByteProgress<'a>(&'a dyn Fn(u64));

impl Progress for ByteProgress<'_> {
    fn init(&mut self, _size: usize, _file: &str) {}

    fn update(&mut self, size: usize) {
        (self.0)(size as u64);
    }

    fn finish(&mut self) {}
}
