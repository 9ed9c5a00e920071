//! Reads the Rust and Markdown files of the repository for the checks.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A text file with its path from the repository root, separated by `/`.
pub struct Source {
    pub path: String,
    pub text: String,
}

impl Source {
    /// The lines of a Markdown text outside fenced code, with their numbers from 1.
    pub fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut fenced = false;
        let lines = self.text.lines().zip(1..).filter(move |(line, _)| {
            let fence = ["```", "~~~"]
                .iter()
                .any(|mark| line.trim_start().starts_with(mark));
            fenced ^= fence;
            !fenced && !fence
        });
        lines.map(|(line, number)| (number, line))
    }
}

/// Every Rust file of the workspace, by path.
pub fn rust(root: &Path) -> anyhow::Result<Vec<Source>> {
    let mut paths = Vec::new();
    for folder in ["benches", "crates", "xtask"] {
        collect(&root.join(folder), "rs", &mut paths)?;
    }
    read(root, paths)
}

/// Every Markdown file in the root and in some folders below it.
pub fn markdown(root: &Path) -> anyhow::Result<Vec<Source>> {
    let mut paths: Vec<PathBuf> = entries(root)?
        .into_iter()
        .filter(|path| path.is_file() && path.extension().is_some_and(|found| found == "md"))
        .collect();
    for folder in ["benches", "configs", "crates", "docs", "xtask"] {
        collect(&root.join(folder), "md", &mut paths)?;
    }
    read(root, paths)
}

fn collect(folder: &Path, extension: &str, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name == "target" || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            collect(&path, extension, paths)?;
        } else if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    Ok(())
}

/// The entries of a folder, sorted by name so that reports do not depend on the file system.
fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .with_context(|| format!("listing {}", folder.display()))?;
    paths.sort();
    Ok(paths)
}

fn read(root: &Path, paths: Vec<PathBuf>) -> anyhow::Result<Vec<Source>> {
    paths
        .into_iter()
        .map(|path| {
            let text =
                fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let inside = path.strip_prefix(root).unwrap_or(&path);
            Ok(Source {
                path: inside.to_string_lossy().replace('\\', "/"),
                text,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_outputs_and_hidden_folders_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["crates/a/src", "crates/a/target", "crates/.b", "docs"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("x.rs"), "").unwrap();
        }
        let found = rust(root.path()).unwrap();
        let paths: Vec<&str> = found.iter().map(|source| source.path.as_str()).collect();
        assert_eq!(paths, ["crates/a/src/x.rs"]);
    }

    #[test]
    fn markdown_is_found_in_the_root_and_below() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("docs/decisions")).unwrap();
        fs::create_dir_all(root.path().join("runs")).unwrap();
        for path in ["README.md", "docs/decisions/0001.md", "runs/notes.md"] {
            fs::write(root.path().join(path), "").unwrap();
        }
        let found = markdown(root.path()).unwrap();
        let paths: Vec<&str> = found.iter().map(|source| source.path.as_str()).collect();
        assert_eq!(paths, ["README.md", "docs/decisions/0001.md"]);
    }
}
