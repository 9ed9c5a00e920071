//! What is asked of a hub, and what does each of its refusals mean?

use std::fs;
use std::path::{Component, Path};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::cache::is_commit;
use super::check::{Expected, check, remove};
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
        let info = self.repository(self.name.revision()).info();
        let info = info.map_err(|cause| self.refused(LISTING, cause))?;
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
        let repository = self.repository(commit);
        let metadata = self.api.metadata(&repository.url(file));
        let metadata = metadata.map_err(|cause| self.refused(file, cause))?;
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
        let attempt = || self.attempt(&repository, file, (link, &expected));
        match attempt() {
            Err(Error::Hub(HubError::Truncated { .. } | HubError::Changed { .. })) if begun > 0 => {
                attempt()
            }
            outcome => outcome,
        }
    }

    fn attempt(
        &self,
        repository: &ApiRepo,
        file: &str,
        (link, expected): (&Path, &Expected),
    ) -> Result<()> {
        let told = Told {
            hub: self.hub,
            file,
            done: 0,
            total: 0,
        };
        repository
            .download_with_progress(file, told)
            .map_err(|cause| self.refused(file, cause))?;
        check(link, expected)
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
            fs::read_to_string(file).map_err(Error::io(file, "read"))?
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

/// Passes on what hf-hub tells.
struct Told<'a> {
    hub: &'a Hub,
    file: &'a str,
    done: u64,
    total: u64,
}

impl Progress for Told<'_> {
    fn init(&mut self, size: usize, _file: &str) {
        (self.done, self.total) = (0, size as u64);
        self.update(0);
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        if let Some(on_progress) = &self.hub.on_progress {
            on_progress(Download {
                file: self.file,
                done: self.done,
                total: self.total,
            });
        }
    }

    fn finish(&mut self) {}
}
