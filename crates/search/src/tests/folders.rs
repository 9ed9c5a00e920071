//! Scans of folders with links, loops, pipes, odd names and missing permissions.

use std::fs;

use super::*;
use crate::{Scan, ScanProblem};

fn paths(files: &[PhotoFile]) -> Vec<PathBuf> {
    files.iter().map(|file| file.path.clone()).collect()
}

fn reasons(problems: &[ScanProblem]) -> Vec<String> {
    problems.iter().map(ScanProblem::to_string).collect()
}

#[test]
fn photos_are_found_by_their_extensions_and_empty_files_are_skipped() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("a/b")).unwrap();
    fs::create_dir_all(at(".hidden")).unwrap();
    for name in [
        "a/1.jpg",
        "a/b/2.PNG",
        "3.webp",
        "4.txt",
        "a/.5.jpg",
        ".hidden/6.jpg",
        "7jpg",
    ] {
        fs::write(at(name), b"bytes").unwrap();
    }
    fs::write(at("8.gif"), b"").unwrap();
    let scan = Scan::folders(&[folder.path().to_owned(), at("a")]);
    assert_eq!(
        paths(&scan.files),
        [at("3.webp"), at("a/1.jpg"), at("a/b/2.PNG")]
    );
    assert_eq!((scan.files[0].bytes, scan.files[0].modified > 0), (5, true));
    assert_eq!(
        reasons(&scan.skipped),
        [format!("{}: an empty file", at("8.gif").display())]
    );
    assert_eq!(scan.unread, []);
    // A root that is a file is taken whatever its extension; a missing root is unread.
    let scan = Scan::folders(&[at("4.txt"), at("none")]);
    assert_eq!(paths(&scan.files), [at("4.txt")]);
    assert_eq!(scan.unread[0].path, at("none"));
}

#[cfg(unix)]
mod unix {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    use super::*;

    #[test]
    fn each_link_is_followed_once_and_loops_end() {
        let folder = folder();
        let at = |name: &str| folder.path().join("photos").join(name);
        let outside = folder.path().join("outside");
        fs::create_dir_all(at("b")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(at("b/1.jpg"), b"1").unwrap();
        fs::write(outside.join("2.jpg"), b"2").unwrap();
        symlink(at(""), at("b/loop")).unwrap();
        symlink("/", at("b/everything")).unwrap();
        symlink(at("b"), at("a")).unwrap();
        symlink(&outside, at("c")).unwrap();
        symlink(&outside, at("d")).unwrap();
        symlink(at("b/1.jpg"), at("0.jpg")).unwrap();
        symlink(at("self.jpg"), at("self.jpg")).unwrap();
        symlink(at("nowhere"), at("nowhere.jpg")).unwrap();
        symlink(at("nowhere"), at("nowhere")).unwrap();
        let scan = Scan::folders(&[at("")]);
        assert_eq!(paths(&scan.files), [at("b/1.jpg"), at("c/2.jpg")]);
        let unread: Vec<PathBuf> = scan.unread.iter().map(|found| found.path.clone()).collect();
        assert_eq!(unread, [at("nowhere"), at("nowhere.jpg"), at("self.jpg")]);
        let skipped = reasons(&scan.skipped).join("\n");
        assert_eq!(scan.skipped.len(), 5, "{skipped}");
        assert_eq!(
            skipped.matches("holds a scanned one").count(),
            2,
            "{skipped}"
        );
        assert_eq!(
            skipped.matches("read under another name").count(),
            2,
            "{skipped}"
        );
        assert_eq!(skipped.matches("another name of").count(), 1, "{skipped}");
    }

    #[test]
    fn a_folder_with_many_paths_is_read_once() {
        let folder = folder();
        // Each folder holds two links to the next, so that the last one has 2^40 paths.
        for depth in 0..40 {
            let at = folder.path().join(depth.to_string());
            fs::create_dir(&at).unwrap();
            for name in ["x", "y"] {
                symlink(folder.path().join((depth + 1).to_string()), at.join(name)).unwrap();
            }
        }
        fs::create_dir(folder.path().join("40")).unwrap();
        fs::write(folder.path().join("40/1.jpg"), b"1").unwrap();
        let scan = Scan::folders(&[folder.path().join("0")]);
        assert_eq!(scan.files.len(), 1);
    }

    #[test]
    fn names_need_not_be_utf8_and_a_hard_link_is_skipped() {
        let folder = folder();
        let at = |name: &[u8]| folder.path().join(std::ffi::OsStr::from_bytes(name));
        fs::write(at(b"\xff\xfe.jpg"), b"1").unwrap();
        fs::hard_link(at(b"\xff\xfe.jpg"), at(b"a.jpg")).unwrap();
        fs::create_dir(at(b"\xf0\x28")).unwrap();
        fs::write(at(b"\xf0\x28/\n.png"), b"2").unwrap();
        let scan = Scan::folders(&[folder.path().to_owned()]);
        assert_eq!(paths(&scan.files), [at(b"a.jpg"), at(b"\xf0\x28/\n.png")]);
        assert!(
            scan.skipped[0].to_string().contains("another name of"),
            "{:?}",
            scan.skipped
        );
        // The database returns the same paths.
        let index_folder = super::folder();
        let mut writer = Index::create(index_folder.path(), &model()).unwrap();
        let mut photos = made(&["", ""]);
        for (made, file) in photos.iter_mut().zip(&scan.files) {
            made.photo.file = file.clone();
        }
        add(&mut writer, &photos).unwrap();
        assert_eq!(writer.index().plan(&scan).unwrap().unchanged, 2);
    }

    #[test]
    fn pipes_are_not_opened_and_closed_folders_are_listed() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        assert!(
            Command::new("mkfifo")
                .arg(at("pipe.jpg"))
                .status()
                .unwrap()
                .success()
        );
        fs::create_dir(at("closed")).unwrap();
        fs::write(at("closed/1.jpg"), b"1").unwrap();
        fs::set_permissions(at("closed"), fs::Permissions::from_mode(0o000)).unwrap();
        let scan = Scan::folders(&[folder.path().to_owned()]);
        assert!(
            scan.skipped[0]
                .to_string()
                .ends_with("pipe.jpg: not a regular file")
        );
        // Root can read it without permission.
        match fs::read_dir(at("closed")) {
            Ok(_) => assert_eq!(scan.files.len(), 1),
            Err(_) => assert_eq!(scan.unread[0].path, at("closed")),
        }
        fs::set_permissions(at("closed"), fs::Permissions::from_mode(0o755)).unwrap();
    }
}
