//! Shares: several processes each extract a part of one list into a store of its own, and the stores are
//! joined into the one that a single process would have written.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use uard_files::FieldsHash;

use super::error::StoreError;
use super::feature_store::{FeatureStore, store_path};
use super::part_builder::ListEntry;
use super::writer::{Finished, StoreWriter};
use crate::{Error, Result};

/// One of several consecutive shares of a list, of about equal length; as text `3/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Its number, from 1.
    number: usize,
    /// How many shares the list is cut into.
    of: usize,
}

/// How many missing shares an error names.
const NAMED_MISSING: usize = 5;

/// A share of a certain list, as `store.json` records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareOfList {
    /// Which share.
    pub share: Share,
    /// The SHA-256 of the ids of the whole list, in hex.
    pub list_sha256: String,
}

impl Share {
    /// The entries of a list that belong to the share.
    pub fn range(self, entries: usize) -> Range<usize> {
        // 128 bits hold every product.
        let start = |before: usize| (entries as u128 * before as u128 / self.of as u128) as usize;
        start(self.number - 1)..start(self.number)
    }

    /// Whether something with this key belongs to the share, if a hash of the keys decides.
    pub fn holds(self, key: &[u8]) -> bool {
        let mut hash = FieldsHash::default();
        hash.add(key);
        let hash = hash.hex();
        let first = hash.get(..16).unwrap_or_default();
        let number = u64::from_str_radix(first, 16).unwrap_or_default();
        number % self.of as u64 == (self.number - 1) as u64
    }

    /// The record of the share for its store.
    ///
    /// # Errors
    /// A list with fewer entries than shares.
    pub fn of_list<'a>(self, ids: impl ExactSizeIterator<Item = &'a str>) -> Result<ShareOfList> {
        let entries = ids.len();
        if entries < self.of {
            return Err(Error::Store(StoreError::MoreSharesThanEntries {
                share: self,
                entries,
            }));
        }
        let mut list = FieldsHash::default();
        ids.for_each(|id| list.add(id.as_bytes()));
        Ok(ShareOfList {
            share: self,
            list_sha256: list.hex(),
        })
    }

    /// The name under which a share of a split is stored: `photos-3-of-16`.
    pub fn split(self, split: &str) -> String {
        format!("{split}-{}-of-{}", self.number, self.of)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Share {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = || {
            let (number, of) = text.split_once('/')?;
            let (number, of) = (number.parse().ok()?, of.parse().ok()?);
            (1..=of).contains(&number).then_some(Self { number, of })
        };
        read().ok_or_else(|| {
            Error::Store(StoreError::Share {
                found: text.to_owned(),
            })
        })
    }
}

/// All shares of a list, each complete.
#[derive(Debug)]
pub struct Shares {
    stores: Vec<FeatureStore>,
}

impl Shares {
    /// Opens the shares of a split, which lie in one or several folders.
    ///
    /// # Errors
    /// No share, one that is missing, there twice, or not complete; shares of different lists, or of
    /// extractions with different settings.
    pub fn open(dirs: &[PathBuf], split: &str) -> Result<Self> {
        let found = find(dirs, split)?;
        let of = found.first().map_or(0, |first| first.share.of);
        if of == 0 || found.len() < of {
            let numbers: HashSet<usize> = found.iter().map(|it| it.share.number).collect();
            let missing = (1..=of).filter(|number| !numbers.contains(number));
            return Err(Error::Store(StoreError::MissingShares {
                dirs: dirs.to_vec(),
                split: split.to_owned(),
                first: missing
                    .take(NAMED_MISSING)
                    .map(|number| Share { number, of })
                    .collect(),
                count: of - found.len(),
            }));
        }
        let open = |it: &FoundShare| FeatureStore::open_share(it.dir, &it.share.split(split));
        let stores = found.iter().map(open).collect::<Result<Vec<_>>>()?;
        for (store, it) in stores.iter().zip(&found) {
            store.expect_share(it.share, &stores[0])?;
        }
        Ok(Self { stores })
    }

    /// How many entries the whole list has.
    pub fn entries(&self) -> usize {
        self.stores.iter().map(FeatureStore::entries).sum()
    }

    /// Writes the store of the whole list, with the bytes that one extraction would have written. A join
    /// that was stopped is continued; `None` if it is stopped by `stop`. `on_entries` is told how many
    /// entries are written.
    ///
    /// # Errors
    /// A damaged part; a store of something else in `dir`; files that cannot be written.
    pub fn join(
        &self,
        dir: &Path,
        split: &str,
        on_entries: &mut dyn FnMut(usize),
        stop: &AtomicBool,
    ) -> Result<Option<Finished>> {
        let manifest = self.stores[0].manifest();
        let (mut writer, stored) = StoreWriter::create_or_continue(dir, split, manifest)?;
        let mut written = 0;
        for store in &self.stores {
            let mut image = 0;
            for entry in store.list() {
                if stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let is_new = !writer.already_has(entry.id())?;
                match entry {
                    ListEntry::Unreadable(it) if is_new => writer.skip(&it.id, &it.reason)?,
                    ListEntry::Unreadable(_) => {}
                    ListEntry::Image(_) => {
                        if is_new {
                            writer.add(store.entry(image)?)?;
                        }
                        image += 1;
                    }
                }
                written += 1;
                on_entries(written);
            }
        }
        let finished = writer.finish()?;
        self.expect_features(dir, split, stored)?;
        Ok(Some(finished))
    }

