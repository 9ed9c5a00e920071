//! The files of a repository that are used, from the cache or from the hub.

use std::path::Path;

use super::cache::{Cached, Snapshot};
use super::check::check_cached;
use super::client::Client;
use super::{Files, Hub, HubError, Mode, Wanted};
use crate::Result;
use crate::source::HubName;
use crate::weights::shard_names;

/// The wanted files, from the cache if it holds them all, else from the hub.
pub(super) fn files(hub: &Hub, name: &HubName, wanted: Wanted<'_>) -> Result<Files> {
    let cache = hub
        .cache
        .as_deref()
        .ok_or_else(|| HubError::NoCache { name: name.clone() })?;
    let cached = Cached::new(cache, name);
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
            Ok(Files {
                folder: snapshot.folder,
                names,
            })
        }
        (held, Mode::Offline) => Err(HubError::Offline {
            asked: match held {
                Some((Err(missing), _)) => hub.asked(name, missing),
                _ => hub.asked(name, all_needed(wanted)),
            },
            cache: cached.folder().to_owned(),
        })?,
        (_, Mode::Online) => download(hub, name, (&cached, cache), wanted),
    }
}

fn download(
    hub: &Hub,
    name: &HubName,
    (cached, cache): (&Cached, &Path),
    wanted: Wanted<'_>,
) -> Result<Files> {
    let client = Client::new(hub, name, cache)?;
    let listing = client.listing()?;
    let has = |file: &str| listing.files.iter().any(|known| known == file);
    let names = choose(wanted, has).map_err(|expected| HubError::NoFile {
        asked: hub.asked(name, expected),
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
    snapshot.remember_lacking(wanted, has)?;
    cached.remember(name.revision(), &listing.commit)?;
    Ok(Files {
        folder: snapshot.folder,
        names,
    })
}

/// The name of a file in the folder of another.
fn beside(file: &str, name: &str) -> String {
    match file.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{name}"),
        None => name.to_owned(),
    }
}

/// The files to use: of each needed entry the first that is there, then the optional ones. The
/// error is the entry of which none is there.
fn choose(
    wanted: Wanted<'_>,
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

/// Whether nothing is left to ask the hub: each optional file is cached, or known to be lacking.
fn is_settled(wanted: Wanted<'_>, snapshot: &Snapshot) -> bool {
    let mut optional = wanted.optional.iter();
    optional.all(|file| snapshot.has(file) || snapshot.lacks(file))
}

fn all_needed(wanted: Wanted<'_>) -> String {
    let entries = wanted.needed.iter().map(|entry| entry.join(" or "));
    entries.collect::<Vec<String>>().join(", ")
}
