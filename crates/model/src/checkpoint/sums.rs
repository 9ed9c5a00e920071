//! The file `SHA256SUMS` of a checkpoint: the SHA-256 of every other file, in the format of
//! `sha256sum --check`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use uard_files::sha256;

use super::directory::NamedBytes;
use crate::{Error, Result};

pub(super) const SUMS: &str = "SHA256SUMS";

/// SHA-256 in hex by file name; `None` for checkpoints of earlier versions without this file, which
/// are not verified.
#[derive(Debug, Clone)]
pub(super) struct Sums(Option<BTreeMap<String, String>>);

impl Sums {
    /// Reads `SHA256SUMS` of a checkpoint, if it has one.
    pub(super) fn read(checkpoint: &Path) -> Result<Self> {
        let path = checkpoint.join(SUMS);
        let text = match uard_files::read_text(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self(None)),
            Err(error) => return Err(Error::io(&path, "read")(error)),
        };
        let lines = text.lines().enumerate();
        let sums = lines.map(|(at, line)| match line.split_once("  ") {
            Some((sum, name)) => Ok((name.to_owned(), sum.to_owned())),
            None => {
                let line = at + 1;
                let cause = format!("line {line}: expected a SHA-256, two spaces and a name");
                Err(Error::damaged(&path, &cause))
            }
        });
        let sums = sums.collect::<Result<_>>()?;
        Ok(Self(Some(sums)))
    }

    /// The text of `SHA256SUMS` for these files.
    pub(super) fn text(files: &[NamedBytes]) -> String {
        let sums = files.iter().map(|(name, bytes)| (*name, sha256(bytes)));
        let by_name: BTreeMap<&str, String> = sums.collect();
        let lines = by_name.iter().map(|(name, sum)| format!("{sum}  {name}\n"));
        lines.collect()
    }

    /// The checksum of a file, if there is one.
    pub(super) fn sum(&self, name: &str) -> Option<&str> {
        Some(self.0.as_ref()?.get(name)?.as_str())
    }

    /// Checks the bytes of a file against its checksum.
    pub(super) fn check(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let Some(sums) = &self.0 else {
            return Ok(());
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let found = sha256(bytes);
        let cause = match sums.get(&*name) {
            Some(expected) if *expected == found => return Ok(()),
            Some(expected) => format!("its SHA-256 is {found}, {SUMS} has {expected}"),
            None => format!("{SUMS} does not name it"),
        };
        Err(Error::damaged(path, &cause))
    }
}