    /// Checks that the first `entries` of a store, which an earlier call has written, have the features of
    /// these shares.
    fn expect_features(&self, dir: &Path, split: &str, entries: usize) -> Result<()> {
        let joined = FeatureStore::open(dir, split)?;
        let stored = joined.list().take(entries);
        let images = stored.filter(|entry| matches!(entry, ListEntry::Image(_)));
        let own = self.stores.iter().flat_map(|store| {
            let images = 0..store.images();
            images.map(move |image| store.entry(image))
        });
        for ((image, entry), own) in images.enumerate().zip(own) {
            if joined.entry(image)? != own? {
                return Err(Error::Store(StoreError::OtherFeatures {
                    path: joined.path().to_owned(),
                    id: entry.id().to_owned(),
                }));
            }
        }
        Ok(())
    }
}

/// A store that is named as a share.
struct FoundShare<'a> {
    dir: &'a Path,
    share: Share,
}

/// The stores in `dirs` that are named as shares of a split, by number.
fn find<'a>(dirs: &'a [PathBuf], split: &str) -> Result<Vec<FoundShare<'a>>> {
    let mut found: Vec<FoundShare<'a>> = Vec::new();
    for dir in dirs {
        for entry in std::fs::read_dir(dir).map_err(Error::io(dir, "list"))? {
            let name = entry.map_err(Error::io(dir, "list"))?.file_name();
            let share = name.to_str().and_then(|name| share_of_name(name, split));
            found.extend(share.map(|share| FoundShare { dir, share }));
        }
    }
    found.sort_by_key(|it| (it.share.of, it.share.number));
    let clash = found.windows(2).find_map(|pair| {
        let (first, next) = (pair[0].share, pair[1].share);
        let both = [&pair[0], &pair[1]].map(|it| store_path(it.dir, &it.share.split(split)));
        (first == next || first.of != next.of).then_some(both)
    });
    match clash {
        Some([first, other]) => Err(Error::Store(StoreError::ClashingShares { first, other })),
        None => Ok(found),
    }
}

/// Reads `photos-3-of-16_store`.
fn share_of_name(name: &str, split: &str) -> Option<Share> {
    let rest = name.strip_suffix("_store")?.strip_prefix(split)?;
    let (number, of) = rest.strip_prefix('-')?.split_once("-of-")?;
    let share: Share = format!("{number}/{of}").parse().ok()?;
    (store_path(Path::new(""), &share.split(split)) == Path::new(name)).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_a_list_without_overlap() {
        for (entries, of) in [(10, 1), (10, 3), (200, 8), (7, 7)] {
            let mut next = 0;
            for number in 1..=of {
                let share: Share = format!("{number}/{of}").parse().unwrap();
                let range = share.range(entries);
                assert_eq!(range.start, next);
                assert!(range.len().abs_diff(entries / of) <= 1);
                next = range.end;
            }
            assert_eq!(next, entries);
        }
    }

    #[test]
    fn each_key_belongs_to_one_share() {
        let mut counts = [0; 4];
        for key in 0..1000 {
            let key = format!("/photos/{key}.jpg");
            let holds = |number: &usize| {
                let share: Share = format!("{number}/4").parse().unwrap();
                share.holds(key.as_bytes())
            };
            let found: Vec<usize> = (1..=4).filter(holds).collect();
            assert_eq!(found.len(), 1);
            counts[found[0] - 1] += 1;
        }
        assert!(
            counts.iter().all(|count| (200..300).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn shares_are_read_as_they_are_written() {
        let share: Share = "3/16".parse().unwrap();
        assert_eq!(share.to_string(), "3/16");
        let name = format!("{}_store", share.split("dev"));
        assert_eq!(share_of_name(&name, "dev"), Some(share));
        for other in ["dev_store", "dev-03-of-16_store", "dev-+3-of-16_store"] {
            assert_eq!(share_of_name(other, "dev"), None);
        }
        for wrong in ["", "3", "0/4", "5/4", "1/0", "a/b", "1/2/3", "-1/2"] {
            let error = wrong.parse::<Share>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
        }
        let refused = share.of_list(["a"; 15].into_iter()).unwrap_err();
        assert!(refused.to_string().contains("15"), "{refused}");
    }
}
