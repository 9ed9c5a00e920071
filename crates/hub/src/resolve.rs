//! Finds the wanted files of a repository in the cache, or downloads them from the hub.

use super::cache::{CachedRepository, Snapshot};
use super::check::check_cached;
use super::client::Client;
use super::{CachedFiles, Hub, HubError, Mode, WantedFiles};
use crate::Result;
use crate::source::HubName;
use crate::weights::shard_names;

/// Takes the wanted files from the cache if it holds them all, else from the hub.
pub(super) fn files(hub: &Hub, name: &HubName, wanted: WantedFiles<'_>) -> Result<CachedFiles> {
    let cache = hub
        .cache
        .as_deref()
        .ok_or_else(|| HubError::NoCache { name: name.clone() })?;
    let cached = CachedRepository::new(cache, name);
    let snapshot = cached
        .commit(name.revision())
        .map(|commit| cached.snapshot(&commit));
    let held = snapshot.map(|snapshot| (choose(wanted, |file| snapshot.has(file)), snapshot));
    match (held, hub.mode) {
        (Some((Ok(names), snapshot)), mode)
            if mode == Mode::Offline || is_settled(wanted, &snapshot) =>
        {
            for file in &names {
                check_cached(&snapshot.folder.join(file))?;
                for shard in shard_names(&snapshot.folder.join(file))? {
                    check_cached(&snapshot.folder.join(beside(file, &shard)))?;
                }
            }
            Ok(CachedFiles {
                folder: snapshot.folder,
                names,
            })
        }
        (held, Mode::Offline) => Err(HubError::Offline {
            request: match held {
                Some((Err(missing), _)) => hub.request(name, missing),
                _ => hub.request(name, all_needed(wanted)),
            },
            cache: cached.folder().to_owned(),
        })?,
        (_, Mode::Online) => download(&Client::new(hub, name, cache)?, &cached, wanted),
    }
}

fn download(
    client: &Client<'_>,
    cached: &CachedRepository,
    wanted: WantedFiles<'_>,
) -> Result<CachedFiles> {
    let listing = client.listing()?;
    let has = |file: &str| listing.files.iter().any(|known| known == file);
    let names = choose(wanted, has).map_err(|expected| HubError::NoFile {
        request: client.request(expected),
        found: listing.files.join(", "),
    })?;
    let snapshot = cached.snapshot(&listing.commit);
    let fetch = |file: &str| {
        let link = snapshot.folder.join(file);
        match link.exists() {
            true => check_cached(&link),
            false => client.download(&listing.commit, file, &link),
        }
    };
    for file in &names {
        fetch(file)?;
        for shard in shard_names(&snapshot.folder.join(file))? {
            fetch(&beside(file, &shard))?;
        }
    }
    snapshot.save_absent(wanted, has)?;
    cached.save_commit(client.revision(), &listing.commit)?;
    Ok(CachedFiles {
        folder: snapshot.folder,
        names,
    })
}

/// The path of the file `name` in the folder of `file`.
fn beside(file: &str, name: &str) -> String {
    match file.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{name}"),
        None => name.to_owned(),
    }
}

/// The files to use: of each needed entry the first name that exists, then the optional files that
/// exist. The error is the entry of which no name exists.
fn choose(
    wanted: WantedFiles<'_>,
    has: impl Fn(&str) -> bool,
) -> std::result::Result<Vec<String>, String> {
    let mut names = Vec::new();
    for entry in wanted.needed {
        let found = entry.iter().find(|file| has(file));
        names.push((*found.ok_or_else(|| entry.join(" or "))?).to_owned());
    }
    let optional = wanted.optional.iter().filter(|file| has(file));
    names.extend(optional.map(|file| (*file).to_owned()));
    Ok(names)
}

/// Whether no request is needed for the optional files: each is cached or known to be absent.
fn is_settled(wanted: WantedFiles<'_>, snapshot: &Snapshot) -> bool {
    let mut optional = wanted.optional.iter();
    optional.all(|file| snapshot.has(file) || snapshot.is_absent(file))
}

fn all_needed(wanted: WantedFiles<'_>) -> String {
    let entries = wanted.needed.iter().map(|entry| entry.join(" or "));
    entries.collect::<Vec<String>>().join(", ")
}
