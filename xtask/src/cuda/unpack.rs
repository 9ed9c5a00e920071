//! Unpacks the files of the toolkit from a wheel.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context;
use zip::ZipArchive;

/// The folder of the toolkit within wheels for CUDA 13.
const INSIDE: &str = "nvidia/cu13";

/// Folders of executable files.
const PROGRAMS: [&str; 2] = ["bin", "nvvm/bin"];

/// Unpacks the files of the toolkit into `folder`, the value for `CUDA_HOME`.
///
/// # Errors
/// When the wheel is broken or the folder cannot be written.
pub fn unpack(wheel: &Path, folder: &Path) -> anyhow::Result<()> {
    let reading = || format!("reading {}", wheel.display());
    let file = File::open(wheel).with_context(reading)?;
    let mut archive = ZipArchive::new(BufReader::new(file)).with_context(reading)?;
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).with_context(reading)?;
        let Some(path) = entry.enclosed_name().and_then(|name| wanted(&name)) else {
            continue;
        };
        if entry.is_dir() {
            continue;
        }
        let target = folder.join(&path);
        let writing = || format!("writing {}", target.display());
        fs::create_dir_all(target.parent().unwrap_or(folder)).with_context(writing)?;
        let mut written = File::create(&target).with_context(writing)?;
        io::copy(&mut entry, &mut written).with_context(writing)?;
        if PROGRAMS.iter().any(|folder| path.starts_with(folder)) {
            make_program(&target).with_context(writing)?;
        }
    }
    Ok(())
}

/// The path of a file in the toolkit; `None` for files that are not needed.
fn wanted(name: &Path) -> Option<PathBuf> {
    let path = name.strip_prefix(INSIDE).ok()?;
    // The second copy of NVRTC is for programs that ship another NVRTC of the same name.
    let second = path.file_name()?.to_string_lossy().contains(".alt.so");
    (!second && !path.starts_with("lib/cmake")).then(|| path.to_path_buf())
}

#[cfg(unix)]
pub fn make_program(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
pub fn make_program(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Links `libX.so` to each `libX.so.N`, because linkers look for the name without a version.
///
/// # Errors
/// When the folder cannot be written.
pub fn name_for_linkers(libraries: &Path) -> anyhow::Result<()> {
    let entries = fs::read_dir(libraries).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    for entry in entries.with_context(|| format!("listing {}", libraries.display()))? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some((plain, _)) = name.split_once(".so.") {
            link(&name, &libraries.join(format!("{plain}.so")))?;
        }
    }
    Ok(())
}

/// Makes a symbolic link to `target`.
///
/// # Errors
/// When it cannot be made, or the system has no symbolic links.
pub fn link(target: &str, path: &Path) -> anyhow::Result<()> {
    #[cfg(unix)]
    let made = std::os::unix::fs::symlink(target, path);
    #[cfg(not(unix))]
    let made: io::Result<()> = Err(io::Error::new(io::ErrorKind::Unsupported, target));
    made.with_context(|| format!("linking {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn wheel(path: &Path, names: &[&str]) {
        let mut writer = ZipWriter::new(File::create(path).unwrap());
        for name in names {
            writer
                .start_file(*name, SimpleFileOptions::default())
                .unwrap();
            writer.write_all(name.as_bytes()).unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn a_toolkit_is_unpacked_without_files_that_are_not_needed() {
        let folder = tempfile::tempdir().unwrap();
        let (source, home) = (folder.path().join("a.whl"), folder.path().join("home"));
        wheel(
            &source,
            &[
                "nvidia/cu13/bin/nvcc",
                "nvidia/cu13/lib/libnvrtc.so.13",
                "nvidia/cu13/lib/libnvrtc.alt.so.13",
                "nvidia/cu13/lib/cmake/x.cmake",
                "nvidia_cuda.dist-info/METADATA",
            ],
        );
        unpack(&source, &home).unwrap();
        name_for_linkers(&home.join("lib")).unwrap();
        let names = |folder: &str| {
            let entries = fs::read_dir(home.join(folder)).unwrap();
            let mut names: Vec<String> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(names(""), "bin lib");
        assert_eq!(names("lib"), "libnvrtc.so libnvrtc.so.13");
        let text = fs::read_to_string(home.join("lib/libnvrtc.so")).unwrap();
        assert_eq!(text, "nvidia/cu13/lib/libnvrtc.so.13");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(home.join("bin/nvcc")).unwrap();
            assert_eq!(mode.permissions().mode() & 0o111, 0o111);
        }
    }

    #[test]
    fn a_path_outside_of_the_folder_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let (source, home) = (folder.path().join("a.whl"), folder.path().join("home"));
        wheel(&source, &["nvidia/cu13/../../../out", "../out"]);
        unpack(&source, &home).unwrap();
        assert!(!folder.path().join("out").exists());
        assert!(!home.exists());
    }
}
