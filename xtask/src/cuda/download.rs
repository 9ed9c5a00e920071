//! Downloads a pinned file, continues broken downloads and verifies its hash.

use std::fs::{self, File as Handle, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};

use super::index::Index;
use super::wheels::File;

/// Largest number of attempts to download a file.
const ATTEMPTS: usize = 4;

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
    let mut target = OpenOptions::new()
        .create(true)
        .write(true)
        .append(continued)
        .truncate(!continued)
        .open(part)
        .with_context(|| format!("writing {}", part.display()))?;
    let done = if continued { there } else { 0 };
    let missing = file.bytes - done;
    let progress = progress(file, done)?;
    let body = progress.wrap_read(answer.into_body().into_reader());
    // One byte more shows that the file there is longer than the pinned one.
    let count = io::copy(&mut body.take(missing + 1), &mut target)
        .and_then(|count| target.sync_all().map(|()| count))
        .with_context(|| format!("the connection to {address} broke"))?;
    ensure!(
        count <= missing,
        "{address} is longer than the {} bytes that are pinned",
        file.bytes
    );
    ensure!(
        count == missing,
        "{address} ended after {} of {} bytes",
        done + count,
        file.bytes
    );
    progress.finish();
    Ok(())
}

/// The progress of a download on a terminal; elsewhere prints what begins.
fn progress(file: &File, done: u64) -> anyhow::Result<ProgressBar> {
    let name = file.name.split("-py3").next().unwrap_or(file.name);
    let begins = match done {
        0 => "downloading",
        _ => "continuing",
    };
    let progress = ProgressBar::new(file.bytes)
        .with_style(ProgressStyle::with_template(
            "{msg}: {decimal_bytes} of {decimal_total_bytes}",
        )?)
        .with_message(format!("{begins} {name}"))
        .with_position(done);
    if progress.is_hidden() {
        let megabytes = file.bytes.div_ceil(1_000_000);
        println!("{begins} {name}, {megabytes} MB");
    }
    Ok(progress)
}

fn hash(path: &Path) -> anyhow::Result<String> {
    let reading = || format!("reading {}", path.display());
    let mut file = Handle::open(path).with_context(reading)?;
    let mut digest = Sha256::new();
    io::copy(&mut file, &mut digest).with_context(reading)?;
    Ok(format!("{:x}", digest.finalize()))
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
