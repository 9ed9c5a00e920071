//! Recognises failed downloads and packed archives by their first bytes, for errors of readers that
//! expected another format.

/// The first bytes of a file, and what such a file is, with how to get the expected one.
const BEGINNINGS: [(&[u8], &str); 11] = [
    (
        b"version https://git-lfs.github.com/spec/",
        "a git-LFS pointer, which stands for the file without holding it; run `git lfs pull` where it was cloned",
    ),
    (b"\x1f\x8b", "compressed by gzip; decompress it with gunzip"),
    (b"BZh", "compressed by bzip2; decompress it with bunzip2"),
    (b"\xfd7zXZ\0", "compressed by xz; decompress it with unxz"),
    (
        b"\x28\xb5\x2f\xfd",
        "compressed by zstd; decompress it with unzstd",
    ),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (
        b"PK\x03\x04",
        "a zip archive (npz files and what torch.save writes are such archives as well)",
    ),
    (b"\x93NUMPY", "an array of numpy (npy)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"%PDF-", "a PDF; download the file itself"),
];

/// What a web page begins with, in small letters, after spaces.
const PAGE_BEGINNINGS: [&[u8]; 4] = [b"<!doctype", b"<html", b"<?xml", b"<head"];

const PAGE: &str = "a web page, which servers send instead of a file for errors, logins and \
    confirmations; open the address in a browser, and download the file itself";

/// The bytes of a tar archive that hold `ustar`.
const TAR: std::ops::Range<usize> = 257..262;

/// What a file is by its first bytes, and how to get the expected one; `None` if they are not
/// recognised. The text follows the word "found" in messages of readers of other formats.
pub fn mistaken(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("an empty file; download or copy it again");
    }
    let known = BEGINNINGS
        .iter()
        .find(|(begin, _)| bytes.starts_with(begin));
    if let Some((_, what)) = known {
        return Some(what);
    }
    if bytes.get(TAR) == Some(b"ustar") {
        return Some("a tar archive; unpack it");
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = text.trim_ascii_start();
    let is_page = PAGE_BEGINNINGS.iter().any(|begin| {
        text.get(..begin.len())
            .is_some_and(|first| first.eq_ignore_ascii_case(begin))
    });
    is_page.then_some(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_downloads_and_packed_files_are_recognised() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n";
        let mut tar = vec![0; 512];
        tar[TAR].copy_from_slice(b"ustar");
        for (bytes, said) in [
            (&pointer[..], "git lfs pull"),
            (b"\n <!DOCTYPE html><html>", "a web page"),
            (b"\xef\xbb\xbf<HTML>", "a web page"),
            (b"<?xml version='1.0'?><Error>", "a web page"),
            (b"\x1f\x8b\x08\0", "gunzip"),
            (b"", "an empty file"),
            (&tar, "a tar archive"),
        ] {
            let found = mistaken(bytes).unwrap();
            assert!(found.contains(said), "{found}");
        }
    }

    #[test]
    fn other_bytes_are_not_recognised() {
        for bytes in [&b"a"[..], b"{}", b"<", &[0; 300]] {
            assert_eq!(mistaken(bytes), None);
        }
    }
}
