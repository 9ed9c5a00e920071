//! Downloads a pinned file, continues broken downloads and verifies its hash.

use std::fs::{self, File as Handle, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};

use super::index::Index;
use super::wheels::File;

/// Largest number of attempts to download a file.
const ATTEMPTS: usize = 4;

const PIECE: usize = 1 << 20;

/// Time between two updates of the progress on a terminal.
const EVERY: Duration = Duration::from_millis(200);

/// The path of a package's file in this folder; downloads it unless it is there with its pinned hash.
///
/// A partial file of an earlier download is continued.
///
/// # Errors
/// When it cannot be downloaded; the error says what to do without a network.
pub fn fetch(index: &Index, file: &File, folder: &Path) -> anyhow::Result<PathBuf> {
    let whole = folder.join(file.name);
    if whole.is_file() {
        if hash(&whole)? == file.sha256 {
            return Ok(whole);
        }
        println!("{} has a wrong hash: downloading again", whole.display());
        fs::remove_file(&whole)?;
    }
    download(index, file, &whole).with_context(|| {
        format!(
            "getting {} of the package {}.\n\
             Without a network, fetch this file elsewhere and put it into {}; \
             PIP_INDEX_URL names another index, SSL_CERT_FILE further certificates. The cause",
            file.name,
            file.package,
            folder.display()
        )
    })?;
    Ok(whole)
}

fn download(index: &Index, file: &File, whole: &Path) -> anyhow::Result<()> {
    let address = index.find(file.package, file.name)?;
    let part = whole.with_file_name(format!("{}.part", file.name));
    for attempt in 1.. {
        match continue_part(index, &address, file, &part) {
            Ok(()) if hash(&part)? == file.sha256 => break,
            Ok(()) => {
                fs::remove_file(&part)?;
                ensure!(
                    attempt < ATTEMPTS,
                    "{address} has other bytes than pinned in xtask/src/cuda/wheels.txt: \
                     sha256 {} was expected",
                    file.sha256
                );
            }
            Err(cause) if attempt < ATTEMPTS => println!("{cause:#}: trying again"),
            Err(cause) => return Err(cause),
        }
    }
    fs::rename(&part, whole).with_context(|| format!("naming {}", whole.display()))
}

/// Downloads the missing bytes of a partial file.
fn continue_part(index: &Index, address: &str, file: &File, part: &Path) -> anyhow::Result<()> {
    let mut there = fs::metadata(part).map_or(0, |metadata| metadata.len());
    if there > file.bytes {
        fs::remove_file(part)?;
        there = 0;
    }
    if there == file.bytes {
        return Ok(());
    }
    let mut request = index.agent().get(address);
    if there > 0 {
        request = request.header("Range", format!("bytes={there}-"));
    }
    let answer = request
        .call()
        .with_context(|| format!("asking {address}"))?;
    // A server that does not support ranges sends the file from its start.
    let continued = there > 0 && answer.status() == 206;
    let target = OpenOptions::new()
        .create(true)
        .write(true)
        .append(continued)
        .truncate(!continued)
        .open(part)
        .with_context(|| format!("writing {}", part.display()))?;
    let done = if continued { there } else { 0 };
    let mut progress = Progress::new(file, done);
    copy(answer.into_body().into_reader(), target, &mut progress)
        .with_context(|| format!("the connection to {address} broke"))?;
    progress.end();
    if progress.done != file.bytes {
        bail!(
            "{address} ended after {} of {} bytes",
            progress.done,
            file.bytes
        );
    }
    Ok(())
}

fn copy(mut from: impl Read, mut to: Handle, progress: &mut Progress) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = from.read(&mut piece)?;
        if count == 0 || progress.done > progress.bytes {
            return to.sync_all();
        }
        to.write_all(&piece[..count])?;
        progress.add(count as u64);
    }
}

fn hash(path: &Path) -> anyhow::Result<String> {
    let reading = || format!("reading {}", path.display());
    let mut file = Handle::open(path).with_context(reading)?;
    let mut digest = Sha256::new();
    io::copy(&mut file, &mut digest).with_context(reading)?;
    Ok(format!("{:x}", digest.finalize()))
}

