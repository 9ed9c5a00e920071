//! Checks that a file of the cache equals the hub's file.
//!
//! A hub gives each file an etag: the SHA-256 of a large file, git's SHA-1 of a small one. The cache
//! names files by their etags, so that they can be checked without a connection.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::HubError;
use crate::{Error, Result};

const SHA256_DIGITS: usize = 64;
const SHA1_DIGITS: usize = 40;

/// Etag and size of a file on the hub. The etag of a mirror may be no hash; then only the size is
/// compared.
#[derive(Debug, Clone)]
pub(super) struct ExpectedFile {
    pub(super) etag: Option<String>,
    pub(super) bytes: Option<u64>,
}

/// Compares a file of the cache with its etag, which is the name of the file behind `link`.
///
/// Where the system has no links, the cache holds the file in place of the link, and has no etag of
/// it. Such a file was checked after its download only.
///
/// # Errors
/// As for [`check`].
pub(super) fn check_cached(link: &Path) -> Result<()> {
    let stored = fs::canonicalize(link).map_err(Error::io(link, "read"))?;
    let name = stored.file_name().filter(|_| link.is_symlink());
    let expected = ExpectedFile {
        etag: name.map(|name| name.to_string_lossy().into_owned()),
        bytes: None,
    };
    check(link, &expected)
}

/// Compares a file's hash with the etag, or its size if the etag is no hash. A file that differs is
/// removed from the cache.
///
/// # Errors
/// The file differs, or cannot be read.
pub(super) fn check(link: &Path, expected: &ExpectedFile) -> Result<()> {
    let found = fs::metadata(link).map_err(Error::io(link, "read"))?.len();
    let hash = match &expected.etag {
        Some(etag) => hash_like(etag, link).map_err(Error::io(link, "read"))?,
        None => None,
    };
    let whole = expected.bytes.is_none_or(|bytes| bytes == found);
    let same = match (&expected.etag, &hash) {
        (Some(etag), Some(hash)) => etag.eq_ignore_ascii_case(hash),
        _ => whole,
    };
    if same {
        return Ok(());
    }
    remove(link)?;
    Err(match (expected.bytes, &expected.etag, hash) {
        (Some(bytes), _, _) if found < bytes => HubError::Truncated {
            path: link.to_owned(),
            expected: bytes,
            found,
        },
        (_, Some(etag), Some(hash)) if whole => HubError::Changed {
            path: link.to_owned(),
            expected: format!("hash {etag}"),
            found: hash,
        },
        (bytes, _, _) => HubError::Changed {
            path: link.to_owned(),
            expected: format!("{} bytes", bytes.unwrap_or_default()),
            found: format!("{found} bytes"),
        },
    })?
}

/// Removes a link of the cache and the file that it leads to, if that exists.
pub(super) fn remove(link: &Path) -> Result<()> {
    let stored = fs::canonicalize(link);
    for path in [Some(link.to_owned()), stored.ok()].into_iter().flatten() {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io(&path, "remove")(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The hash of a file by the algorithm of an etag; `None` if the etag is no hash.
fn hash_like(etag: &str, path: &Path) -> io::Result<Option<String>> {
    if !etag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let mut file = uard_files::open_regular(path)?;
    Ok(match etag.len() {
        SHA256_DIGITS => Some(hash(Sha256::new(), &mut file)?),
        SHA1_DIGITS => {
            // As `git hash-object` does.
            let head = format!("blob {}\0", file.metadata()?.len());
            Some(hash(Sha1::new_with_prefix(head), &mut file)?)
        }
        _ => None,
    })
}

fn hash<D: Digest + io::Write>(mut digest: D, file: &mut File) -> io::Result<String> {
    io::copy(file, &mut digest)?;
    Ok(uard_files::hex(&digest.finalize()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// `git hash-object` and `sha256sum` of a file with the three bytes `abc`.
    const GIT: &str = "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f";
    const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn outcome(etag: &str, bytes: Option<u64>) -> (Result<()>, PathBuf, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "abc").unwrap();
        let etag = Some(etag.to_owned());
        let result = check(&path, &ExpectedFile { etag, bytes });
        (result, path, folder)
    }

    #[test]
    fn both_kinds_of_hash_are_recognised() {
        for etag in [GIT, SHA256, &SHA256.to_uppercase()] {
            let (result, path, _folder) = outcome(etag, Some(3));
            result.unwrap();
            assert!(path.exists());
        }
    }

    #[test]
    fn a_file_that_differs_is_refused_and_removed() {
        let other = SHA256.replace('b', "c");
        for (etag, bytes, said) in [
            (other.as_str(), Some(3), SHA256),
            (
                SHA256.replace('b', "c").as_str(),
                Some(5),
                "expected 5 bytes, found 3",
            ),
            ("no-hash", Some(5), "truncated"),
            ("no-hash", Some(2), "expected 2 bytes, found 3 bytes"),
        ] {
            let (result, path, _folder) = outcome(etag, bytes);
            let message = result.unwrap_err().to_string();
            assert!(message.contains(said), "{message}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn without_a_hash_the_size_decides() {
        outcome("no-hash", Some(3)).0.unwrap();
        outcome("W", None).0.unwrap();
    }
}
