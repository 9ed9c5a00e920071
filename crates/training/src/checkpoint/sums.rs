//! The file `SHA256SUMS` of a checkpoint: the SHA-256 of every other file, in the form that
//! `sha256sum --check` reads.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::directory::NamedBytes;
use crate::error::io;
use crate::{Error, Result};

pub(super) const SUMS: &str = "SHA256SUMS";

/// SHA-256 in hex by file name; empty for checkpoints of versions that wrote none, whose files are
/// read unverified.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums(BTreeMap<String, String>);

impl Sums {
    /// Reads the file of a checkpoint, if it has one.
    pub(super) fn read(checkpoint: &Path) -> Result<Self> {
        let path = checkpoint.join(SUMS);
        let text = match uard_files::read_text(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(io("read", &path)(error)),
        };
        let lines = text.lines().enumerate();
        let sums = lines.map(|(at, line)| match line.split_once("  ") {
            Some((sum, name)) => Ok((name.to_owned(), sum.to_owned())),
            None => Err(Error::DamagedCheckpoint {
                path: path.clone(),
                cause: format!("line {}: expected a SHA-256, two spaces and a name", at + 1),
            }),
        });
        sums.collect::<Result<_>>().map(Self)
    }

    /// What the file holds for these files.
    pub(super) fn text(files: &[NamedBytes]) -> String {
        let mut lines: Vec<String> = files
            .iter()
            .map(|(name, bytes)| format!("{}  {name}\n", sha256(bytes)))
            .collect();
        lines.sort_by(|a, b| a.split("  ").nth(1).cmp(&b.split("  ").nth(1)));
        lines.concat()
    }

    /// Refuses bytes that are not those of the file as it was written.
    pub(super) fn check(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(expected) = self.0.get(&*name) else {
            return Ok(());
        };
        let found = sha256(bytes);
        if found == *expected {
            return Ok(());
        }
        Err(Error::DamagedCheckpoint {
            path: path.to_owned(),
            cause: format!("its SHA-256 is {found}, {SUMS} has {expected}"),
        })
    }
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