/// Prints the progress of a download: one line, which is updated on a terminal.
struct Progress {
    name: &'static str,
    bytes: u64,
    done: u64,
    shown: Option<Instant>,
}

impl Progress {
    fn new(file: &File, done: u64) -> Self {
        let name = file.name.split("-py3").next().unwrap_or(file.name);
        let begins = if done > 0 {
            "continuing"
        } else {
            "downloading"
        };
        let shown = io::stdout().is_terminal().then(Instant::now);
        if shown.is_none() {
            println!("{begins} {name}, {} MB", megabytes(file.bytes));
        }
        Self {
            name,
            bytes: file.bytes,
            done,
            shown,
        }
    }

    fn add(&mut self, count: u64) {
        self.done += count;
        if self.shown.is_some_and(|shown| shown.elapsed() > EVERY) {
            self.shown = Some(Instant::now());
            self.show();
        }
    }

    fn show(&self) {
        let (done, all) = (megabytes(self.done), megabytes(self.bytes));
        print!("\rdownloading {}: {done} of {all} MB", self.name);
        // A failed flush only delays the line.
        io::stdout().flush().ok();
    }

    fn end(&self) {
        if self.shown.is_some() {
            self.show();
            println!();
        }
    }
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::served::Served;
    use crate::cuda::wheels::Platform;

    const CONTENT: &[u8] = b"a wheel that is longer than the first piece of it";
    const FILE: File = File {
        package: "a",
        platform: Platform::X86_64,
        bytes: CONTENT.len() as u64,
        sha256: "072b684290fe8a72a646381f4834ff61c7a142c763f83c2b8f0e2524c79882bb",
        name: "a-1-py3-none.whl",
    };

    fn fetched(served: &Served, folder: &Path) -> anyhow::Result<Vec<u8>> {
        let index = Index::at(&served.address);
        let path = fetch(&index, &FILE, folder)?;
        Ok(fs::read(path)?)
    }

    #[test]
    fn a_file_is_downloaded_once_and_kept() {
        let served = Served::new(FILE.name, CONTENT, &[CONTENT.len()]);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(fetched(&served, folder.path()).unwrap(), CONTENT);
        assert_eq!(fetched(&served, folder.path()).unwrap(), CONTENT);
        assert_eq!(served.ranges(), [0]);
    }

    #[test]
    fn a_broken_download_continues_where_it_broke() {
        let served = Served::new(FILE.name, CONTENT, &[10, 7, CONTENT.len()]);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(fetched(&served, folder.path()).unwrap(), CONTENT);
        assert_eq!(served.ranges(), [0, 10, 17]);
    }

    #[test]
    fn a_partial_file_is_continued_and_a_wrong_one_replaced() {
        for (part, expected) in [(&CONTENT[..20], vec![20]), (&[b'x'; 20][..], vec![20, 0])] {
            let served = Served::new(FILE.name, CONTENT, &[CONTENT.len(), CONTENT.len()]);
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("a-1-py3-none.whl.part"), part).unwrap();
            assert_eq!(fetched(&served, folder.path()).unwrap(), CONTENT);
            assert_eq!(served.ranges(), expected);
        }
    }

    #[test]
    fn a_file_with_a_wrong_hash_is_refused_and_removed() {
        let wrong = vec![b'x'; CONTENT.len()];
        let served = Served::new(FILE.name, &wrong, &[CONTENT.len(); ATTEMPTS]);
        let folder = tempfile::tempdir().unwrap();
        let refusal = format!("{:#}", fetched(&served, folder.path()).unwrap_err());
        assert!(refusal.contains("other bytes than pinned"), "{refusal}");
        assert!(refusal.contains("Without a network"), "{refusal}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_already_there_needs_no_network() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE.name), CONTENT).unwrap();
        let unreachable = Index::at("http://127.0.0.1:1");
        assert!(fetch(&unreachable, &FILE, folder.path()).is_ok());
        fs::write(folder.path().join(FILE.name), b"half").unwrap();
        assert!(fetch(&unreachable, &FILE, folder.path()).is_err());
    }
}
